//! What a CA that is left alone means for the certificates that would ask it.

use std::net::UdpSocket;

use super::*;
use crate::acme::OwnListeners;
use crate::acme::ca::breaker::Breaker;
use crate::acme::certificate::key::new_key;
use crate::acme::certificate::tests::{issued, request};
use crate::acme::state::{Phase, Step};
use crate::config::{self, Ca, Config, KeyType};
use crate::resolve::Resolver;
use crate::store::{Policy, Sqlite, Writer};
use crate::zone::{Live, Zones};

/// Two CAs, `first` and `second`, where nobody listens.
pub struct World {
    _folder: tempfile::TempDir,
    pub issuer: Issuer,
}

impl World {
    /// Each of the certificates for these names.
    pub fn new(names: &[&str]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acmezone.toml");
        let zone = "[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n";
        std::fs::write(&file, format!("version = 1\ndata_dir = \"data\"\n{zone}")).unwrap();
        let mut config = Config::read(&file).unwrap();
        let ca = |name: &str| Ca::new(name.into(), format!("https://127.0.0.1:9/{name}"));
        config.cas = ["first", "second"].map(ca).into();
        let cas = || vec!["first".into(), "second".into()];
        let certificate = |name: &&str| config::Certificate::new((*name).into(), vec![(*name).into()], cas());
        config.certificates = names.iter().map(certificate).collect();
        let store = Sqlite::open(&folder.path().join("store.db")).unwrap();
        let policy = Policy { value_lifetime: 600, zone: None, reserved: Vec::new(), tsig_keys: Vec::new() };
        let (writer, _) = Writer::start(store, Arc::new(Live::new(Zones::new([]))), policy).unwrap();
        // Nobody is to be asked for anything.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver = Resolver::new(&[silent.local_addr().unwrap()]);
        World { issuer: Issuer::new(&config, writer, resolver, OwnListeners::default()).unwrap(), _folder: folder }
    }

    pub fn writer(&self) -> &Writer {
        &self.issuer.shared.writer
    }

    fn breaker(&self, ca: &str) -> &Breaker {
        &self.issuer.authority(ca).unwrap().breaker
    }

    /// The CA has been down since this moment.
    fn is_down(&self, ca: &str, since: Timestamp) {
        (0..3).for_each(|_| self.breaker(ca).pass_anyway().failed(since, 0));
    }

    /// The certificate has an order at the first CA, so that nothing is asked before it, and may have failed before.
    async fn has_order(&self, name: &str, failure: Option<Failed>) {
        let slot = self.issuer.slot(name).unwrap();
        let request = slot.request(&slot.authorities[0].ca);
        let key = new_key(KeyType::P256).unwrap();
        let step =
            Step::Ordered { request, key, url: "https://127.0.0.1:9/order".into(), expires: None, account: None };
        let state = Issuance { step, phase: Phase::Downloading, failure, ..Issuance::default() };
        save(&self.issuer.shared.writer, name, &state).await.unwrap();
    }

    async fn due(&self, name: &str) -> (String, Issuance) {
        let slot = self.issuer.slot(name).unwrap();
        let Progress::Failed { message } = self.issuer.attempt(slot, Reason::Due).await else { panic!("issued") };
        (message, self.issuer.load(slot).await.unwrap().0)
    }
}

fn failed(at: Timestamp) -> Failed {
    Failed {
        at,
        step: "download".into(),
        message: "come back tomorrow".into(),
        explanation: Some("why".into()),
        failures: 1,
        backed_off: 1,
        next_attempt: at + 60,
        cas: Vec::new(),
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_get_to_the_ca_does_not_use_up_its_probe() {
    // The first one cannot be looked up.
    let world = World::new(&["no name", "a.test"]);
    for ca in ["first", "second"] {
        world.is_down(ca, now() - 61);
    }
    world.due("no name").await;
    for ca in ["first", "second"] {
        assert_eq!(world.breaker(ca).held(now()), None, "{ca}");
    }
    world.has_order("a.test", None).await;
    let (message, _) = world.due("a.test").await;
    assert!(message.contains("cannot be reached at https://127.0.0.1:9/first"), "{message}");
    assert!(world.breaker("first").held(now()).is_some());
}

#[tokio::test]
async fn a_ca_that_is_left_alone_is_no_failure_and_keeps_its_order() {
    let world = World::new(&["a.test"]);
    world.is_down("first", now());
    let before = failed(now() - 100);
    world.has_order("a.test", Some(before.clone())).await;
    for _ in 0..3 {
        let (message, state) = world.due("a.test").await;
        assert!(message.contains("left alone") && !message.contains("second"), "{message}");
        let after = state.failure.unwrap();
        assert!((now() + 55..=now() + 70).contains(&after.next_attempt), "{after:?}");
        assert_eq!(Failed { next_attempt: before.next_attempt, cas: Vec::new(), ..after }, before);
        assert!(matches!(state.step, Step::Ordered { .. }));
    }

    // Not for ever: there is another CA.
    world.has_order("a.test", Some(failed(now() - 2 * 86_400))).await;
    world.is_down("second", now());
    let (message, _) = world.due("a.test").await;
    assert!(message.contains("at first") && message.contains("at second"), "{message}");

    // Without a failure before it there is something to show all the same.
    save(&world.issuer.shared.writer, "a.test", &Issuance::default()).await.unwrap();
    let (_, state) = world.due("a.test").await;
    let shown = state.failure.unwrap();
    assert!(shown.failures == 0 && shown.message.contains("at second: second has failed again and again"), "{shown:?}");
}

#[tokio::test]
async fn what_a_ca_said_to_one_certificate_holds_for_it_alone() {
    let world = World::new(&["a.test", "b.test"]);
    let said = |ca: &str, retry_at: Timestamp| AtCa {
        ca: ca.into(),
        at: now(),
        message: format!("the limit of {ca}"),
        retry_at: Some(retry_at),
    };
    let cas = vec![said("first", now() + 7200), said("second", now() + 600)];
    let state = Issuance { failure: Some(Failed { cas, ..failed(now()) }), ..Issuance::default() };
    save(&world.issuer.shared.writer, "a.test", &state).await.unwrap();
    let (message, state) = world.due("a.test").await;
    assert_eq!(message, "at first: the limit of first; at second: the limit of second");
    let next = state.failure.unwrap().next_attempt;
    assert!((now() + 599..=now() + 660).contains(&next), "the first moment at which one of them may be asked");
    world.has_order("b.test", None).await;
    assert!(world.due("b.test").await.0.contains("cannot be reached at https://127.0.0.1:9/first"));
}

#[tokio::test]
async fn a_ca_that_was_asked_in_vain_is_left_alone_while_another_ones_records_are_looked_for() {
    let world = World::new(&["a.test"]);
    let slot = world.issuer.slot("a.test").unwrap();
    let said = |ca: &str| AtCa { ca: ca.into(), at: now(), message: "no".into(), retry_at: None };
    let told = || Told { heard: vec![said("first"), said("second")], in_vain: vec!["first".into()], ..Told::default() };
    let before = Failed { failures: 2, backed_off: 2, ..failed(now()) };
    let alone = |state: &Issuance| {
        let failed = state.failure.as_ref().unwrap();
        let first = failed.cas.iter().find(|one| one.ca == "first").unwrap();
        assert_eq!((failed.failures, failed.backed_off), (3, 3));
        first.retry_at.unwrap() - now()
    };

    let state = Issuance { failure: Some(before.clone()), ..Issuance::default() };
    let soft = Failure { backs_off: false, ..failure("self-check", "not seen".into()) };
    world.issuer.failed(slot, state, "second", soft, told()).await;
    let (state, _) = world.issuer.load(slot).await.unwrap();
    assert!((100 * 60 - 1..=110 * 60).contains(&alone(&state)));
    let next = state.failure.as_ref().unwrap().next_attempt - now();
    assert!((20 * 60 - 1..=20 * 60).contains(&next), "{next}");

    let state = Issuance { failure: Some(before), ..Issuance::default() };
    world.issuer.waiting(slot, state, Vec::new(), told()).await;
    let (state, _) = world.issuer.load(slot).await.unwrap();
    assert!((100 * 60 - 1..=110 * 60).contains(&alone(&state)));
}

#[tokio::test]
async fn another_ca_is_looked_at_when_the_patience_with_an_order_ends_and_missing_records_stay_known() {
    let world = World::new(&["a.test"]);
    let slot = world.issuer.slot("a.test").unwrap();
    let (far, soon) = (now() + 3 * 86_400, now() + 3_600);
    let said = AtCa { ca: "first".into(), at: now(), message: "in three days".into(), retry_at: Some(far) };
    let told = || Told { heard: vec![said.clone()], held: vec![far], patience: Some(soon), ..Told::default() };
    let missing = vec!["_acme-challenge.a.test. IN CNAME x.test.".to_owned()];
    world.issuer.held(slot, Issuance { missing: missing.clone(), ..Issuance::default() }, told()).await;
    let (state, _) = world.issuer.load(slot).await.unwrap();
    assert_eq!(state.missing, missing);
    let at_ca = |state: &Issuance| state.failure.as_ref().unwrap().cas[0].retry_at;
    let next = |state: &Issuance| state.failure.as_ref().unwrap().next_attempt;
    assert!((soon..=soon + 400).contains(&next(&state)) && at_ca(&state) == Some(far), "{state:?}");

    world.issuer.failed(slot, Issuance::default(), "first", failure("order", "in three days".into()), told()).await;
    let (state, _) = world.issuer.load(slot).await.unwrap();
    assert!(next(&state) == soon && at_ca(&state) == Some(far), "{state:?}");
}

#[test]
fn what_was_rehearsed_or_issued_before_is_not_rehearsed_again() {
    let (request, other) = (request(&["a.test"]), request(&["b.test"]));
    let nothing = Issuance::default();
    assert!(is_rehearsed_first(&request, &nothing, None));
    assert!(!is_rehearsed_first(&request, &nothing, Some(&issued(0, 9))));
    assert!(is_rehearsed_first(&other, &nothing, Some(&issued(0, 9))));
    let rehearsed = Issuance { rehearsed: Some(request.clone()), ..nothing };
    assert!(!is_rehearsed_first(&request, &rehearsed, None) && is_rehearsed_first(&other, &rehearsed, None));
}
