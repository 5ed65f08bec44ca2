//! The contract of `trait Store`, one battery for every store, and the writer on top of it.

mod accounts;
mod keys;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use acmezone::account::{
    Account, AllowFrom, Credential, Grant, Replace, TsigAlgorithm, TsigGrant, TsigKey, TsigSecret,
};
use acmezone::store::{
    Actor, Document, Holder, Job, Kept, LabelRecord, Policy, Records, RegisterLabel, Registration, Sqlite, Store,
    StoreError, UpdateError, Writer, WriterHandle, now,
};
use acmezone::zone::{Change, Edit, Label, Live, Name, TxtSet, TxtValue, Update, Zone, Zones};
use uuid::Uuid;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn label(text: &str) -> Label {
    Label::parse(text).unwrap()
}

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("acmezone.db")).unwrap()
}

/// A job made of a closure.
struct Doing<F>(F);

impl<F: FnMut(&mut dyn Records) -> Result<Kept, StoreError>> Job for Doing<F> {
    fn run(&mut self, records: &mut dyn Records) -> Result<Kept, StoreError> {
        (self.0)(records)
    }
}

fn transact(
    store: &mut Sqlite,
    job: impl FnMut(&mut dyn Records) -> Result<Kept, StoreError>,
) -> Result<u64, StoreError> {
    store.transact(&mut [&mut Doing(job)])
}

fn account(username: u128) -> Account {
    Account {
        username: Uuid::from_u128(username),
        credentials: vec![Credential::random().unwrap().hash()],
        allow_from: AllowFrom::parse(&["192.0.2.1/24", "2001:db8::/32"]).unwrap(),
        grants: Vec::new(),
        created: 7,
        updated: None,
    }
}

fn set(values: &[(&str, u64)]) -> TxtSet {
    let mut set = TxtSet::default();
    for (value, expires) in values {
        set.add(TxtValue::new(value.as_bytes()).unwrap(), *expires);
    }
    set
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut holder = account(1);
    let record = LabelRecord {
        grant: Grant { label: label("one"), zone: name("auth.example.org") },
        holder: Holder::Account(holder.username),
    };
    let values = set(&[("b", 20), ("a", 10), ("\u{e4}\u{0}", 30)]);
    let revision = transact(&mut store, |records| {
        records.put_account(&holder)?;
        records.put_label(&record)?;
        records.put_txt(&name("one.auth.example.org"), &values)?;
        records.put_document(Document::Issuance, "example.com", Some("{}"))?;
        Ok(Kept::Yes)
    })
    .unwrap();
    drop(store);
    let mut store = open(folder.path());
    let mut shown = Vec::new();
    assert_eq!(store.load(&mut |change| shown.push(change)).unwrap(), revision);
    let one = name("one.auth.example.org");
    assert_eq!(shown, [Change::Registered { name: one.clone() }, Change::Txt { name: one, set: values.clone() }]);
    holder.grants = vec![record.grant.clone()];
    transact(&mut store, |records| {
        assert_eq!(records.account(holder.username)?, Some(holder.clone()));
        assert_eq!(records.accounts()?, [holder.clone()]);
        assert_eq!(records.label(&label("one"))?, Some(record.clone()));
        assert_eq!(records.txt(&name("one.auth.example.org"))?, values);
        assert_eq!(records.names_with_expired(9)?, []);
        assert_eq!(records.names_with_expired(10)?, [name("one.auth.example.org")]);
        assert_eq!(records.document(Document::Issuance, "example.com")?.as_deref(), Some("{}"));
        assert_eq!(records.document(Document::Certificate, "example.com")?, None);
        Ok(Kept::Yes)
    })
    .unwrap();
}

#[test]
fn a_job_that_is_not_kept_leaves_nothing_and_later_jobs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let (one, two) = (account(1), account(2));
    let mut undone = Doing(|records: &mut dyn Records| records.put_account(&one).map(|()| Kept::No));
    let mut kept = Doing(|records: &mut dyn Records| {
        assert_eq!(records.account(one.username)?, None);
        records.put_account(&two).map(|()| Kept::Yes)
    });
    store.transact(&mut [&mut undone, &mut kept]).unwrap();
    transact(&mut store, |records| {
        assert_eq!(records.accounts()?.len(), 1);
        Ok(Kept::Yes)
    })
    .unwrap();
}

#[test]
fn an_error_in_one_job_undoes_the_whole_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let one = account(1);
    let mut good = Doing(|records: &mut dyn Records| records.put_account(&one).map(|()| Kept::Yes));
    let mut failing = Doing(|_: &mut dyn Records| Err(StoreError::Failed("on purpose".into())));
    assert!(store.transact(&mut [&mut good, &mut failing]).is_err());
    transact(&mut store, |records| {
        assert_eq!(records.accounts()?, []);
        Ok(Kept::Yes)
    })
    .unwrap();
}

#[test]
fn the_revision_rises_with_writes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let first = transact(&mut store, |_| Ok(Kept::Yes)).unwrap();
    assert_eq!(transact(&mut store, |records| records.accounts().map(|_| Kept::Yes)).unwrap(), first);
    let one = account(1);
    assert!(transact(&mut store, |records| records.put_account(&one).map(|()| Kept::Yes)).unwrap() > first);
}

#[test]
fn a_job_knows_whether_the_commit_will_be_another_revision() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let (one, two) = (account(1), account(2));
    let reading = |expected: bool| {
        Doing(move |records: &mut dyn Records| {
            assert_eq!(records.is_changed(), expected);
            Ok(Kept::Yes)
        })
    };
    let mut undone = Doing(|records: &mut dyn Records| records.accounts().map(|_| Kept::No));
    let mut kept = Doing(|records: &mut dyn Records| records.put_account(&one).map(|()| Kept::Yes));
    store
        .transact(&mut [&mut reading(false), &mut undone, &mut reading(false), &mut kept, &mut reading(true)])
        .unwrap();
    transact(&mut store, |records| {
        assert!(!records.is_changed());
        records.put_account(&two)?;
        assert!(records.is_changed());
        Ok(Kept::Yes)
    })
    .unwrap();
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acmezone.db");
    std::fs::write(&file, "").unwrap(); // as a restored backup may be
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = open(folder.path());
    let one = account(1);
    transact(&mut store, |records| records.put_account(&one).map(|()| Kept::Yes)).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn a_newer_schema_is_refused_in_clear_words() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let file = folder.path().join("acmezone.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Sqlite::open(&file).unwrap_err().to_string();
    assert!(error.contains("schema version 99") && error.contains("newer acmezone"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acmezone.db");
    std::fs::write(&file, "this is not a database, though it is long enough to be looked at as one").unwrap();
    assert!(matches!(Sqlite::open(&file), Err(StoreError::Open { .. })));
}

struct World {
    folder: tempfile::TempDir,
    live: Arc<Live>,
    writer: Writer,
    thread: WriterHandle,
}

const ZONE: &str = "
@      3600 SOA ns1 hostmaster 1 14400 3600 1209600 300
@      3600 NS  ns1
ns1    3600 A   127.0.0.1
deep.a 3600 A   127.0.0.1
cut    3600 NS  ns.example.net.
*.wild 3600 A   127.0.0.1
";

fn start(folder: tempfile::TempDir) -> World {
    start_with(folder, Vec::new()).unwrap()
}

/// With these keys in the configuration.
fn start_with(folder: tempfile::TempDir, tsig_keys: Vec<TsigKey>) -> Result<World, StoreError> {
    let origin = name("auth.example.org");
    let records = acmezone::zone::master::read(ZONE, &origin).unwrap();
    let zones = Zones::new([
        Zone::from_records(origin.clone(), records).unwrap(),
        Zone::from_nameservers(name("_acme-challenge.example.net"), &[name("ns1.auth.example.org")]).unwrap(),
        Zone::from_nameservers(name("_acme-challenge.api.auth.example.org"), &[name("ns1.auth.example.org")]).unwrap(),
        Zone::from_nameservers(name("zone.under.auth.example.org"), &[name("ns1.auth.example.org")]).unwrap(),
    ]);
    let live = Arc::new(Live::new(zones));
    let reserved = vec![name("api.auth.example.org"), name("api.team.auth.example.org")];
    let policy = Policy { value_lifetime: 600, zone: Some(origin), reserved, tsig_keys };
    let (writer, thread) = Writer::start(open(folder.path()), live.clone(), policy)?;
    Ok(World { folder, live, writer, thread })
}

impl World {
    fn restart(self) -> World {
        start(self.stop())
    }

    fn stop(self) -> tempfile::TempDir {
        drop(self.writer);
        self.thread.join();
        self.folder
    }

    async fn register(&self, text: &str) -> Result<Registration, UpdateError> {
        self.writer.register(AllowFrom::default(), RegisterLabel::Chosen(label(text))).await
    }

    fn values(&self, at: &str) -> Vec<String> {
        let set = self.live.txt_set(&name(at));
        set.map_or(Vec::new(), |set| set.live(now()).map(ToString::to_string).collect())
    }
}

fn add(at: &str, value: &str) -> Vec<Update> {
    vec![Update { name: name(at), edit: Edit::Add(TxtValue::new(value.as_bytes()).unwrap()) }]
}

fn tsig_key(key: &str, grants: Vec<TsigGrant>) -> TsigKey {
    let (algorithm, secret) = (TsigAlgorithm::HmacSha256, TsigSecret::new(Default::default()));
    TsigKey { name: name(key), algorithm, secret, grants, replace: Replace::Rfc }
}

/// Who signs with a key that counts now.
fn as_holder(writer: &Writer, key: &Name) -> Actor {
    Actor::TsigKey(writer.keys().keys().get(key).expect("there is such a key").clone())
}

fn as_account(registration: &Registration) -> Actor {
    Actor::Account {
        username: registration.account.username,
        credential: registration.credential.hash(),
        source: "192.0.2.1".parse().unwrap(),
    }
}

#[tokio::test]
async fn an_acknowledged_update_is_served_and_survives_a_restart() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    world.writer.update(as_account(&one), add("one.auth.example.org", "v1")).await.unwrap();
    assert_eq!(world.values("one.auth.example.org"), ["v1"]);
    let revision = world.live.revision();
    let world = world.restart();
    assert_eq!(world.values("one.auth.example.org"), ["v1"]);
    assert!(world.live.revision() >= revision, "the serial never falls");
    world.writer.update(as_account(&one), add("_acme-challenge.one.auth.example.org", "v2")).await.unwrap();
    assert_eq!(world.values("one.auth.example.org"), ["v1", "v2"]);
}

#[tokio::test]
async fn an_account_changes_its_own_labels_alone() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let two = world.register("two").await.unwrap();
    let elsewhere = [
        "two.auth.example.org",
        "auth.example.org",
        "nobody.auth.example.org",
        "_acme-challenge.example.net",
        "_acme-challenge.www.auth.example.org",
        "one.evil.test",
    ];
    for at in elsewhere {
        let refused = world.writer.update(as_account(&one), add(at, "v")).await;
        assert!(matches!(refused, Err(UpdateError::Forbidden)), "{at}: {refused:?}");
    }
    let Actor::Account { username, source, .. } = as_account(&one) else { unreachable!() };
    let wrong = [
        Actor::Account { username, source, credential: two.credential.hash() },
        Actor::Account { username: Uuid::from_u128(1), source, credential: one.credential.hash() },
    ];
    for actor in wrong {
        let refused = world.writer.update(actor, add("one.auth.example.org", "v")).await;
        assert!(matches!(refused, Err(UpdateError::Forbidden)));
    }
    assert!(world.live.values().is_empty());
}

#[tokio::test]
async fn updates_of_one_call_happen_together_or_not_at_all() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let mut updates = add("one.auth.example.org", "v");
    updates.extend(add("two.auth.example.org", "v"));
    assert!(world.writer.update(as_account(&one), updates).await.is_err());
    assert!(world.live.values().is_empty());
}

#[tokio::test]
async fn a_label_is_unique_and_never_given_away_again() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    for taken in ["one", "ns1", "a", "cut", "api"] {
        let refused = world.register(taken).await;
        assert!(matches!(refused, Err(UpdateError::LabelTaken { .. })), "{taken}: {refused:?}");
    }
    world.writer.update(as_account(&one), add("one.auth.example.org", "v")).await.unwrap();
    world.writer.delete_account(one.account.username).await.unwrap();
    assert!(world.live.txt_set(&name("one.auth.example.org")).is_none());
    assert!(matches!(world.register("one").await, Err(UpdateError::LabelTaken { .. })));
    let world = world.restart();
    assert!(matches!(world.register("one").await, Err(UpdateError::LabelTaken { .. })));
    assert!(world.live.txt_set(&name("one.auth.example.org")).is_none());
}

#[tokio::test]
async fn a_label_reserved_for_a_domain_stays_the_same() {
    let world = start(tempfile::tempdir().unwrap());
    let first = world.writer.reserve(name("example.com")).await.unwrap();
    assert_eq!(world.writer.reserve(name("example.com")).await.unwrap(), first);
    assert_ne!(world.writer.reserve(name("example.net")).await.unwrap(), first);
    let world = world.restart();
    assert_eq!(world.writer.reserve(name("example.com")).await.unwrap(), first);
    assert!(world.live.is_registered(&first.name().unwrap()));
}

#[tokio::test]
async fn administrator_and_acme_client_may_use_challenge_names_and_nothing_else() {
    let world = start(tempfile::tempdir().unwrap());
    world.register("one").await.unwrap();
    for at in ["one.auth.example.org", "_acme-challenge.example.net", "_acme-challenge.x.y.auth.example.org"] {
        world.writer.update(Actor::AcmeClient, add(at, "v")).await.unwrap();
        world.writer.update(Actor::Administrator, add(at, "w")).await.unwrap();
        assert_eq!(world.values(at), ["v", "w"]);
    }
    for at in [
        "ns1.auth.example.org",
        "auth.example.org",
        "other.auth.example.org",
        "example.com",
        "_acme-challenge.cut.auth.example.org",
    ] {
        let refused = world.writer.update(Actor::Administrator, add(at, "v")).await;
        assert!(matches!(refused, Err(UpdateError::NotAChallengeName(_))), "{at}: {refused:?}");
    }
}

#[tokio::test]
async fn expired_values_are_swept() {
    let world = start(tempfile::tempdir().unwrap());
    world.writer.update(Actor::Administrator, add("_acme-challenge.example.net", "v")).await.unwrap();
    let file = world.folder.path().join("acmezone.db");
    rusqlite::Connection::open(file).unwrap().execute("UPDATE txt SET expires = 1", []).unwrap();
    let world = world.restart();
    assert!(world.values("_acme-challenge.example.net").is_empty());
    assert_eq!(world.writer.sweep().await.unwrap(), 1);
    assert!(world.live.values().is_empty());
}

/// 64 callers at once, each asking after each answer: what was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_are_each_seen_when_acknowledged() {
    let world = start(tempfile::tempdir().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let registration = world.register(&format!("l{caller}")).await.unwrap();
        let (writer, live) = (world.writer.clone(), world.live.clone());
        tasks.spawn(async move {
            let at = format!("l{caller}.auth.example.org");
            for round in 0..20 {
                let value = format!("{caller}-{round}");
                writer.update(as_account(&registration), add(&at, &value)).await.unwrap();
                let seen = live.txt_set(&name(&at)).unwrap();
                assert!(seen.live(now()).any(|held| held.to_string() == value));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(world.live.values().len(), 64);
}

/// Decisions that wait for the same commit: each sees what the ones before it decided, its serial included.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_sees_everything_that_was_decided_before() {
    let world = start(tempfile::tempdir().unwrap());
    world.register("one").await.unwrap();
    let at = name("one.auth.example.org");
    let before = world.live.revision();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let blocking = world.writer.update_if::<UpdateError>(Actor::Administrator, move |_| {
        wait.recv().unwrap();
        Ok(Vec::new())
    });
    let decision = |value: &'static str| {
        let at = at.clone();
        world.writer.update_if::<UpdateError>(Actor::Administrator, move |state| {
            let held = state.values(&at).map_err(UpdateError::Store)?;
            let seen = format!("{value} after {} at {}", held.held().len(), state.revision() - before);
            Ok(vec![Update { name: at, edit: Edit::Add(TxtValue::new(seen.as_bytes()).unwrap()) }])
        })
    };
    let let_go = async {
        tokio::task::yield_now().await;
        go_on.send(()).unwrap();
    };
    let (first, second, third, ()) = tokio::join!(blocking, decision("a"), decision("b"), let_go);
    first.and(second).and(third).unwrap();
    assert_eq!(world.values("one.auth.example.org"), ["a after 0 at 0", "b after 1 at 1"]);
    assert_eq!(world.live.revision() - before, 1, "they went into one commit");
}

#[tokio::test]
async fn a_decision_against_it_changes_nothing_and_is_told() {
    let world = start(tempfile::tempdir().unwrap());
    world.register("one").await.unwrap();
    let before = world.live.revision();
    let refused = world.writer.update_if(Actor::Administrator, |_| Err(UpdateError::NoZone)).await;
    assert!(matches!(refused, Err(UpdateError::NoZone)));
    let in_part = [add("one.auth.example.org", "v"), add("ns1.auth.example.org", "v")].concat();
    let refused = world.writer.update_if::<UpdateError>(Actor::Administrator, |_| Ok(in_part)).await;
    assert!(matches!(refused, Err(UpdateError::NotAChallengeName(_))));
    assert_eq!((world.live.revision(), world.values("one.auth.example.org")), (before, vec![]));
}

#[tokio::test]
async fn values_that_were_put_in_long_ago_are_removed_and_recent_ones_stay() {
    let world = start(tempfile::tempdir().unwrap());
    let at = "_acme-challenge.example.net";
    let edit = |edit| vec![Update { name: name(at), edit }];
    world.writer.update(Actor::Administrator, add(at, "v")).await.unwrap();
    for (seconds, left) in [(u64::MAX, 1), (600, 1), (60, 1), (0, 0)] {
        world.writer.update(Actor::Administrator, edit(Edit::RemoveOlder(seconds))).await.unwrap();
        assert_eq!(world.values(at).len(), left, "older than {seconds} s");
    }
}

#[tokio::test]
async fn a_key_may_change_what_it_is_granted() {
    let zone = name("auth.example.org");
    let keys = vec![
        tsig_key("label", vec![TsigGrant::Label(Grant { label: label("one"), zone: zone.clone() })]),
        tsig_key("below", vec![TsigGrant::Below(zone)]),
        tsig_key("exact", vec![TsigGrant::Below(name("_acme-challenge.ns1.auth.example.org"))]),
        tsig_key("neither", vec![]),
    ];
    let world = start_with(tempfile::tempdir().unwrap(), keys).unwrap();
    for label in ["one", "two"] {
        world.register(label).await.unwrap();
    }
    let [of_label, below, exact, neither] =
        ["label", "below", "exact", "neither"].map(|key| as_holder(&world.writer, &name(key)));
    for (at, granted) in [
        ("one.auth.example.org", &[&of_label, &below][..]),
        ("_acme-challenge.one.auth.example.org", &[&of_label, &below]),
        ("two.auth.example.org", &[&below]),
        ("_acme-challenge.host.auth.example.org", &[&below]),
        ("_acme-challenge.ns1.auth.example.org", &[]),
        ("_acme-challenge.a.auth.example.org", &[]), // an empty non-terminal of the zone file
        ("_acme-challenge.auth.example.org", &[]),
        ("_acme-challenge.example.net", &[]),
        ("three.auth.example.org", &[]),
        ("ns1.auth.example.org", &[]),
    ] {
        for actor in [&of_label, &below, &exact, &neither] {
            let may = granted.iter().any(|granted| std::ptr::eq(*granted, actor));
            let done = world.writer.update(actor.clone(), add(at, "v")).await;
            assert_eq!(done.is_ok(), may, "{at}: {done:?}");
        }
    }
}
