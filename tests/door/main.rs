//! The HTTP doors over real sockets: raw octets in, the exact answer out.

mod acmedns;
mod admin;
mod clients;
mod commands;
mod connections;
mod front;
mod house;
#[path = "../support/mod.rs"]
mod support;
mod wire;
