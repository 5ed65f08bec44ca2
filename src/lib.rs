//! acmezone
pub mod account;
pub mod acme;
pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod door;
pub mod server;
pub mod store;
pub mod zone;
