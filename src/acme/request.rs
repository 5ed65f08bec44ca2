//! What is asked of a CA: names, and how they are proven.

use serde::{Deserialize, Serialize};

use crate::config::{Challenge, KeyType};

/// What is ordered. An order for something else than the configuration says now is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// URL of the CA's directory.
    pub(super) directory: String,
    pub(super) profile: Option<String>,
    /// Sorted.
    pub(super) names: Vec<String>,
    #[serde(default)]
    pub(super) key_type: KeyType,
    #[serde(default)]
    pub(super) challenge: Challenge,
}
