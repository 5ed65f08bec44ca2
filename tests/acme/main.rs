//! The embedded ACME client against a real CA: Pebble, behind Unbound, with the parent zones on NSD.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)]
#[path = "../clients/host.rs"]
mod host;

mod api_tls;
mod arrival;
mod back_off;
mod bad_days;
mod bad_weather;
mod ca;
mod challenges;
mod check;
mod commands;
mod crowd;
mod delegation;
mod deploy;
mod dry_run;
mod eab;
mod fallback;
mod faulty;
mod files;
mod house;
mod intention;
mod issuance;
mod kill;
mod limits;
mod many;
mod matrix;
mod names;
mod orders;
mod patience;
mod readers;
mod registration;
mod renewal;
mod revocation;
mod rollover;
mod secrets;
mod selfcheck;
mod stuck;
mod trouble;
mod unwritten;
