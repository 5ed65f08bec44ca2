//! One connection in memory, on a clock that stands still until everybody waits for it.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::listen::places::{Caps, Places};

/// Answers come in capitals. Rare messages begin with `?` and wait until `release` lets as many go; `!` is met with
/// silence.
#[derive(Clone, Default)]
struct Shouting {
    release: Arc<Notify>,
    /// Rare messages that have been begun.
    begun: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Answers for Shouting {
    fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Verdict {
        *out = message.to_ascii_uppercase();
        match message.first() {
            Some(b'?') => Verdict::Rare,
            Some(b'!') => Verdict::Silence,
            _ => Verdict::Reply,
        }
    }

    fn rare(&self, message: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static + use<> {
        let Shouting { release, begun } = self.clone();
        async move {
            begun.lock().unwrap().push(message.clone());
            release.notified().await;
            Some(message.to_ascii_uppercase())
        }
    }
}

struct Client {
    stream: DuplexStream,
    answers: Shouting,
    stop: CancellationToken,
    places: Arc<Places>,
    served: JoinHandle<(io::Result<()>, Duration)>,
}

/// Octets of one direction that are under way at most.
const PIPE: usize = 4096;

impl Client {
    fn new() -> Client {
        Client::with(Limits::default())
    }

    fn with(limits: Limits) -> Client {
        let (stream, server) = duplex(PIPE);
        let (answers, stop) = (Shouting::default(), CancellationToken::new());
        let places = Places::new(Caps { connections: 1, per_prefix: 1 }, "test", Vec::new());
        let place = places.take([192, 0, 2, 1].into(), &stop).unwrap();
        let served = {
            let (answers, stop) = (answers.clone(), stop.clone());
            tokio::spawn(async move {
                let began = Instant::now();
                let end = serve(server, &answers, limits, &place, &stop).await;
                (end, began.elapsed())
            })
        };
        Client { stream, answers, stop, places, served }
    }

    async fn send(&mut self, messages: &[&str]) {
        let octets: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        self.stream.write_all(&octets).await.unwrap();
    }

    async fn receive(&mut self) -> Option<String> {
        let length = self.stream.read_u16().await.ok()?;
        let mut message = vec![0; length.into()];
        self.stream.read_exact(&mut message).await.ok()?;
        Some(String::from_utf8(message).unwrap())
    }

    /// How the connection ended for the server, and after how long.
    async fn end(self) -> (Option<io::ErrorKind>, Duration) {
        let (end, after) = self.served.await.unwrap();
        (end.err().map(|error| error.kind()), after)
    }

    /// Lets the server do all that it can do now.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn begun(&self) -> usize {
        self.answers.begun.lock().unwrap().len()
    }
}

fn framed(message: &str) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message.as_bytes()].concat()
}

const IDLE: Duration = Duration::from_secs(10);
const MESSAGE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn pipelined_messages_are_answered_in_order() {
    let mut client = Client::new();
    client.send(&["one", "two", "three"]).await;
    for answer in ["ONE", "TWO", "THREE"] {
        assert_eq!(client.receive().await.as_deref(), Some(answer));
    }
}

#[tokio::test(start_paused = true)]
async fn rare_messages_hold_up_nobody() {
    let mut client = Client::new();
    client.send(&["?first", "second", "?third", "fourth"]).await;
    for answer in ["SECOND", "FOURTH"] {
        assert_eq!(client.receive().await.as_deref(), Some(answer));
    }
    client.send(&["fifth"]).await;
    assert_eq!(client.receive().await.as_deref(), Some("FIFTH"));
    client.answers.release.notify_waiters();
    let mut late = [client.receive().await.unwrap(), client.receive().await.unwrap()];
    late.sort();
    assert_eq!(late, ["?FIRST", "?THIRD"]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_in_flight() {
    let mut client = Client::new();
    client.send(&["?"; 20]).await;
    client.send(&["plain"]).await;
    client.settle().await;
    assert_eq!(client.begun(), 16);
    client.answers.release.notify_one();
    assert_eq!(client.receive().await.as_deref(), Some("?"));
    client.settle().await;
    assert_eq!(client.begun(), 17);
    client.answers.release.notify_waiters();
    for _ in 0..16 {
        assert_eq!(client.receive().await.as_deref(), Some("?"));
    }
    assert_eq!(client.receive().await.as_deref(), Some("PLAIN"));
}

#[tokio::test(start_paused = true)]
async fn without_memory_for_a_rare_message_the_answer_is_servfail() {
    let mut client = Client::with(Limits { shared: Arc::new(Semaphore::new(0)), ..Limits::default() });
    client.stream.write_all(&framed("?a header of 12 octets")).await.unwrap();
    let length = client.stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    client.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer.len(), answer[3] & 15), (12, 2));
}

#[tokio::test(start_paused = true)]
async fn a_message_may_come_in_pieces() {
    let mut client = Client::new();
    for octet in framed("slowly").into_iter().chain(framed("but surely")) {
        client.stream.write_all(&[octet]).await.unwrap();
        client.settle().await;
    }
    assert_eq!(client.receive().await.as_deref(), Some("SLOWLY"));
    assert_eq!(client.receive().await.as_deref(), Some("BUT SURELY"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    assert_eq!(Client::new().end().await, (None, IDLE));
    let mut client = Client::new();
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.send(&["hello"]).await;
    assert_eq!(client.receive().await.as_deref(), Some("HELLO"));
    assert_eq!(client.receive().await, None);
    let (end, after) = client.end().await;
    assert_eq!((end, after.as_secs()), (None, 19));
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_cut_off() {
    let mut client = Client::new();
    client.send(&["in time"]).await;
    assert_eq!(client.receive().await.as_deref(), Some("IN TIME"));
    for octet in [0, 100, 1, 1, 1, 1, 1, 1] {
        let _ = client.stream.write_all(&[octet]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(client.end().await, (Some(io::ErrorKind::TimedOut), MESSAGE));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_cut_off() {
    let mut client = Client::new();
    let long = "x".repeat(PIPE);
    // More than fits into the pipes: the server cannot read the last one before the first answers are read.
    client.send(&[&long, &long]).await;
    assert_eq!(client.end().await, (Some(io::ErrorKind::TimedOut), MESSAGE));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_keeps_no_place() {
    let mut client = Client::new();
    client.send(&["?"]).await;
    assert_eq!(client.end().await, (None, IDLE));
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_the_peers_half_its_answers_come() {
    let mut client = Client::new();
    client.send(&["?rare", "plain"]).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.receive().await.as_deref(), Some("PLAIN"));
    client.answers.release.notify_one();
    assert_eq!(client.receive().await.as_deref(), Some("?RARE"));
    assert_eq!(client.receive().await, None);
    assert_eq!(client.end().await, (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_sends_no_queries_is_closed_after_the_answers_so_far() {
    let mut client = Client::new();
    client.send(&["hello", "!", "never read"]).await;
    assert_eq!(client.receive().await.as_deref(), Some("HELLO"));
    assert_eq!(client.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_what_is_idle_and_drops_what_is_half_there() {
    let mut idle = Client::new();
    idle.settle().await;
    idle.stop.cancel();
    assert_eq!(idle.receive().await, None);
    assert_eq!(idle.end().await, (None, Duration::ZERO));

    let mut half = Client::new();
    half.stream.write_all(&[0, 100, 1]).await.unwrap();
    half.settle().await;
    half.stop.cancel();
    assert_eq!(half.end().await, (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_has_arrived_and_what_is_in_flight() {
    let mut client = Client::new();
    client.send(&["?rare"]).await;
    client.settle().await;
    client.stop.cancel();
    client.send(&["has arrived"]).await;
    assert_eq!(client.receive().await.as_deref(), Some("HAS ARRIVED"));
    client.answers.release.notify_one();
    assert_eq!(client.receive().await.as_deref(), Some("?RARE"));
    assert_eq!(client.receive().await, None);

    // An answer that does not come holds the end up for as long as a message may take.
    let mut client = Client::new();
    client.send(&["?"]).await;
    client.settle().await;
    client.stop.cancel();
    let (_, after) = client.end().await;
    assert_eq!(after, MESSAGE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pauses_does_not_hold_up_the_stop() {
    let client = Client::new();
    let Client { stream, stop, served, .. } = client;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = tokio::spawn(async move { while writer.write_all(&framed("again")).await.is_ok() {} });
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let (end, after) = served.await.unwrap();
    assert!(end.is_ok() && after < MESSAGE, "{end:?} after {after:?}");
    sending.await.unwrap();
    reading.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_needed_is_left_at_once() {
    let mut client = Client::new();
    client.send(&["?"]).await;
    client.settle().await;
    let _newcomer = client.places.take([192, 0, 2, 2].into(), &client.stop).unwrap();
    assert_eq!(client.end().await, (None, Duration::ZERO));
}
