//! The composition root.

use crate::config::Config;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("this build cannot serve yet")]
    NotBuilt,
}

/// Serves until it is told to stop.
pub async fn run(_config: Config) -> Result<(), ServeError> {
    Err(ServeError::NotBuilt)
}
