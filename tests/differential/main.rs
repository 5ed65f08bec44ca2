//! One message, one answer, whichever way it takes: where it arrives (the loops of `listen` over real sockets, and the
//! function that they call) and through the handler, which gets the rare messages and could get any.
//!
//! The octets are compared, and another implementation reads them.

mod generated;
mod paths;
mod script;

#[path = "../support/mod.rs"]
mod support;
/// The zones of the fuzz targets: everything that an answer can depend on.
#[allow(dead_code)]
#[path = "../fuzz/src/world.rs"]
mod world;
