//! The programs and helpers that the other tests rely on, tried without acmezone. When these tests fail, look here
//! first.

#[path = "../support/mod.rs"]
mod support;

mod helpers;
mod issuance;
mod programs;
