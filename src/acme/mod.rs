//! The embedded ACME client (RFC 8555): orders, renewal, export of PEM files.

use tokio::sync::mpsc;

use crate::api::{CertificateStatus, Progress};
use crate::store::UpdateError;

/// Obtains and renews the configured certificates. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuer;

impl Issuer {
    pub async fn new(
        _config: &crate::config::Config,
        _writer: crate::store::Writer,
        _resolver: crate::resolve::Resolver,
        _dns: Vec<std::net::SocketAddr>,
    ) -> Result<Issuer, UpdateError> {
        Ok(Issuer)
    }

    pub async fn run(self, _stop: tokio_util::sync::CancellationToken) {}

    /// All configured certificates, in the order of the configuration.
    pub async fn list(&self) -> Result<Vec<CertificateStatus>, UpdateError> {
        Ok(Vec::new())
    }

    /// One configured certificate; `None` if the configuration has none of this name.
    pub async fn show(&self, _name: &str) -> Result<Option<CertificateStatus>, UpdateError> {
        Ok(None)
    }

    /// Obtains a certificate now and tells each step; the last line is `Done` or `Failed`. Without `renew`, a valid
    /// certificate for the configured names is left alone. `None` if the configuration has none of this name.
    pub fn issue(&self, _name: &str, _renew: bool) -> Option<mpsc::Receiver<Progress>> {
        None
    }
}
