//! The embedded ACME client against a real CA: Pebble, behind Unbound, with the parent zones on NSD.

#[path = "../support/mod.rs"]
mod support;

mod bad_days;
mod ca;
mod delegation;
mod faulty;
mod house;
mod issuance;
mod trouble;
