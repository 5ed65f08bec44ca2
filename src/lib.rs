//! acmezone
pub mod account;
pub mod acme;
pub mod answer;
pub mod api;
pub mod config;
pub mod listen;
pub mod store;
pub mod zone;
