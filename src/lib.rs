//! acmezone
pub mod account;
pub mod acme;
pub mod api;
pub mod config;
pub mod resolve;
pub mod store;
pub mod zone;
