//! The HTTP doors over real sockets: raw octets in, the exact answer out.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod account_commands;
mod acmedns;
mod admin;
mod certificate;
mod clients;
mod commands;
mod connections;
mod export;
mod front;
mod house;
mod httpreq;
mod labels;
mod malformed;
mod storage;
mod tokens;
mod told;
mod tsig_keys;
mod wire;
