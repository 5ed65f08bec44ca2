//! Plain HTTP/1.1, one request or many on a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Status and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A connection that is kept alive.
pub struct Http<S = TcpStream>(BufReader<S>);

impl Http {
    pub fn connect(server: SocketAddr) -> Http {
        let stream = TcpStream::connect(server).expect("the server accepts connections");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        Http::over(stream)
    }
}

impl<S: Read + Write> Http<S> {
    /// Over a stream of its own kind, such as TLS.
    pub fn over(stream: S) -> Http<S> {
        Http(BufReader::new(stream))
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.0.get_mut().write_all(&request).expect("the request can be sent");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a header");
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body).expect("the body");
        Answer { status, headers, body: String::from_utf8(body).expect("a body of text") }
    }
}

/// One request on a connection of its own.
#[track_caller]
pub fn request(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Http::connect(server).request(method, path, headers, body)
}
