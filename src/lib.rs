//! acmezone
pub mod account;
pub mod acme;
pub mod api;
pub mod config;
pub mod door;
pub mod store;
pub mod zone;
