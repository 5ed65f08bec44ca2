//! The embedded ACME client against a real CA: Pebble, behind Unbound, with the parent zones on NSD.

#[path = "../support/mod.rs"]
mod support;

mod api_tls;
mod bad_days;
mod ca;
mod challenges;
mod check;
mod crowd;
mod delegation;
mod deploy;
mod faulty;
mod files;
mod house;
mod issuance;
mod kill;
mod many;
mod renewal;
mod revocation;
mod rollover;
mod trouble;
