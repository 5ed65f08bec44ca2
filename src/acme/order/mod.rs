//! One order from its first look at the DNS to the certificate (RFC 8555 section 7.4): `attempt` is the story, the others
//! are what it asks for on its way: `resume` what becomes of an order that is there already, `proof` that the names are
//! ours, `arrival` whether what the CA sends is what was asked for.

mod arrival;
pub mod attempt;
pub mod caa;
pub mod challenge;
pub mod check;
pub mod delegation;
mod entrance;
pub mod failure;
mod proof;
mod resume;
mod servers;
