//! Heads and framing: the same at every path that takes a POST.

use super::Wanted::{Cut, Door, HangUp, Hyper};
use super::{Row, row};

const MALFORMED: super::Wanted = Door(400, "malformed_json_payload");
const BAD_HOST: super::Wanted = Door(400, "bad_host");
const NOT_FOUND: super::Wanted = Door(404, "not_found");
const WRONG_METHOD: super::Wanted = Door(405, "method_not_allowed");
const TOO_LARGE: super::Wanted = Door(413, "payload_too_large");

/// `path` takes a POST with these credentials (header lines, each with its end) and this body.
pub fn rows(path: &str, credentials: &str, body: &str) -> Vec<Row> {
    let length = body.len();
    let start = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{credentials}");
    let whole = |head: &str| format!("{start}{head}\r\n{body}");
    let chunked = |chunks: &str| format!("{start}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n{credentials}Content-Length: {length}\r\n\r\n{body}");
    let framed_length = format!("Content-Length: {length}\r\n");
    let long = "x".repeat(70_000);
    let many = "x: y\r\n".repeat(101);
    let upper = path.to_ascii_uppercase();
    let escaped = path.replacen('p', "%70", 1);
    vec![
        // the request line
        row("TLS on a port without it", Hyper(400), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        row("the preface of HTTP/2", HangUp, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        row("nothing but line ends", Cut(400), "\r\n\r\n\r\n"),
        row("no version", Hyper(400), line(&format!("POST {path}"))),
        row("HTTP/0.9", Hyper(400), format!("GET {path}\r\n\r\n")),
        row("HTTP/3.0", Hyper(400), line(&format!("POST {path} HTTP/3.0"))),
        row("a version of letters", Hyper(400), line(&format!("POST {path} HTTP/a.b"))),
        row("a method with a bracket", Hyper(400), line(&format!("PO(ST {path} HTTP/1.1"))),
        row("a method in lower case", WRONG_METHOD, line(&format!("post {path} HTTP/1.1"))),
        row("an unknown method", WRONG_METHOD, line(&format!("PRESENT {path} HTTP/1.1"))),
        row("PATCH", WRONG_METHOD, line(&format!("PATCH {path} HTTP/1.1"))),
        row("TRACE", WRONG_METHOD, line(&format!("TRACE {path} HTTP/1.1"))),
        row("no target", Hyper(400), line("POST  HTTP/1.1")),
        row("a relative target", NOT_FOUND, line(&format!("POST {} HTTP/1.1", &path[1..]))),
        row("asterisk form", NOT_FOUND, line("POST * HTTP/1.1")),
        row("authority form", NOT_FOUND, line("CONNECT localhost:443 HTTP/1.1")),
        row("absolute form of another path", NOT_FOUND, line("POST http://localhost/x HTTP/1.1")),
        row("a space in the target", Hyper(400), line(&format!("POST {path} x HTTP/1.1"))),
        row("NUL in the target", Hyper(400), line(&format!("POST {path}\0 HTTP/1.1"))),
        row("an escaped letter in the path", NOT_FOUND, line(&format!("POST {escaped} HTTP/1.1"))),
        row("an escaped slash in the path", NOT_FOUND, line(&format!("POST /%2f{} HTTP/1.1", &path[1..]))),
        row("an escaped NUL in the path", NOT_FOUND, line(&format!("POST {path}%00 HTTP/1.1"))),
        row("dots in the path", NOT_FOUND, line(&format!("POST /x/..{path} HTTP/1.1"))),
        row("a parameter in the path", NOT_FOUND, line(&format!("POST {path};x=y HTTP/1.1"))),
        row("a host in the path", NOT_FOUND, line(&format!("POST //evil.example{path} HTTP/1.1"))),
        row("the path twice", NOT_FOUND, line(&format!("POST {upper}{path} HTTP/1.1"))),
        row("a target of 70 kB", Hyper(414), line(&format!("POST /{long} HTTP/1.1"))),
        // header fields
        row("no colon", Hyper(400), whole("Content-Length\r\n")),
        row("a space before the colon", Hyper(400), whole(&format!("Content-Length : {length}\r\n"))),
        row("a folded line", Hyper(400), whole("X: y\r\n z\r\n")),
        row("a bare CR", Hyper(400), whole("X: y\rz\r\n")),
        row("NUL in a value", Hyper(400), whole("X: \0\r\n")),
        row("an octet above ASCII in a name", Hyper(400), whole("X\u{e9}: y\r\n")),
        row("an empty name", Hyper(400), whole(": y\r\n")),
        row("101 more fields", Hyper(431), whole(&many)),
        row("a field of 1 MB", Hyper(431), whole(&format!("X: {}\r\n", "y".repeat(1 << 20)))),
        row("a head that does not end", Cut(400), &start[..start.len() - 2]),
        row("no host", BAD_HOST, whole(&framed_length).replacen("Host: localhost\r\n", "", 1)),
        row("two hosts", BAD_HOST, whole(&format!("Host: localhost\r\n{framed_length}"))),
        row("a host with a space", BAD_HOST, whole(&framed_length).replacen("localhost", "local host", 1)),
        row("a host with a path", BAD_HOST, whole(&framed_length).replacen("localhost", "localhost/x", 1)),
        // length and framing of the body
        row("a negative length", Hyper(400), whole("Content-Length: -1\r\n")),
        row("a length with a sign", Hyper(400), whole(&format!("Content-Length: +{length}\r\n"))),
        row("a hexadecimal length", Hyper(400), whole("Content-Length: 0x10\r\n")),
        row("an empty length", Hyper(400), whole("Content-Length: \r\n")),
        row("a length of 20 digits", Hyper(400), whole("Content-Length: 99999999999999999999\r\n")),
        row("two lengths in a line", Hyper(400), whole(&format!("Content-Length: {length}, {}\r\n", length + 1))),
        row("two lengths", Hyper(400), whole(&format!("Content-Length: {length}\r\nContent-Length: 1\r\n"))),
        row("a length of 2^63 - 1", TOO_LARGE, whole("Content-Length: 9223372036854775807\r\n")),
        row("a length over the limit", TOO_LARGE, whole("Content-Length: 8193\r\n")),
        row("a body shorter than its length", Cut(400), whole(&format!("Content-Length: {}\r\n", length + 1))),
        row("an unknown transfer coding", Hyper(400), whole("Transfer-Encoding: identity\r\n")),
        row("chunked, and then another coding", Hyper(400), whole("Transfer-Encoding: chunked, gzip\r\n")),
        row("chunked in HTTP/1.0", Hyper(400), chunked("0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1)),
        row("a chunk size that is no number", MALFORMED, chunked(&format!("z\r\n{body}\r\n0\r\n\r\n"))),
        row("a negative chunk size", MALFORMED, chunked(&format!("-1\r\n{body}\r\n0\r\n\r\n"))),
        row("a chunk size of 17 digits", MALFORMED, chunked(&format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n"))),
        row("a chunk without its end", MALFORMED, chunked(&format!("{length:x}\r\n{body}0\r\n\r\n"))),
        row("no last chunk", Cut(400), chunked(&format!("{length:x}\r\n{body}\r\n"))),
        row("a chunk extension of 20 kB", MALFORMED, chunked(&format!("1;{}\r\n{{\r\n", "x".repeat(20_000)))),
        row("chunks over the limit", TOO_LARGE, chunked(&format!("2001\r\n{}\r\n0\r\n\r\n", "x".repeat(8193)))),
        row("a chunk that claims 2^62", TOO_LARGE, chunked(&format!("4000000000000000\r\n{}", "x".repeat(8193)))),
    ]
}
