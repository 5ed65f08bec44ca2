//! A deadline for the first octets of an HTTPS connection.
//!
//! hyper reads them to tell HTTP/2 from HTTP/1, and only then begins to count time. A client that says nothing, or
//! nothing more than the beginning of HTTP/2's preface, would stay for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Gives the connections of another acceptor the deadline.
#[derive(Clone, Debug)]
pub struct Prompt<A> {
    inner: A,
    deadline: Duration,
}

impl<A> Prompt<A> {
    pub fn new(inner: A, deadline: Duration) -> Prompt<A> {
        Prompt { inner, deadline }
    }
}

impl<I, S, A> Accept<I, S> for Prompt<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = PromptStream<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (accepting, deadline) = (self.inner.accept(stream, service), self.deadline);
        Box::pin(async move {
            let (inner, service) = accepting.await?;
            let undecided = Some(Undecided { sleep: Box::pin(tokio::time::sleep(deadline)), matched: 0 });
            Ok((PromptStream { inner, undecided }, service))
        })
    }
}

/// A connection that ends with an error unless it shows in time what it speaks.
pub struct PromptStream<S> {
    inner: S,
    undecided: Option<Undecided>,
}

struct Undecided {
    sleep: Pin<Box<Sleep>>,
    /// How much of the preface has come.
    matched: usize,
}

impl Undecided {
    /// Whether it is still open, after `new` octets, what is spoken.
    fn goes_on(&mut self, new: &[u8]) -> bool {
        let rest = &PREFACE[self.matched..];
        self.matched += new.len();
        new.len() < rest.len() && rest.starts_with(new)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PromptStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(undecided) = &mut self.undecided
            && undecided.sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.undecided.as_mut().is_some_and(|undecided| !undecided.goes_on(&buffer.filled()[before..])) {
            self.undecided = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PromptStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum_server::accept::DefaultAcceptor;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    async fn connect() -> (DuplexStream, PromptStream<DuplexStream>) {
        let (client, server) = duplex(64);
        let prompt = Prompt::new(DefaultAcceptor, Duration::from_secs(5));
        let (stream, ()) = prompt.accept(server, ()).await.unwrap();
        (client, stream)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_the_beginning_of_a_preface_are_cut_off() {
        for sent in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut client, mut stream) = connect().await;
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let error = stream.read_to_end(&mut all).await.unwrap_err();
            assert_eq!((error.kind(), all), (io::ErrorKind::TimedOut, sent.as_bytes().to_vec()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_what_is_spoken_may_take_time() {
        for sent in ["G", "PO", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let (mut client, mut stream) = connect().await;
            let mut octets = vec![0; sent.len()];
            for half in [&sent[..1], &sent[1..]] {
                client.write_all(half.as_bytes()).await.unwrap();
            }
            stream.read_exact(&mut octets).await.unwrap();
            let late = tokio::time::timeout(Duration::from_secs(60), stream.read_u8()).await;
            assert!(late.is_err(), "{sent}");
        }
    }
}
