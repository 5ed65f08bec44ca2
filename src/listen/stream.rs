//! One connection: messages with two octets of length before each (RFC 1035 section 4.2.2, RFC 7766 section 8), over
//! TCP or TLS.
//!
//! All that has arrived is read at once; every complete message in it is answered, and the answers leave in one write
//! (RFC 7766 section 6.2.1.1). Plain answers come in the order of their queries. Those to rare messages come when they
//! are ready, and hold up nobody (section 7). One timer, set anew only when it has run out, watches over all of it.

mod input;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::places::Place;
use crate::answer::{Rcode, Verdict, refuse};
use input::Input;

/// Answers are sent before they take more than these octets, plus one answer.
const OUTPUT: usize = 16 << 10;
/// Rounds of reading what has arrived already when the server stops.
const LAST_ROUNDS: u32 = 16;
/// Octets of all large and rare messages that are held at a time, over all connections.
const SHARED: usize = 8 << 20;

/// Who answers the messages of a connection.
pub trait Answers: Send + Sync + 'static {
    /// Answers now. `out` is overwritten.
    fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Verdict;

    /// Answers a rare message, in its own time; `None` for silence.
    fn rare(&self, message: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static + use<Self>;
}

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long it may be idle (RFC 7766 section 6.2.3).
    pub idle: Duration,
    /// How long one message may take to arrive, or the answers that are ready to leave.
    pub message: Duration,
    /// Rare messages whose answers it waits for.
    pub in_flight: usize,
    /// Octets for large and rare messages, shared by all connections.
    pub shared: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            idle: Duration::from_secs(10),
            message: Duration::from_secs(5),
            in_flight: 16,
            shared: Arc::new(Semaphore::new(SHARED)),
        }
    }
}

/// Answers message after message, until the peer closes or is idle for too long, the place is needed by somebody else,
/// or the server stops; then what has arrived whole is answered.
pub async fn serve<S, A>(
    stream: S,
    answers: &A,
    limits: Limits,
    place: &Place,
    stop: &CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Answers,
{
    let since = Instant::now();
    let mut connection = Connection {
        stream,
        answers,
        input: Input::new(limits.shared.clone()),
        reply: Vec::new(),
        output: Vec::new(),
        in_flight: JoinSet::new(),
        since,
        blocked: false,
        no_more: false,
        rounds: None,
        timer: Timer::new(since + limits.idle),
        limits,
        place,
    };
    let leave = std::pin::pin!(place.leave().cancelled());
    connection.run(leave, stop).await
}

struct Connection<'a, S, A> {
    stream: S,
    answers: &'a A,
    limits: Limits,
    place: &'a Place,
    input: Input,
    /// Scratch for one answer.
    reply: Vec<u8>,
    /// Answers to be sent, with their lengths.
    output: Vec<u8>,
    in_flight: JoinSet<Option<Vec<u8>>>,
    /// When the message that is arriving began, or the connection became idle.
    since: Instant,
    /// The next message has to wait for an answer in flight.
    blocked: bool,
    /// Nothing more is read: the peer has closed its half, sends no queries, or the server stops.
    no_more: bool,
    /// The server stops: how often more is looked for.
    rounds: Option<u32>,
    timer: Timer,
}

enum Event {
    Read(usize),
    Answer(Option<Vec<u8>>),
    Leave,
    TimeIsUp,
}

impl<S: AsyncRead + AsyncWrite + Unpin, A: Answers> Connection<'_, S, A> {
    async fn run<L: Future<Output = ()>>(
        &mut self,
        mut leave: Pin<&mut L>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        loop {
            self.answer_what_is_there();
            if !self.output.is_empty() {
                self.write(leave.as_mut(), stop).await?;
                continue;
            }
            if self.no_more && self.in_flight.is_empty() {
                return self.close().await;
            }
            match self.next(leave.as_mut()).await? {
                Event::Read(0) => self.no_more = true,
                Event::Read(_) => {}
                Event::Answer(answer) => self.take_answer(answer),
                Event::Leave if stop.is_cancelled() => {
                    self.rounds = Some(LAST_ROUNDS);
                    self.since = Instant::now();
                }
                Event::Leave => return Ok(()),
                Event::TimeIsUp if self.is_idle() => return self.close().await,
                Event::TimeIsUp => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Nothing is half done, or only others keep it from being done.
    fn is_idle(&self) -> bool {
        self.input.is_empty() || self.blocked
    }

    /// Answers the complete messages, as long as there is room for answers.
    fn answer_what_is_there(&mut self) {
        self.blocked = false;
        while self.output.len() < OUTPUT {
            let Some(message) = self.input.message() else { return };
            match self.answers.answer(message, &mut self.reply) {
                Verdict::Reply => frame(&self.reply, &mut self.output),
                // A peer that sends no queries has no business here.
                Verdict::Silence => {
                    self.no_more = true;
                    return self.input.clear();
                }
                Verdict::Rare if self.in_flight.len() >= self.limits.in_flight => {
                    self.blocked = true;
                    return;
                }
                Verdict::Rare => match reserve(&self.limits.shared, message.len()) {
                    Some(reserved) => {
                        let answer = self.answers.rare(message.to_vec());
                        self.in_flight.spawn(async move {
                            let _reserved = reserved;
                            answer.await
                        });
                    }
                    None => {
                        refuse(message, Rcode::SERVFAIL, &mut self.reply);
                        frame(&self.reply, &mut self.output);
                    }
                },
            }
            self.input.consume();
        }
    }

    fn take_answer(&mut self, answer: Option<Vec<u8>>) {
        match answer {
            Some(answer) => frame(&answer, &mut self.output),
            None => self.no_more = true,
        }
        if self.is_idle() {
            self.since = Instant::now();
        }
        while let Some(Ok(Some(answer))) = self.in_flight.try_join_next() {
            frame(&answer, &mut self.output);
        }
    }

    /// Waits for whatever comes first.
    async fn next<L: Future<Output = ()>>(&mut self, mut leave: Pin<&mut L>) -> io::Result<Event> {
        let limit = match () {
            () if self.rounds.is_some() => self.limits.message,
            () if self.is_idle() => self.limits.idle,
            () => self.limits.message,
        };
        self.timer.set(self.since + limit);
        poll_fn(|cx| {
            if self.rounds.is_none() && leave.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Event::Leave));
            }
            if !self.in_flight.is_empty()
                && let Poll::Ready(Some(answer)) = self.in_flight.poll_join_next(cx)
            {
                return Poll::Ready(Ok(Event::Answer(answer.unwrap_or_else(|error| panicked(&error)))));
            }
            if !self.no_more && !self.blocked {
                match self.poll_read(cx) {
                    Poll::Ready(read) => return Poll::Ready(read.map(Event::Read)),
                    // The server stops, and this was all.
                    Poll::Pending if self.rounds.is_some() => return Poll::Ready(Ok(Event::Read(0))),
                    Poll::Pending => {}
                }
            }
            self.timer.poll(cx).map(|()| Ok(Event::TimeIsUp))
        })
        .await
    }

    /// Reads what is there; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(rounds) = &mut self.rounds {
            let Some(left) = rounds.checked_sub(1) else { return Poll::Ready(Ok(0)) };
            *rounds = left;
        }
        let mut room = ReadBuf::new(self.input.room()?);
        let read = match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room)) {
            Ok(()) => room.filled().len(),
            // Many TLS clients end without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let begins = self.input.is_empty();
        let completes = self.input.filled(read);
        if begins || completes {
            self.since = Instant::now();
            if completes {
                self.place.active(self.since);
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Sends all answers; a peer that does not take them in time is cut off.
    async fn write<L: Future<Output = ()>>(
        &mut self,
        mut leave: Pin<&mut L>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let mut written = 0;
        let mut waited = false;
        poll_fn(|cx| {
            match poll_write_all(Pin::new(&mut self.stream), cx, &self.output, &mut written) {
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending if !waited => {
                    waited = true;
                    self.timer.set(Instant::now() + self.limits.message);
                }
                Poll::Pending => {}
            }
            if leave.as_mut().poll(cx).is_ready() && !stop.is_cancelled() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.timer.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await?;
        if waited {
            // The time of what is arriving did not run while nothing was read.
            self.since = Instant::now();
        }
        self.output.clear();
        self.output.shrink_to(2 * OUTPUT);
        self.reply.clear();
        self.reply.shrink_to(OUTPUT);
        Ok(())
    }

    /// Says goodbye, as far as the peer listens.
    async fn close(&mut self) -> io::Result<()> {
        self.timer.set(Instant::now() + self.limits.message);
        poll_fn(|cx| match Pin::new(&mut self.stream).poll_shutdown(cx) {
            // The peer may be gone already.
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => self.timer.poll(cx).map(Ok),
        })
        .await
    }
}

/// Writes what is not `written` yet, and sees to it that it leaves.
fn poll_write_all<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    octets: &[u8],
    written: &mut usize,
) -> Poll<io::Result<()>> {
    while let Some(rest) = octets.get(*written..).filter(|rest| !rest.is_empty()) {
        match ready!(stream.as_mut().poll_write(cx, rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => *written += sent,
        }
    }
    stream.poll_flush(cx)
}

/// Adds an answer with its length. An answer has at most 65,535 octets; a longer one would be a bug, and is left out.
fn frame(answer: &[u8], output: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(answer.len()) {
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(answer);
    }
}

fn panicked(error: &JoinError) -> Option<Vec<u8>> {
    tracing::error!(%error, "answering a rare message ended badly: please report this line");
    None
}

/// Takes octets from what all connections share.
fn reserve(shared: &Arc<Semaphore>, octets: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
    shared.clone().try_acquire_many_owned(u32::try_from(octets).ok()?).ok()
}

/// A timer that is cheap to set to a later time.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Timer {
    fn new(deadline: Instant) -> Timer {
        Timer { sleep: Box::pin(sleep_until(deadline)), deadline }
    }

    fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.sleep.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline);
        }
    }
}
