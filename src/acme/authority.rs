//! One configured CA at run time, shared by all certificates that may come from it.

use crate::config::Ca;

#[derive(Debug)]
pub(super) struct Authority {
    pub(super) ca: Ca,
    /// Held while the account at the CA is loaded or made.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Authority {
    pub(super) fn new(ca: Ca) -> Authority {
        Authority { ca, turn: tokio::sync::Mutex::default() }
    }
}
