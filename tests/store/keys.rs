//! Keys that are made and revoked while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acmezone::account::{Grant, Replace, TsigAlgorithm, TsigGrant, TsigSecret};
use acmezone::store::{
    Actor, Body, Document, Job, Kept, NewTsigKey, Origin, Policy, Records, Revision, Sqlite, Store, StoreError,
    UpdateError, Writer,
};
use acmezone::zone::{Change, Live, Zone, Zones};

use super::{Doing, add, as_account, as_holder, label, name, open, start, start_with, transact, tsig_key};

fn new(key: &str, labels: &[&str]) -> NewTsigKey {
    NewTsigKey {
        name: name(key),
        algorithm: TsigAlgorithm::HmacSha512,
        labels: labels.iter().map(|text| label(text)).collect(),
        below: Vec::new(),
        domains: Vec::new(),
        replace: Replace::Rfc,
    }
}

#[tokio::test]
async fn a_key_counts_from_its_making_over_restarts_until_it_is_revoked() {
    let world = start(tempfile::tempdir().unwrap());
    for label in ["one", "two"] {
        world.register(label).await.unwrap();
    }
    let wanted = NewTsigKey {
        below: vec![name("_acme-challenge.example.net")],
        domains: vec![name("customer.example")],
        ..new("Key.Test", &["one"])
    };
    let made = world.writer.create_tsig_key(wanted).await.unwrap().key;
    assert_eq!((made.name.to_string().as_str(), made.secret.reveal().len(), made.grants.len()), ("key.test", 64, 3));
    let world = world.restart();
    let loaded = world.writer.keys().keys().get(&made.name).unwrap().clone();
    assert_eq!(*loaded, made);
    let actor = Actor::TsigKey(loaded);
    for (at, may) in
        [("one.auth.example.org", true), ("_acme-challenge.example.net", true), ("two.auth.example.org", false)]
    {
        assert_eq!(world.writer.update(actor.clone(), add(at, "v")).await.is_ok(), may, "{at}");
    }
    world.writer.revoke_tsig_key(made.name.clone()).await.unwrap();
    // Not even what was signed before.
    let late = world.writer.update(actor, add("one.auth.example.org", "w")).await;
    assert!(matches!(late, Err(UpdateError::Forbidden)), "{late:?}");
    let again = world.writer.revoke_tsig_key(made.name.clone()).await;
    assert!(matches!(again, Err(UpdateError::UnknownTsigKey(_))), "{again:?}");
    let world = world.restart();
    assert!(world.writer.keys().keys().get(&made.name).is_none());
    let other = world.writer.create_tsig_key(new("key.test", &["one"])).await.unwrap().key;
    assert_ne!(other.secret, made.secret, "secrets are random");
}

#[tokio::test]
async fn a_grant_of_a_domain_follows_its_alias() {
    let world = start(tempfile::tempdir().unwrap());
    for label in ["one", "two"] {
        world.register(label).await.unwrap();
    }
    let (key, domain) = (name("key"), name("customer.example"));
    world.writer.create_tsig_key(NewTsigKey { domains: vec![domain.clone()], ..new("key", &[]) }).await.unwrap();
    let may = async |labels: [bool; 2], through_the_alias: bool| {
        let actor = as_holder(&world.writer, &key);
        for (label, may) in ["one", "two"].into_iter().zip(labels) {
            let done = world.writer.update(actor.clone(), add(&format!("{label}.auth.example.org"), "v")).await;
            assert_eq!(done.is_ok(), may, "{label}: {done:?}");
        }
        let done = world.writer.update(actor, add("_acme-challenge.customer.example", "v")).await;
        assert_eq!(done.is_ok(), through_the_alias, "{done:?}");
    };
    may([false, false], false).await;
    world.writer.add_alias(domain.clone(), label("one")).await.unwrap();
    may([true, false], true).await;
    world.writer.add_alias(name("other.example"), label("two")).await.unwrap();
    may([true, false], true).await;
    world.writer.remove_alias(domain.clone()).await.unwrap();
    may([false, false], false).await;
    world.writer.add_alias(domain, label("two")).await.unwrap();
    may([false, true], true).await;
    // The zone of an alias is not one of ours to give away.
    let below = NewTsigKey { below: vec![name("_acme-challenge.customer.example")], ..new("below", &[]) };
    let refused = world.writer.create_tsig_key(below).await.unwrap_err().to_string();
    assert!(refused.contains("in no zone of this server"), "{refused}");
}

/// A store whose disk is full when `full` says so: everything is decided and then not committed.
struct Disk {
    store: Sqlite,
    full: Arc<AtomicBool>,
}

impl Store for Disk {
    fn load(&mut self, show: &mut dyn FnMut(Change)) -> Result<Revision, StoreError> {
        self.store.load(show)
    }

    fn documents(&mut self, kind: Document) -> Result<Vec<(String, Body)>, StoreError> {
        self.store.documents(kind)
    }

    fn transact(&mut self, jobs: &mut [&mut dyn Job]) -> Result<Revision, StoreError> {
        let mut fail = Doing(|_: &mut dyn Records| Err(StoreError::Failed("the disk is full".to_owned())));
        let mut all: Vec<&mut dyn Job> = jobs.iter_mut().map(|job| &mut **job as &mut dyn Job).collect();
        if self.full.load(Ordering::SeqCst) {
            all.push(&mut fail);
        }
        self.store.transact(&mut all)
    }
}

#[tokio::test]
async fn a_key_that_was_not_committed_never_counts_and_one_whose_revocation_was_not_still_does() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk { store: open(folder.path()), full: full.clone() };
    let zone = Zone::from_nameservers(name("auth.example.org"), &[name("ns1.example.org")]).unwrap();
    let policy = Policy { value_lifetime: 600, zone: None, reserved: Vec::new(), tsig_keys: Vec::new() };
    let (writer, _thread) = Writer::start(disk, Arc::new(Live::new(Zones::new([zone]))), policy).unwrap();
    let below = |key: &str| NewTsigKey { below: vec![name("auth.example.org")], ..new(key, &[]) };
    writer.create_tsig_key(below("one")).await.unwrap();
    full.store(true, Ordering::SeqCst);
    let failed =
        [writer.create_tsig_key(below("two")).await.map(drop), writer.revoke_tsig_key(name("one")).await.map(drop)];
    for failed in failed {
        assert!(matches!(failed, Err(UpdateError::Store(_))), "{failed:?}");
    }
    let names: Vec<_> = writer.keys().keys().iter().map(|key| key.name.clone()).collect();
    assert_eq!(names, [name("one")]);
}

/// Where CAs look below a domain: dns-01, dns-account-01, dns-persist-01.
const METHODS: [&str; 3] = ["_acme-challenge", "_ujmmovf2vn55tgye._acme-challenge", "_validation-persist"];

/// Who could prove control of a host of ours could get a certificate for it.
#[tokio::test]
async fn only_administrator_and_acme_client_write_the_challenge_name_of_a_static_host() {
    let grants = [
        TsigGrant::Below(name("auth.example.org")),
        TsigGrant::Below(name("_acme-challenge.ns1.auth.example.org")),
        TsigGrant::Label(Grant { label: label("ns1"), zone: name("auth.example.org") }),
        TsigGrant::Label(Grant { label: label("a"), zone: name("auth.example.org") }),
        TsigGrant::Domain(name("ns1.auth.example.org")),
    ];
    let world = start_with(tempfile::tempdir().unwrap(), vec![tsig_key("key", grants.to_vec())]).unwrap();
    let account = as_account(&world.register("one").await.unwrap());
    let key = as_holder(&world.writer, &name("key"));
    for host in [
        "auth",
        "ns1.auth",
        "a.auth",
        "deep.a.auth",
        "api.auth",
        "wild.auth",
        "www.wild.auth",
        "x.y.wild.auth",
        // The wildcard of these is good for the API's host, and for a zone.
        "team.auth",
        "under.auth",
    ] {
        for method in METHODS {
            let at = format!("{method}.{host}.example.org");
            for actor in [&account, &key] {
                let refused = world.writer.update(actor.clone(), add(&at, "v")).await;
                assert!(matches!(refused, Err(UpdateError::Forbidden)), "{at}: {refused:?}");
            }
            for actor in [Actor::Administrator, Actor::AcmeClient] {
                world.writer.update(actor, add(&at, "v")).await.unwrap();
            }
        }
    }
    for method in METHODS {
        let at = format!("{method}.free.auth.example.org");
        world.writer.update(account.clone(), add(&at, "v")).await.unwrap_err();
        world.writer.update(key.clone(), add(&at, "v")).await.unwrap();
    }
    // And no label is such a host: not its name, an empty non-terminal, a cut, the API's host, or above a zone.
    for taken in ["ns1", "a", "cut", "api", "wild", "team", "under"] {
        let refused = world.register(taken).await;
        assert!(matches!(refused, Err(UpdateError::LabelTaken { .. })), "{taken}: {refused:?}");
        for actor in [&account, &key, &Actor::Administrator, &Actor::AcmeClient] {
            world.writer.update(actor.clone(), add(&format!("{taken}.auth.example.org"), "v")).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_key_for_a_challenge_zone_writes_what_lies_in_it() {
    let zones = ["_acme-challenge.example.net", "_acme-challenge.api.auth.example.org"];
    let grants = zones.map(|zone| TsigGrant::Below(name(zone))).to_vec();
    let world = start_with(tempfile::tempdir().unwrap(), vec![tsig_key("key", grants)]).unwrap();
    let key = as_holder(&world.writer, &name("key"));
    for (at, may) in [
        // A host of our own, whose challenge zone the key was made for.
        ("_acme-challenge.api.auth.example.org", true),
        ("_ujmmovf2vn55tgye._acme-challenge.api.auth.example.org", true),
        ("_validation-persist.api.auth.example.org", false),
        ("_acme-challenge.example.net", true),
        ("_ujmmovf2vn55tgye._acme-challenge.example.net", true),
        ("_ujmmovf2vn55tgye._acme-challenge.free.auth.example.org", false),
        ("_validation-persist.free.auth.example.org", false),
    ] {
        let updated = world.writer.update(key.clone(), add(at, "v")).await;
        assert_eq!(updated.is_ok(), may, "{at}: {updated:?}");
    }
}

/// What is decided for a commit is in the DNS only after it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_puts_a_value_at_a_label_that_the_same_commit_takes_away() {
    let zone = name("auth.example.org");
    let grants = [TsigGrant::Label(Grant { label: label("one"), zone: zone.clone() }), TsigGrant::Below(zone)];
    let world = start_with(tempfile::tempdir().unwrap(), vec![tsig_key("key", grants.to_vec())]).unwrap();
    let key = as_holder(&world.writer, &name("key"));
    for (text, actor) in [("one", &key), ("two", &key), ("three", &Actor::Administrator), ("four", &Actor::AcmeClient)]
    {
        let account = world.register(text).await.unwrap();
        let at = format!("{text}.auth.example.org");
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let blocking = world.writer.update_if::<UpdateError>(Actor::Administrator, move |_| {
            wait.recv().unwrap();
            Ok(Vec::new())
        });
        let let_go = async {
            tokio::task::yield_now().await;
            go_on.send(()).unwrap();
        };
        let deleting = world.writer.delete_account(account.account.username);
        let updating = world.writer.update(actor.clone(), add(&at, "v"));
        let (blocked, deleted, updated, ()) = tokio::join!(blocking, deleting, updating, let_go);
        blocked.and(deleted.map(drop)).unwrap();
        assert!(matches!(updated, Err(UpdateError::NotAChallengeName(_))), "{text}: {updated:?}");
        assert_eq!(world.values(&at), [""; 0], "{text}");
    }
}

#[tokio::test]
async fn labels_of_our_own_certificates_are_in_no_hands_but_ours() {
    let below = vec![TsigGrant::Below(name("auth.example.org"))];
    let world = start_with(tempfile::tempdir().unwrap(), vec![tsig_key("key", below)]).unwrap();
    let reserved = world.writer.reserve(name("example.com")).await.unwrap().name().unwrap().to_string();
    let key = as_holder(&world.writer, &name("key"));
    let names = METHODS.map(|method| format!("{method}.{reserved}"));
    for at in names.into_iter().chain([reserved.clone()]) {
        let refused = world.writer.update(key.clone(), add(&at, "v")).await;
        assert!(matches!(refused, Err(UpdateError::Forbidden)), "{refused:?}");
        for actor in [Actor::Administrator, Actor::AcmeClient] {
            world.writer.update(actor, add(&at, "v")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_that_could_do_nothing_or_too_much_is_not_made() {
    let world = start_with(tempfile::tempdir().unwrap(), vec![tsig_key("configured", vec![])]).unwrap();
    let gone = world.register("gone").await.unwrap().account.username;
    world.register("one").await.unwrap();
    world.writer.delete_account(gone).await.unwrap();
    let reserved = world.writer.reserve(name("example.com")).await.unwrap().label;
    world.writer.create_tsig_key(new("there", &["one"])).await.unwrap();
    let below = |at: &str| NewTsigKey { below: vec![name(at)], ..new("key", &[]) };
    let domain = |at: &str| NewTsigKey { domains: vec![name(at)], ..new("key", &[]) };
    for (wanted, said) in [
        (new("key", &[]), "it could change nothing"),
        (new("key", &["one", "none"]), "`acmezone account create --label none`"),
        (new("key", &["gone"]), "belonged to an account that was deleted"),
        (new("key", &[reserved.as_str()]), "is reserved for the certificates of example.com"),
        (new("there", &["one"]), "revoke it first"),
        (new("Configured", &["one"]), "the configuration file has a [[tsig_key]] of this name"),
        (new("a\\032key", &["one"]), "letters, digits, hyphens and underscores"),
        (new(".", &["one"]), "letters, digits, hyphens and underscores"),
        (below("example.com"), "example.com is in no zone of this server"),
        (domain("_acme-challenge.customer.example"), "name the domain itself"),
        (domain("*.customer.example"), "letters, digits"),
    ] {
        let refused = world.writer.create_tsig_key(wanted).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    let names: Vec<_> =
        world.writer.tsig_keys().await.unwrap().iter().map(|entry| entry.key.name.to_string()).collect();
    assert_eq!(names, ["configured", "there"]);
}

#[tokio::test]
async fn the_key_of_the_configuration_counts_before_one_of_the_same_name() {
    let world = start(tempfile::tempdir().unwrap());
    world.register("one").await.unwrap();
    for key in ["one", "two"] {
        world.writer.create_tsig_key(new(key, &["one"])).await.unwrap();
    }
    let configured = tsig_key("two", vec![TsigGrant::Below(name("auth.example.org"))]);
    let world = start_with(world.stop(), vec![configured.clone()]).unwrap();
    assert_eq!(**world.writer.keys().keys().get(&name("two")).unwrap(), configured);
    let hidden = |entry: &Origin| match entry {
        Origin::Config => None,
        Origin::Store { hidden, .. } => Some(*hidden),
    };
    let all = world.writer.tsig_keys().await.unwrap();
    let all: Vec<_> = all.iter().map(|entry| (entry.key.name.to_string(), hidden(&entry.origin))).collect();
    let name_of = str::to_owned;
    assert_eq!(all, [(name_of("two"), None), (name_of("one"), Some(false)), (name_of("two"), Some(true))]);
    assert_eq!(world.writer.tsig_key(name("two")).await.unwrap().key, configured);
    // What is revoked is the one in the store; the other stays.
    world.writer.revoke_tsig_key(name("two")).await.unwrap();
    assert_eq!(**world.writer.keys().keys().get(&name("two")).unwrap(), configured);
    let refused = world.writer.revoke_tsig_key(name("two")).await.unwrap_err().to_string();
    assert!(refused.contains("stands in the configuration file"), "{refused}");
    world.writer.update(as_holder(&world.writer, &name("two")), add("one.auth.example.org", "v")).await.unwrap();
}

#[test]
fn a_damaged_key_is_named_at_the_start_without_its_secret() {
    let good = r#"{"algorithm":"hmac-sha256","secret":"c2VjcmV0","grants":[],"replace":"rfc","created":1}"#;
    for (key, body, said) in [
        ("one", good.replace("c2VjcmV0", "c2VjcmV0!"), "its secret is not in base64"),
        ("one", good.replace("hmac-sha256", "hmac-md5"), "unknown variant `hmac-md5`"),
        ("one", good.replace("\"created\":1", "\"extra\":1"), "unknown field `extra`"),
        ("one", "{".to_owned(), "EOF"),
        ("o..ne", good.to_owned(), "its name is none"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        transact(&mut store, |records| {
            records.put_document(Document::TsigKey, key, Some(&body))?;
            Ok(Kept::Yes)
        })
        .unwrap();
        drop(store);
        let error = start_with(folder, Vec::new()).err().expect("it does not start");
        assert!(matches!(error, StoreError::Damaged(_)));
        let error = error.to_string();
        assert!(error.contains(&format!("TsigKey {key}: ")) && error.contains(said), "{error}");
        assert!(!error.contains("c2VjcmV0"));
    }
}

#[test]
fn a_secret_is_as_long_as_its_algorithm_makes_use_of_rfc2104_3() {
    for (algorithm, octets) in TsigAlgorithm::ALL.into_iter().zip([32, 32, 48, 64]) {
        let secret = TsigSecret::random(algorithm).unwrap();
        assert_eq!(secret.reveal().len(), octets);
        assert_eq!(TsigSecret::from_base64(&secret.to_base64()), Some(secret));
    }
}
