//! The HTTP doors over real sockets: raw octets in, the exact answer out.

mod account;
mod account_commands;
mod acmedns;
mod admin;
mod clients;
mod commands;
mod export;
mod house;
mod labels;
mod wire;
