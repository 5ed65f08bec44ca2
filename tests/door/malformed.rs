//! Requests that no honest client sends: each gets its status and nothing else happens.
//!
//! A row says who answers: `hyper`, which answers a broken head with an empty body and hangs up, or the door, with its
//! line of JSON. After each row nothing has changed in the store and the server still answers; at the end a good
//! request succeeds.

mod acmedns;
mod framing;
mod httpreq;

use std::net::SocketAddr;

use crate::house::House;
use crate::wire::{exchange, request, send};

const TXT: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";

struct Row {
    what: String,
    octets: Vec<u8>,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The head is refused before the door sees it.
    Hyper(u16),
    /// The client hangs up in the middle and gets no answer, or this one.
    Cut(u16),
    /// The server hangs up without an answer.
    HangUp,
    Door(u16, &'static str),
}

fn row(what: impl Into<String>, wanted: Wanted, octets: impl AsRef<[u8]>) -> Row {
    Row { what: what.into(), octets: octets.as_ref().to_vec(), wanted }
}

/// A well-framed request with these header lines; the body may be any octets.
fn framed(line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = request(line, headers, "").replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    [head.as_bytes(), body].concat()
}

/// Sends every row on a connection of its own.
async fn judge(house: &House, address: SocketAddr, rows: Vec<Row>) {
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let revision = house.writer.live().revision();
    let mut wrong = Vec::new();
    for Row { what, octets, wanted } in rows {
        let cut = matches!(wanted, Wanted::Cut(_));
        let answer = exchange(address, &octets, cut).await;
        let got = match &answer {
            None if cut => wanted,
            None => Wanted::HangUp,
            Some(answer) if cut => Wanted::Cut(answer.status),
            Some(answer) if answer.header("content-type").is_none() => {
                assert_eq!(answer.body, "", "{what}");
                Wanted::Hyper(answer.status)
            }
            Some(answer) => {
                assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
                let error = answer.body.strip_prefix(r#"{"error": ""#).and_then(|rest| rest.strip_suffix(r#""}"#));
                match wanted {
                    Wanted::Door(_, known) if error == Some(known) => Wanted::Door(answer.status, known),
                    _ => Wanted::Door(answer.status, answer.body.clone().leak()),
                }
            }
        };
        if got != wanted {
            wrong.push(format!("{what}: {got:?} instead of {wanted:?}"));
        }
        assert_eq!(house.writer.live().revision(), revision, "{what} has changed something");
        assert_eq!(send(address, request("GET /health", &[], "")).await.status, 200, "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
