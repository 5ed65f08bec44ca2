//! Unmodified ACME clients get wildcard certificates through acmezone's doors, from a real CA that validates through a
//! real resolver: apex and wildcard in one order, which is two values at one name.

#[path = "../support/mod.rs"]
mod support;

mod certbot;
mod crowd;
mod golang;
mod httpreq;
mod lego;
mod multi;
mod stage;
mod uacme;
mod updates;
