//! What is looked at before a CA is asked for anything: who may issue (CAA), and whether the zone is believed (DS).

use acmezone::api::{CertificateState, Progress};
use serde_json::json;

use crate::house::{Ca, HEAD, House, Running, orders, until_forgotten};
use crate::support::{Pebble, PebbleVersion, Unbound};

/// The CNAME to a label of ours, as it is asked for.
const APEX: &[&str] = &["example.test"];
const WILDCARD: &[&str] = &["*.example.test"];
const PEBBLE: &str = "pebble.letsencrypt.org";

/// A server that has what it needs for these names but for what CAA says.
struct Stage {
    house: House,
    pebble: Pebble,
    cname: String,
    server: Running,
}

impl Stage {
    async fn open(names: &[&str], version: PebbleVersion) -> Stage {
        let house = House::new();
        let pebble = house.pebble(version).start();
        let server = house.serve(&Ca::of(&pebble), names).await;
        let waiting = server.wait_for(CertificateState::WaitingForDelegation).await;
        Stage { house, pebble, cname: waiting.missing_records[0].clone(), server }
    }

    /// With these records beside the CNAME.
    async fn issue(&mut self, records: &str) -> Progress {
        let text = format!("{}\n{records}", self.cname);
        self.house.add_record(&text);
        until_forgotten().await;
        self.server.issue(false).await.pop().expect("a last line")
    }

    /// Why no order was made.
    async fn refused(&mut self, records: &str) -> String {
        let last = self.issue(records).await;
        let Progress::Failed { message } = last else { panic!("{records}: {last:?}") };
        assert_eq!(orders(&self.pebble), 0, "{records}");
        message
    }

    async fn issued(mut self, records: &str) {
        let last = self.issue(records).await;
        assert!(matches!(last, Progress::Done { .. }), "{records}: {last:?}");
        assert_eq!(orders(&self.pebble), 1);
        self.server.handle.stop().await;
    }
}

/// The record that a message says is to be made.
fn wanted(message: &str) -> &str {
    let (_, record) = message.rsplit_once("add the record `").expect(message);
    record.strip_suffix('`').expect(message)
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_for_another_ca_makes_no_order_and_the_record_that_helps_is_told_rfc8659_4() {
    let mut stage = Stage::open(APEX, PebbleVersion::V2_10_1).await;
    let other = "@ CAA 0 issue \"other.test\"";
    let message = stage.refused(other).await;
    let told = "CAA: pebble may not issue for example.test: \
                `example.test. IN CAA 0 issue \"other.test\"` (is for another CA); add the record `";
    assert!(message.starts_with(told), "{message}");
    let record = wanted(&message).to_owned();
    let begin = format!("example.test. IN CAA 0 issue \"{PEBBLE}; validationmethods=dns-01; accounturi=https://");
    assert!(record.starts_with(&begin) && record.contains("/my-account/"), "{record}");

    // Nothing to wait longer and longer for: it is looked at every 5 minutes.
    for _ in 0..2 {
        stage.refused(other).await;
    }
    let status = stage.server.show().await;
    let error = status.last_error.unwrap();
    assert_eq!((error.step.as_str(), error.failures), ("CAA", 3));
    assert_eq!(status.next_attempt.unwrap().duration_since(error.at).as_secs(), 300);
    assert_eq!(status.state, CertificateState::Failed);
    // Exactly that record beside the other one.
    stage.issued(&format!("{other}\n{record}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_with_another_account_or_method_makes_no_order_rfc8657_3_and_4() {
    let mut stage = Stage::open(APEX, PebbleVersion::V2_10_1).await;
    for (value, told) in [
        (format!("{PEBBLE}; accounturi=https://pebble.test/1"), "is for another account"),
        (format!("{PEBBLE}; validationmethods=http-01"), "is for other validation methods"),
        (format!("{PEBBLE}; validationmethods=dns-01; validationmethods=dns-01"), "is malformed"),
        (";".to_owned(), "lets nobody issue"),
    ] {
        let message = stage.refused(&format!("@ CAA 0 issue \"{value}\"")).await;
        assert!(message.contains(&format!("\"{value}\"` ({told}")), "{message}");
    }
    let critical = stage.refused(&format!("@ CAA 0 issue \"{PEBBLE}\"\n@ CAA 128 tbs \"x\"")).await;
    assert!(critical.contains("`example.test. IN CAA 128 tbs \"x\"` (is critical"), "{critical}");
    stage.issued(&format!("@ CAA 0 issue \"{PEBBLE}; validationmethods=http-01,dns-01\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issuewild_is_for_wildcards_alone_rfc8659_4_3() {
    let nobody = format!("@ CAA 0 issue \"{PEBBLE}\"\n@ CAA 0 issuewild \";\"");
    let mut stage = Stage::open(WILDCARD, PebbleVersion::V2_10_1).await;
    let message = stage.refused(&nobody).await;
    let record = wanted(&message).to_owned();
    assert!(record.starts_with(&format!("example.test. IN CAA 0 issuewild \"{PEBBLE}; ")), "{record}");
    stage.issued(&format!("{nobody}\n{record}")).await;

    let stage = Stage::open(APEX, PebbleVersion::V2_10_1).await;
    stage.issued(&nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_is_looked_for_up_the_tree_and_the_nearest_decides_rfc8659_3() {
    let mut stage = Stage::open(&["a.b.example.test"], PebbleVersion::V2_10_1).await;
    let message = stage.refused("@ CAA 0 issue \"other.test\"").await;
    assert!(message.contains("for a.b.example.test: `example.test. IN CAA"), "{message}");
    // Through a CNAME.
    let far = "b CNAME far\nfar CAA 0 issue \"far.test\"";
    let message = stage.refused(&format!("@ CAA 0 issue \"{PEBBLE}\"\n{far}")).await;
    assert!(message.contains("`far.example.test. IN CAA 0 issue \"far.test\"`"), "{message}");
    stage.issued(&format!("@ CAA 0 issue \"other.test\"\nb CAA 0 issue \"{PEBBLE}\"")).await;
}

/// Sixteen octets and a hyphen: more than RFC 8659 section 4.1 wants of a tag.
#[tokio::test(flavor = "multi_thread")]
async fn caa_with_a_tag_that_nobody_knows_is_no_matter_unless_it_is_critical_rfc8659_4_1() {
    let odd = |flags: &str| {
        let octets: String = b"sixteen-letters!x".iter().map(|octet| format!("{octet:02x}")).collect();
        format!("@ CAA 0 issue \"{PEBBLE}\"\n@ TYPE257 \\# 19 {flags}10{octets}")
    };
    let mut stage = Stage::open(APEX, PebbleVersion::V2_10_1).await;
    let message = stage.refused(&odd("80")).await;
    assert!(message.contains("IN CAA 128 sixteen-letters! \"x\"` (is critical"), "{message}");
    stage.issued(&odd("00")).await;
}

/// A name that is not answered: a CA takes that as a no.
#[tokio::test(flavor = "multi_thread")]
async fn caa_that_nobody_answers_is_told_and_makes_no_order_rfc8659_3() {
    let mut house = House::new();
    // NSD refuses to speak of this domain.
    let stubs = [("example.test", house.nsd.port()), ("dead.test", house.nsd.port()), ("auth.acme.test", house.dns())];
    house.unbound = Unbound::start(&stubs);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["www.example.test"]).await;
    let cname = server.wait_for(CertificateState::WaitingForDelegation).await.missing_records[0].clone();
    let mut stage = Stage { house, pebble, cname, server };
    let message = stage.refused(&format!("@ CAA 0 issue \"{PEBBLE}\"\nwww CNAME www.dead.test.")).await;
    for words in ["CAA: ", "CAA of www.example.test", "SERVFAIL", "no CA issues for www.example.test while that is so"]
    {
        assert!(message.contains(words), "{message}");
    }
    stage.server.handle.stop().await;
}

/// Of two CAs the second may issue.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_caa_forbids_is_passed_over_for_the_next_one_rfc8659_4() {
    let mut house = House::new();
    let first = house.pebble(PebbleVersion::V2_10_1).start();
    let second = house.pebble(PebbleVersion::V2_10_1).config("caaIdentities", json!(["second.test"])).start();
    let (directory, root) = (second.directory_url(), second.root_pem_path());
    house.tables = format!("[[ca]]\nname = \"second\"\ndirectory = \"{directory}\"\nroot = \"{}\"", root.display());
    house.certificate = "ca = [\"pebble\", \"second\"]".into();
    let server = house.serve(&Ca::of(&first), APEX).await;
    let cname = server.wait_for(CertificateState::WaitingForDelegation).await.missing_records[0].clone();
    let mut stage = Stage { house, pebble: second, cname, server };
    stage.house.add_record(&format!("{}\n@ CAA 0 issue \"second.test\"", stage.cname));
    until_forgotten().await;
    let lines = stage.server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let is_told = |line: &Progress| {
        let Progress::Step { message } = line else { return false };
        message.starts_with("pebble: CAA: pebble may not issue") && message.ends_with("going on to second")
    };
    assert!(lines.iter().any(is_told), "{lines:#?}");
    assert_eq!((orders(&first), orders(&stage.pebble)), (0, 1));
    stage.server.handle.stop().await;
}

/// Pebble 2.4 does not say by which name it goes.
#[tokio::test(flavor = "multi_thread")]
async fn caa_is_left_to_a_ca_that_does_not_tell_its_names_rfc8555_7_1_1() {
    let stage = Stage::open(APEX, PebbleVersion::Debian240).await;
    stage.issued("@ CAA 0 issue \"other.test\"").await;
}

const DS: &str = "DS 12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD";

/// A house where the parent of our zone is at the other name server too.
fn with_parent(records: &str, settings: &[&str]) -> House {
    let mut house = House::new();
    let parent = format!("{HEAD}auth NS ns1\nns1 A 127.0.0.1\n{records}\n");
    house.nsd.replace(&[("example.test", HEAD), ("acme.test", &parent)]);
    let (nsd, ours) = (house.nsd.port(), house.dns());
    let stubs = [("example.test", nsd), ("acme.test", nsd), ("auth.acme.test", ours)];
    house.unbound = Unbound::start_with(&stubs, settings);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_records_of_our_unsigned_zone_make_no_order_and_are_named_rfc4035_5_2() {
    let mut house = with_parent(&format!("auth {DS}"), &[]);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let (ca, names) = (Ca::of(&pebble), ["api.auth.acme.test"]);
    let server = house.serve(&ca, &names).await;
    let status = server.wait_for(CertificateState::Failed).await;
    let error = status.last_error.unwrap();
    let told = format!(
        "this server does not sign its zones, but the parent of auth.acme.test says that this one is signed: remove \
         there `auth.acme.test. IN {DS}`"
    );
    assert_eq!((error.step.as_str(), error.message.as_str()), ("delegation", told.as_str()));
    assert_eq!(status.next_attempt.unwrap().duration_since(error.at).as_secs(), 300);
    assert_eq!(orders(&pebble), 0);

    let parent = format!("{HEAD}auth NS ns1\nns1 A 127.0.0.1\n");
    house.nsd.replace(&[("example.test", HEAD), ("acme.test", &parent)]);
    until_forgotten().await;
    let lines = server.issue(false).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    server.handle.stop().await;
}

/// The parent itself is not signed as its own parent says.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_finds_dnssec_broken_is_told_with_its_words_rfc8914_4() {
    let anchor = format!("trust-anchor: \"acme.test. {DS}\"");
    let house = with_parent("", &[&anchor]);
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &["api.auth.acme.test"]).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    let told =
        "the resolver does not believe the answer for DS of auth.acme.test, because DNSSEC does not hold (DNSSEC";
    assert!(error.message.starts_with(told), "{}", error.message);
    assert_eq!(orders(&pebble), 0);
    server.handle.stop().await;
}
