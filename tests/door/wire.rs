//! The smallest HTTP/1.1 client: sends exactly the octets it is given, so that odd clients can be played.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, its body without chunk framing.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Sends the octets on a new connection and reads the one answer.
pub async fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    read(&mut stream)
        .await
        .unwrap_or_else(|octets| panic!("the answer broke off: {:?}", String::from_utf8_lossy(&octets)))
}

/// The same for what is no request: the server may hang up before it has read all of it, or without an answer. With
/// `cut` the client hangs up first.
pub async fn exchange(address: SocketAddr, octets: &[u8], cut: bool) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.split();
    let send = async {
        let _ = to.write_all(octets).await;
        if cut {
            let _ = to.shutdown().await;
        }
    };
    let ((), answer) = tokio::join!(send, read(&mut from));
    answer.map_err(|octets| assert!(octets.is_empty(), "the answer broke off")).ok()
}

/// Reads an answer; what there was of it if it is not whole.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, Vec<u8>> {
    let mut answer = Vec::new();
    let mut octets = [0; 4096];
    loop {
        if let Some(answer) = complete(&answer) {
            return Ok(answer);
        }
        match stream.read(&mut octets).await {
            Ok(0) | Err(_) => return Err(answer),
            Ok(length) => answer.extend_from_slice(&octets[..length]),
        }
    }
}

/// The answer, when all of it is there.
fn complete(octets: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    if answer.header("transfer-encoding").is_some() {
        let whole = body.strip_suffix("0\r\n\r\n")?;
        let mut lines = whole.split("\r\n");
        let chunks = std::iter::from_fn(|| lines.next().and_then(|_length| lines.next()));
        answer.body = chunks.collect();
        return Some(answer);
    }
    let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    (body.len() >= length).then_some(answer)
}

/// A request with these header lines and a body of known length.
pub fn request(line: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}
