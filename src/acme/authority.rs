//! One configured CA at run time, shared by all certificates that may come from it.

use super::breaker::Breaker;
use super::budget::Budget;
use crate::config::Ca;

#[derive(Debug)]
pub(super) struct Authority {
    pub(super) ca: Ca,
    /// Held while the account at the CA is loaded or made.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) breaker: Breaker,
    pub(super) budget: Budget,
}

impl Authority {
    pub(super) fn new(ca: Ca) -> Authority {
        Authority { ca, turn: tokio::sync::Mutex::default(), breaker: Breaker::default(), budget: Budget::default() }
    }
}
