//! What the integration tests share. A test binary takes it in with
//!
//! ```ignore
//! #[path = "../support/mod.rs"]
//! mod support;
//! ```
//!
//! Everything here blocks the calling thread and needs no runtime, so it works in plain tests too. A test with a server
//! in its own process takes `#[tokio::test(flavor = "multi_thread")]`, so that the server runs on while the test waits.
//! A missing program fails the test: `tests/support/install` brings all of them.

// No test binary uses all of it.
#![allow(dead_code, unused_imports)]

mod acmezone;
mod certbot;
mod certificate;
mod dig;
pub mod flood;
pub mod http;
mod judge;
mod lego;
mod nsd;
mod pebble;
mod ports;
mod raw_dns;
mod reply;
mod subprocess;
mod tls;
mod tools;
mod tsig;
mod unbound;
pub mod update;
mod wait;

pub use acmezone::{Acmezone, Registered};
pub use certbot::Certbot;
pub use certificate::{Tls, names_in, verify_chain};
pub use dig::dig;
pub use judge::{Judged, Meaning, judge};
pub use lego::{Lego, LegoVersion};
pub use nsd::Nsd;
pub use pebble::{Pebble, PebbleBuilder, PebbleVersion};
pub use ports::free_port;
pub use raw_dns::{Query, RawDns, TcpConnection, wire_name};
pub use reply::{Edns, Question, Record, Reply};
pub use subprocess::{Finished, Subprocess, run};
pub use tls::{TlsStream, serial_shown, tls_connect};
pub use tools::{debian, python_tool, schemathesis, tool};
pub use tsig::{Signature, Signed, Stamp, TsigKey, now};
pub use unbound::Unbound;
pub use update::{Update, nsupdate};
pub use wait::{poll, poll_async};

/// The domain crate's record types, response codes and opcodes: `Rtype::TXT`, `Rcode::NXDOMAIN`.
pub use domain::base::iana::{Opcode, Rcode, Rtype};
