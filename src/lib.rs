//! acmezone
pub mod account;
pub mod config;
pub mod zone;
