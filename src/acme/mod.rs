//! The embedded ACME client (RFC 8555): orders, renewal, export of PEM files.

mod certificate;
mod export;
mod http;
mod plan;
mod secret;
mod state;
