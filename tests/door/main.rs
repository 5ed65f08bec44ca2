//! The HTTP doors over real sockets: raw octets in, the exact answer out.

#[path = "../support/mod.rs"]
mod support;

mod acmedns;
mod admin;
mod clients;
mod commands;
mod house;
mod storage;
mod tokens;
mod wire;
