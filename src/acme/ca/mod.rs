//! A CA and how it is spoken with: everything that knows what a request, an account or a problem document is.
//!
//! ```text
//!  session ──▶ registration, rollover, lost ──▶ jws     an account: made, with another key, not known any more
//!     │                 │                          │
//!     │              account: what the store has   ▼
//!     ▼                                          http ──▶ directory
//!  error ──▶ problem ──▶ explanation                deadlines, Retry-After, proxies
//!     what a refusal means, to us and to people
//!
//!  authority: breaker, budget                       what all certificates of one CA share
//! ```

pub mod account;
pub mod authority;
pub mod breaker;
pub mod budget;
pub mod directory;
pub mod error;
mod explanation;
pub mod http;
pub mod jws;
pub mod lost;
pub mod problem;
pub mod registration;
pub mod rollover;
pub mod session;
