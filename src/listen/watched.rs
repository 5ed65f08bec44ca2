//! An HTTP connection that ends when its place is needed, when its client does not read what it is sent, and when no
//! request has come for long.
//!
//! hyper has a deadline for the head of a request of HTTP/1 alone. Whoever asks and never reads, or keeps HTTP/2 open
//! with nothing but answers to pings, would stay for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::places::Place;

/// A stream with its place; it ends with an error.
pub struct Watched<S> {
    inner: S,
    place: Arc<Place>,
    leave: Pin<Box<WaitForCancellationFutureOwned>>,
    /// How long one write may wait for the client.
    write: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    idle: Option<Idle>,
}

struct Idle {
    most: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    /// `idle`: how long there may be no request; `None`: for ever.
    pub fn new(inner: S, place: Arc<Place>, write: Duration, idle: Option<Duration>) -> Watched<S> {
        let leave = Box::pin(place.leave().clone().cancelled_owned());
        let idle = idle.map(|most| Idle { most, sleep: Box::pin(sleep(most)) });
        Watched { inner, place, leave, write, stalled: None, idle }
    }

    fn may_stay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.leave.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while let Some(idle) = &mut self.idle
            && idle.sleep.as_mut().poll(cx).is_ready()
        {
            let end = self.place.last_active() + idle.most;
            if end <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            idle.sleep = Box::pin(sleep_until(end));
        }
        Ok(())
    }

    /// What a write came to, or that it has waited for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let write = self.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(write)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.may_stay(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.may_stay(cx)?;
        let outcome = Pin::new(&mut self.inner).poll_write(cx, octets);
        self.in_time(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_stay(cx)?;
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.in_time(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(cx)?;
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.in_time(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::places::{Caps, Places};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_util::sync::CancellationToken;

    const WRITE: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    fn connect(idle: Option<Duration>) -> (DuplexStream, Watched<DuplexStream>, Arc<Places>) {
        let places = Places::new(Caps { connections: 1, per_prefix: 1 }, "test", Vec::new());
        let place = places.take("192.0.2.1".parse().unwrap(), &CancellationToken::new()).unwrap();
        let (client, server) = duplex(64);
        (client, Watched::new(server, Arc::new(place), WRITE, idle), places)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off() {
        let (mut client, mut stream, _places) = connect(None);
        let began = Instant::now();
        let error = stream.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, WRITE.as_secs()));
        client.read_exact(&mut [0; 64]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_but_reads_may_stay() {
        let (mut client, mut stream, _places) = connect(None);
        let reading = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(WRITE / 2).await;
                client.read_exact(&mut [0; 64]).await.unwrap();
            }
        });
        stream.write_all(&[0; 640]).await.unwrap();
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_request_it_ends_whatever_octets_come() {
        let (mut client, mut stream, _places) = connect(Some(IDLE));
        let began = Instant::now();
        tokio::spawn(async move {
            while client.write_all(b"ping").await.is_ok() {
                tokio::time::sleep(WRITE).await
            }
        });
        let mut all = Vec::new();
        let error = stream.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, IDLE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_gives_it_more_time() {
        let (_client, mut stream, _places) = connect(Some(IDLE));
        let began = Instant::now();
        let place = stream.place.clone();
        tokio::spawn(async move {
            tokio::time::sleep(IDLE / 2).await;
            place.active(Instant::now());
        });
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), (IDLE + IDLE / 2).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_once_when_its_place_is_needed() {
        let (_client, mut stream, places) = connect(Some(IDLE));
        let began = Instant::now();
        let another = tokio::spawn(async move {
            tokio::time::sleep(WRITE).await;
            places.take("198.51.100.1".parse().unwrap(), &CancellationToken::new()).unwrap()
        });
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(began.elapsed().as_secs(), WRITE.as_secs());
        drop(another.await.unwrap());
    }
}
