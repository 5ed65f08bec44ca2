//! acmezone is an authoritative DNS server with one purpose: proving control of domain names by ACME DNS-01
//! (RFC 8555 section 8.4). People delegate `_acme-challenge` names to it, by CNAME or by NS; it holds the TXT values in
//! memory; ACME clients put values in through its doors; and its own ACME client obtains and renews wildcard
//! certificates with no other moving part.
//!
//! # The picture: data flows one way
//!
//! ```text
//! write   door ──Update──▶ Writer ──commit──▶ Store (SQLite)
//!         acme-dns API        │                  │
//!         httpreq, RFC 2136   │               Change (what was decided)
//!         admin API           │                  │
//!         own ACME client     │                  ▼
//!                             └───publish──▶ zone::Live (static zones: one atomic pointer; TXT: a table without locks)
//!                                                │ read only, no lock held across an answer
//! read    UDP / TCP / TLS ──Query──▶ answer::answer() ─┴─▶ octets
//! ```
//!
//! - **A door says "ok" only after commit and publish.** The CA may ask the next millisecond.
//! - **One answer function.** Every transport calls the same synchronous [`answer::answer`], UDP for a batch at a time
//!   ([`answer::ReadAhead`]); what it says cannot differ.
//! - **Answering never touches the store**, never awaits, and looks names up without a lock.
//! - **The embedded ACME client is just another caller of the writer.** It has no private way to publish a value.
//! - **The core is pure**: `zone`, `answer`, `account` and the plan of `acme` have no socket, clock or randomness.
//!
//! # The rooms
//!
//! | room | what lives there | may use |
//! |---|---|---|
//! | `zone/` | the vocabulary of the DNS, pure: [`zone::Name`], [`zone::TxtSet`], [`zone::Zone`], [`zone::Live`], `Update` (asked for) and `Change` (decided), master files | – |
//! | `account/` | who may change what: accounts, grants, credentials, `allowfrom`, tokens, storages, TSIG keys and those that count now | zone |
//! | `config/` | the TOML as written, every problem with its place; [`config::Config`], resolved and typed | zone, account |
//! | `store/` | [`store::Store`], whose comments are the contract; [`store::Writer`]: authorise, check, commit, publish; `sqlite.rs` | zone, account |
//! | `tsig/` | who has signed a message, and the signature of its reply (RFC 8945) | zone, account |
//! | `answer/` | octets in, octets out: query, cookies, lookup, encoding; reading ahead | zone |
//! | `resolve.rs` | following CNAMEs, asking a given server | zone |
//! | `api.rs` | what the admin API and its client say to each other | zone |
//! | `acme/` | the embedded ACME client: orders at one CA after the other, renewal, revocation, files and what follows them | zone, account, config, store, resolve, api |
//! | `door/` | protocol in, `Update` out: `acmedns/`, `httpreq.rs`, `openapi.rs`, `admin/`, `rfc2136/`; `front.rs` before those of the API | zone, account, config, store, resolve, api, acme |
//! | `listen/` | sockets, and how much leaves through them: `udp.rs`, `tcp.rs` with `places.rs` and `stream.rs`, `http.rs`, `limit.rs`, `handler.rs` for every message, the rare ones too, with `signed.rs` for UPDATE and what is signed | zone, account, answer, config, store, tsig, door |
//! | `server.rs` | the composition root: [`server::Server::start`], for the binary and for every test; `server/tls.rs`: where the API's certificate comes from | everything above |
//! | `client.rs` | typed client of the admin API | zone, config, api |
//! | `cli/` | one file per noun of the command line | zone, config, api, client, server |
//!
//! Each heavy crate has one home: rusqlite in `store/sqlite.rs`, hickory-server in `listen/`, hickory-resolver in
//! `resolve.rs`, instant-acme and rcgen in `acme/`, clap in `cli/`, reqwest in `client.rs`; `domain`, which reads what
//! others wrote, in `zone/master/`, `tsig/` and `door/rfc2136/`. `tests/house` reads the sources and holds this table.

pub mod account;
pub mod acme;
pub mod answer;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod door;
pub mod listen;
pub mod resolve;
pub mod server;
pub mod store;
pub mod tsig;
pub mod zone;
