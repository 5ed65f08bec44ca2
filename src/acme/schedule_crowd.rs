//! Ten thousand certificates: what a start, an idle hour and a crowd of due ones cost.

use std::net::UdpSocket;
use std::time::Instant;

use super::*;
use crate::acme::OwnListeners;
use crate::acme::certificate::tests::issued;
use crate::acme::pause::DAY;
use crate::acme::renewal::ari::{Answer, Renewal, Window};
use crate::config::{self, Ca, Config};
use crate::resolve::Resolver;
use crate::store::{Body, Policy, Sqlite, Writer};
use crate::zone::{Live, Zones};

const COUNT: usize = 10_000;
/// For what takes a second on an idle machine.
const SECONDS: Duration = Duration::from_secs(20);

struct World {
    folder: tempfile::TempDir,
    issuer: Issuer,
    /// The resolver: it never answers.
    _silent: UdpSocket,
}

fn name(index: usize) -> String {
    format!("site-{index:05}")
}

impl World {
    fn new(orders: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acmezone.toml");
        let zone = "[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n";
        std::fs::write(&file, format!("version = 1\ndata_dir = \"data\"\n{zone}")).unwrap();
        let mut config = Config::read(&file).unwrap();
        config.acme.orders = orders;
        config.cas = vec![Ca::new("test".into(), "https://127.0.0.1:9/dir".into())];
        let certificate = |index: usize| {
            config::Certificate::new(name(index), vec![format!("host-{index}.test")], vec!["test".into()])
        };
        config.certificates = (0..COUNT).map(certificate).collect();
        let store = Sqlite::open(&folder.path().join("store.db")).unwrap();
        let policy = Policy { value_lifetime: 600, zone: None, reserved: Vec::new(), tsig_keys: Vec::new() };
        let (writer, _) = Writer::start(store, Arc::new(Live::new(Zones::new([]))), policy).unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolver = Resolver::new(&[silent.local_addr().unwrap()]);
        let issuer = Issuer::new(&config, writer, resolver, OwnListeners::default()).unwrap();
        World { folder, issuer, _silent: silent }
    }

    /// Puts these certificates into the store, by their place: from when to when they are valid.
    async fn put(&self, lives: impl Iterator<Item = (usize, Timestamp, Timestamp)>, asked: bool) {
        let mut documents = Vec::new();
        for (index, from, to) in lives {
            let certificate = Certificate {
                names: vec![format!("host-{index}.test")],
                directory: "https://127.0.0.1:9/dir".into(),
                serial: format!("{index:x}"),
                // About as much as there is in a real one.
                chain: "x".repeat(6000),
                ..issued(from, to)
            };
            let mut renewal = Renewal::of(&certificate);
            let window = Window { start: to - DAY, end: to };
            renewal.hear(Ok(Answer::Window { window, explanation: None }), None, now(), 0);
            let renewal = asked.then_some(renewal);
            let state = Issuance { current: Some(1), renewal, ..Issuance::default() };
            let text = Body::of(&certificate).unwrap();
            documents.push((Document::Certificate, key_of(&name(index), 1), Some(text)));
            documents.push((Document::Issuance, name(index), Some(Body::of(&state).unwrap())));
        }
        self.issuer.shared.writer.put_documents(documents).await.unwrap();
    }

    async fn schedule(&self) -> Schedule {
        Schedule::read(self.issuer.clone(), self.issuer.states().await).await
    }

    fn running(&self) -> Vec<String> {
        let slots = self.issuer.shared.slots.iter();
        slots.filter(|slot| slot.is_running()).map(|slot| slot.name().to_owned()).collect()
    }
}

fn valid() -> impl Iterator<Item = (usize, Timestamp, Timestamp)> {
    (0..COUNT).map(|index| (index, now() - DAY, now() + 89 * DAY))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_valid_certificates_are_read_in_seconds_and_then_nothing_happens() {
    let world = World::new(4);
    world.put(valid(), true).await;
    let start = Instant::now();
    let mut schedule = world.schedule().await;
    let read = start.elapsed();
    let next = schedule.start_what_is_due(now());
    println!("{COUNT} certificates: read in {read:.1?}, looked through in {:.1?}", start.elapsed() - read);
    assert!(read < SECONDS, "{read:?}");
    assert!(next > now() + 3600, "there is nothing to do for hours");
    let never = CancellationToken::new();
    let idle = tokio::time::timeout(Duration::from_secs(2), schedule.follow(&never));
    assert!(idle.await.is_err());
    assert_eq!(schedule.rounds, 1);
    assert_eq!(world.running(), [""; 0]);
    drop(world.folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_questions_are_spread_over_minutes_and_few_are_asked_at_once_rfc9773_4_3() {
    let world = World::new(4);
    world.put(valid(), false).await;
    let mut schedule = world.schedule().await;
    let at = now();
    let minute = schedule.entries.iter().filter(|entry| entry.ask(at).unwrap() < at + 60).count();
    assert!((COUNT / 20..COUNT / 5).contains(&minute), "{minute} in the first of ten minutes");
    schedule.start_what_is_due(at + SPREAD);
    assert_eq!(schedule.entries.iter().filter(|entry| entry.asking).count(), QUESTIONS);

    let few = World::new(4);
    few.put(valid().take(FEW), false).await;
    let schedule = few.schedule().await;
    assert!(schedule.entries.iter().take(FEW).all(|entry| entry.ask(at) == Some(0)));
    assert!(schedule.entries.iter().skip(FEW).all(|entry| entry.ask(at).is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_due_certificates_a_few_are_ordered_at_a_time_the_most_urgent_first() {
    let world = World::new(4);
    // Expired, about to expire, due; the configuration has no other that is not missing.
    let lives = [(9_000, 0, 91), (5_000, 2, 92), (7_000, 10, 93)];
    let lives = lives.map(|(index, left, end)| {
        let end_of_life = now() + left * DAY;
        (index, end_of_life - 90 * DAY, end_of_life - u64::from(end == 91))
    });
    world.put(lives.into_iter(), true).await;
    let mut schedule = world.schedule().await;
    let cancel = CancellationToken::new();
    let following = tokio::spawn({
        let cancel = cancel.clone();
        async move {
            schedule.follow(&cancel).await;
            schedule
        }
    });
    let (start, mut most, mut ran) = (Instant::now(), 0, Vec::new());
    while ran.is_empty() || start.elapsed() < Duration::from_secs(2) {
        let running = world.running();
        most = most.max(running.len());
        if ran.is_empty() && running.len() == 4 {
            ran = running;
        }
        assert!(start.elapsed() < SECONDS, "nothing begins");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ran, ["site-00000", "site-05000", "site-07000", "site-09000"]);
    assert_eq!(most, 4);

    // A person does not wait behind them.
    let mut lines = world.issuer.issue("site-08000", false).unwrap();
    let permits = || world.issuer.shared.asked.available_permits();
    let start = Instant::now();
    while permits() > 0 {
        assert!(start.elapsed() < SECONDS, "the person waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(lines.try_recv().is_err(), "the attempt is under way");
    cancel.cancel();
    let schedule = following.await.unwrap();
    // One at the start, one for each attempt that ended, and for each answer of the CA.
    assert!(schedule.rounds < 40, "{} rounds", schedule.rounds);
    world.issuer.shared.stopping.cancel();
}
