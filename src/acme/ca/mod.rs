//! A CA and how it is spoken with: everything that knows what a request, an account or a problem document is.
//!
//! ```text
//!  session ──▶ registration, rollover ──▶ jws     an account: made, kept, with another key
//!     │                                    │
//!     ▼                                    ▼
//!  problem ──▶ explanation              http ──▶ directory
//!     what a refusal means, to us and to people     deadlines, Retry-After, proxies
//!
//!  authority: breaker, budget                       what all certificates of one CA share
//! ```

pub mod authority;
pub mod breaker;
pub mod budget;
pub mod directory;
mod explanation;
pub mod http;
pub mod jws;
pub mod problem;
pub mod registration;
pub mod rollover;
pub mod session;
