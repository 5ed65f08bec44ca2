//! The embedded ACME client against a real CA: Pebble, behind Unbound, with the parent zones on NSD.

#[path = "../support/mod.rs"]
mod support;

mod delegation;
mod house;
mod issuance;
mod trouble;
