//! The self-check among real name servers: who else serves our zone, or should, and what they say.
//!
//! Name servers are on port 53, so that most of these tests have a host of their own.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use acmezone::api::{CertificateState, Progress};

use crate::delegation::caa;
use crate::host::is_of_its_own;
use crate::house::{Ca, HEAD, House, PATIENCE, Running, lines, orders, until_forgotten};
use crate::support::{Nsd, Pebble, PebbleVersion, Unbound, poll_async};

/// A name in our zone, so that nothing but the zone is delegated.
const OURS: &[&str] = &["api.auth.acme.test"];
/// The beginning of the zone above ours.
const PARENT: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.3\n";
/// With these, our server is the only one.
const SOUND: &str = "auth NS ns1\nns1 A 127.0.0.2\n";

/// Our server on 127.0.0.2, the servers of the zone above on 127.0.0.3.
struct Stand {
    house: House,
    pebble: Pebble,
}

impl Stand {
    /// With these records in the zone above ours, and nothing tried yet.
    fn new(records: &str) -> Stand {
        let mut house = House::new();
        let zones = [("example.test", HEAD), ("acme.test", &format!("{PARENT}{records}"))];
        house.nsd = Nsd::start_with("    ip-address: 127.0.0.3@53", &zones);
        let (nsd, ours) = (house.nsd.port(), house.dns());
        house.unbound = Unbound::start(&[("example.test", nsd), ("acme.test", nsd), ("auth.acme.test", ours)]);
        house.listen = ", \"127.0.0.2:53\"".into();
        let pebble = house.pebble(PebbleVersion::V2_10_1).start();
        Stand { house, pebble }
    }

    async fn serve(&self, names: &[&str]) -> Running {
        self.house.serve(&Ca::of(&self.pebble), names).await
    }

    fn replace(&mut self, records: &str) {
        self.house.nsd.replace(&[("example.test", HEAD), ("acme.test", &format!("{PARENT}{records}"))]);
    }

    /// The self-check failed, and the CA was told nothing; with these words.
    async fn is_failed(&self, server: &Running, words: &[&str]) {
        let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
        assert_eq!(error.step, "self-check", "{}", error.message);
        for words in words {
            assert!(error.message.contains(words), "{words}: {}", error.message);
        }
        assert_eq!((orders(&self.pebble), asked_to_validate(&self.pebble)), (1, false));
    }
}

/// Whether the CA was told that a challenge can be looked at.
fn asked_to_validate(pebble: &Pebble) -> bool {
    pebble.log().contains("Pulled a task from the Tasks queue")
}

/// What `cert issue` says beside its steps.
async fn notes(server: &Running) -> Vec<String> {
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let note = |line: Progress| match line {
        Progress::Step { message } => message.split_once("note: ").map(|(_, note)| note.to_owned()),
        _ => None,
    };
    lines.into_iter().filter_map(note).collect()
}

fn run(story: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(story);
}

/// Another server for our zone, with the value of days ago at every name.
fn outdated(address: &str) -> Nsd {
    let zone = format!("{HEAD}* TXT \"old\"\n");
    Nsd::start_with(&format!("    ip-address: {address}@53"), &[("auth.acme.test", &zone)])
}

#[test]
fn a_name_server_with_an_old_value_stops_the_attempt_and_one_that_is_silent_does_not() {
    if is_of_its_own(a_name_server_with_an_old_value_stops_the_attempt_and_one_that_is_silent_does_not) {
        run(async {
            let other = outdated("127.0.0.4");
            let mut stand = Stand::new(&format!("{SOUND}ns1 A 127.0.0.4\n"));
            let server = stand.serve(OURS).await;
            let told = [
                "the name server 127.0.0.4:53 (ns1.acme.test) of auth.acme.test gives \"old\" for \
                 _acme-challenge.api.auth.acme.test over UDP",
                "remove `auth.acme.test. IN NS ns1.acme.test.`",
            ];
            stand.is_failed(&server, &told).await;
            // One that does not answer at all is no reason: the resolver sees the value.
            drop(other);
            let said = notes(&server).await;
            assert!(matches!(&said[..], [one] if one.contains("127.0.0.4:53 does not answer")), "{said:?}");
            assert_eq!((orders(&stand.pebble), asked_to_validate(&stand.pebble)), (1, true));
            // One behind a firewall that knows UDP alone.
            let _half = stubborn("127.0.0.6:53", ([127, 0, 0, 2], 53).into(), Arc::default());
            stand.replace(&format!("{SOUND}ns1 A 127.0.0.6\n"));
            until_forgotten().await;
            let said = notes(&server).await;
            assert!(matches!(&said[..], [one] if one.contains("127.0.0.6:53 does not answer over TCP")), "{said:?}");
            stand.replace(SOUND);
            until_forgotten().await;
            assert_eq!(notes(&server).await, [""; 0]);
            server.handle.stop().await;
        });
    }
}

#[test]
fn a_name_server_that_the_parent_alone_names_is_asked_too_rfc1034_4_2_2() {
    if is_of_its_own(a_name_server_that_the_parent_alone_names_is_asked_too_rfc1034_4_2_2) {
        run(async {
            let records = format!("{SOUND}auth NS old\nold A 127.0.0.4\n");
            let _old = Nsd::start_with("    ip-address: 127.0.0.4@53", &[("auth.acme.test", HEAD)]);
            let stand = Stand::new(&records);
            let server = stand.serve(OURS).await;
            let told = [
                "the name server 127.0.0.4:53 (old.acme.test) of auth.acme.test gives NXDOMAIN",
                "remove `auth.acme.test. IN NS old.acme.test.` at the parent acme.test",
            ];
            stand.is_failed(&server, &told).await;
            let lines = server.issue(true).await;
            let differ = "note: the NS records of auth.acme.test name ns1.acme.test, old.acme.test at the parent acme.test, \
                          but ns1.acme.test in the zone itself";
            assert!(lines.iter().any(|line| format!("{line:?}").contains(differ)), "{lines:#?}");
            server.handle.stop().await;
        });
    }
}

/// The host lies in our zone, which has another address for it.
#[test]
fn an_old_address_at_the_parent_is_asked_too_and_named_rfc1034_4_2_1() {
    if is_of_its_own(an_old_address_at_the_parent_is_asked_too_and_named_rfc1034_4_2_1) {
        run(async {
            let old = [("own.acme.test", HEAD)];
            let _old = Nsd::start_with("    ip-address: 127.0.0.4@53", &old);
            let mut stand = Stand::new("own NS ns1.own\nns1.own A 127.0.0.4\n");
            let (nsd, ours) = (stand.house.nsd.port(), stand.house.dns());
            stand.house.unbound = Unbound::start(&[("acme.test", nsd), ("own.acme.test", ours)]);
            let file = stand.house.folder.path().join("own.zone");
            std::fs::write(&file, "$TTL 1\n@ SOA ns1 hostmaster 1 3600 600 86400 1\n@ NS ns1\nns1 A 127.0.0.2\n")
                .unwrap();
            stand.house.tables = format!("[[zone]]\norigin = \"own.acme.test\"\nfile = \"{}\"", file.display());
            let server = stand.serve(&["api.own.acme.test"]).await;
            let told = [
                "the name server 127.0.0.4:53 (ns1.own.acme.test) of own.acme.test gives NXDOMAIN",
                "remove `ns1.own.acme.test. IN A 127.0.0.4` at the parent acme.test",
            ];
            stand.is_failed(&server, &told).await;
            server.handle.stop().await;
        });
    }
}

#[test]
fn name_servers_without_an_address_are_told_and_ipv6_ones_asked() {
    if is_of_its_own(name_servers_without_an_address_are_told_and_ipv6_ones_asked) {
        run(async {
            let other = outdated("::1");
            let mut stand = Stand::new("auth NS ns1\nns1 A 0.0.0.0\nns1 AAAA ::1\n");
            let server = stand.serve(OURS).await;
            stand.is_failed(&server, &["the name server [::1]:53 (ns1.acme.test)", "gives \"old\""]).await;
            drop(other);
            let said = notes(&server).await;
            assert_eq!(said.len(), 2, "{said:?}");
            assert!(
                said[0].contains("ns1.acme.test, a name server of auth.acme.test, has the address 0.0.0.0"),
                "{said:?}"
            );
            assert!(said[1].contains("[::1]:53 does not answer"), "{said:?}");

            stand.replace("auth NS ns1\nns1 TXT \"no address\"\n");
            until_forgotten().await;
            let said = notes(&server).await;
            let told = ["ns1.acme.test, a name server of auth.acme.test, has no address: nobody can ask it"];
            assert_eq!(said, told);
            server.handle.stop().await;
        });
    }
}

#[test]
fn a_server_that_never_answers_is_waited_for_once_for_many_names() {
    if is_of_its_own(a_server_that_never_answers_is_waited_for_once_for_many_names) {
        run(async {
            let _silent = (UdpSocket::bind("127.0.0.5:53").unwrap(), TcpListener::bind("127.0.0.5:53").unwrap());
            let stand = Stand::new(&format!("{SOUND}ns1 A 127.0.0.5\n"));
            let names: Vec<String> = (0..20).map(|number| format!("n{number}.auth.acme.test")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let server = stand.serve(&names).await;
            server.wait_for(CertificateState::Valid).await;
            let began = Instant::now();
            let said = notes(&server).await;
            assert!(matches!(&said[..], [one] if one.contains("127.0.0.5:53 does not answer over UDP")), "{said:?}");
            assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
            server.handle.stop().await;
        });
    }
}

/// Let's Encrypt's CA for rehearsals goes by the name of the one that counts.
#[tokio::test(flavor = "multi_thread")]
async fn two_cas_of_one_name_may_both_issue_for_our_zone_rfc8657_3() {
    let mut house = House::new();
    let first = house.pebble(PebbleVersion::V2_10_1).start();
    let second = house.pebble(PebbleVersion::V2_10_1).start();
    let (directory, root) = (second.directory_url(), second.root_pem_path());
    let root = root.display();
    house.tables = format!(
        "[[ca]]\nname = \"second\"\ndirectory = \"{directory}\"\nroot = \"{root}\"\n[[certificate]]\nname = \"other\"\n\
         ca = \"second\"\nnames = [\"other.auth.acme.test\"]"
    );
    house.certificate = "ca = \"pebble\"".into();
    let server = house.serve(&Ca::of(&first), OURS).await;
    for certificate in ["site", "other"] {
        let lines = lines(server.client.issue(certificate, false).await.unwrap()).await;
        assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    }
    let allowed = caa(&server);
    for directory in [first.directory_url(), directory] {
        let account = directory.replace("/dir", "/my-account/");
        let begin = format!("0 issue \"pebble.letsencrypt.org; accounturi={account}");
        assert!(allowed.iter().any(|record| record.starts_with(&begin)), "{begin}: {allowed:?}");
    }
    assert_eq!(allowed.len(), 2);
    server.handle.stop().await;
}

/// Both orders have their value at the one name while the other is checked and validated.
#[tokio::test(flavor = "multi_thread")]
async fn two_certificates_are_proven_at_one_name_at_the_same_time_rfc8555_8_4() {
    let mut house = House::new();
    let pebble = house.slow_pebble(2).start();
    house.tables = "[[certificate]]\nname = \"twin\"\nnames = [\"delegated.test\", \"*.delegated.test\"]".into();
    let server = house.serve(&Ca::of(&pebble), &["delegated.test"]).await;
    for certificate in ["site", "twin"] {
        poll_async(PATIENCE, "both certificates", || async {
            let status = server.client.certificate(certificate).await.ok()?;
            assert!(status.last_error.is_none(), "{:?}", status.last_error);
            (status.state == CertificateState::Valid).then_some(())
        })
        .await;
    }
    assert_eq!(orders(&pebble), 2);
    server.handle.stop().await;
}

/// A server with somebody in front, over UDP alone, who answers NOTIMP for this type of record.
fn stubborn(listen: &str, server: SocketAddr, refused: Arc<AtomicU16>) -> SocketAddr {
    const NOTIMP: u8 = 4;
    let socket = UdpSocket::bind(listen).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let question = &mut buffer[..len];
            let end = 12 + question[12..].iter().position(|octet| *octet == 0).unwrap();
            let rtype = u16::from_be_bytes([question[end + 1], question[end + 2]]);
            if rtype == refused.load(Ordering::SeqCst) {
                question[2] |= 0x80;
                question[3] = 0x80 | NOTIMP;
                let _ = socket.send_to(question, from);
                continue;
            }
            let (question, socket) = (question.to_vec(), socket.try_clone().unwrap());
            std::thread::spawn(move || {
                let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
                asker.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                asker.send_to(&question, server).unwrap();
                let mut reply = [0; 4096];
                if let Ok(len) = asker.recv(&mut reply) {
                    let _ = socket.send_to(&reply[..len], from);
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_does_not_know_ds_or_caa_is_told_from_servers_that_fail() {
    const DS: u16 = 43;
    const CAA: u16 = 257;
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let refused = Arc::new(AtomicU16::new(CAA));
    house.resolver = Some(stubborn("127.0.0.1:0", house.unbound.addr(), refused.clone()));
    let server = house.serve(&Ca::of(&pebble), OURS).await;
    let error = server.wait_for(CertificateState::Failed).await.last_error.unwrap();
    assert_eq!((error.step.as_str(), orders(&pebble)), ("CAA", 0));
    for words in ["our resolver does not answer for CAA of api.auth.acme.test", "[resolver] nameservers"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    refused.store(DS, Ordering::SeqCst);
    let said = notes(&server).await;
    let told = "whether the parent of auth.acme.test says that it is signed is not known: our resolver does not answer for \
                DS of auth.acme.test: ";
    assert!(said.iter().any(|note| note.starts_with(told)), "{said:?}");
    server.handle.stop().await;
}
