//! The certificate of the API, for HTTPS and for DNS over TLS: one that is in use, and what takes its place for every
//! connection that comes after. TLS 1.2 and 1.3 alone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::zone::Timestamp;

/// Why a certificate cannot be shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("its certificate cannot be read: {0}")]
    Certificate(String),
    #[error("its private key cannot be read: {0}")]
    Key(String),
    #[error("its private key is not that of the certificate")]
    OtherKey,
}

/// A certificate with its key, ready for clients. Debug shows no key.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// Hexadecimal.
    pub serial: String,
    pub not_after: Timestamp,
}

impl Pair {
    /// From PEM: the chain, the server's own certificate first, and the key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Pair, Unusable> {
        let unreadable = |reason: String| Unusable::Certificate(reason);
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Unusable::Key(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| unreadable("there is none".into()))?;
        let (_, facts) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
        let serial = facts.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        let not_after = facts.validity().not_after.timestamp().try_into().unwrap_or(0);
        let key = provider().key_provider.load_private_key(key).map_err(|error| Unusable::Key(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(Unusable::OtherKey),
            Err(error) => return Err(unreadable(error.to_string())),
        }
        Ok(Pair { certified: Arc::new(certified), serial, not_after })
    }

    /// For people; the end of time if it is beyond.
    pub fn not_after(&self) -> jiff::Timestamp {
        let seconds = self.not_after.try_into().unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Whether the certificate is for this host (RFC 6125 section 6.4).
    pub fn is_for(&self, host: &str) -> bool {
        let (Ok(leaf), Ok(name)) = (self.certified.end_entity_cert(), ServerName::try_from(host)) else { return false };
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, &name).is_ok())
    }
}

/// The certificate that clients are shown. Who has connected before does not notice when another one takes its place;
/// who resumes a session (RFC 8446 section 2.2) is shown none.
#[derive(Debug, Default)]
pub struct Shown(ArcSwapOption<CertifiedKey>);

impl Shown {
    /// Nothing is shown at first: handshakes would fail.
    pub fn new() -> Arc<Shown> {
        Arc::default()
    }

    pub fn put(&self, pair: &Pair) {
        self.0.store(Some(pair.certified.clone()));
    }

    /// For HTTP.
    pub fn https(self: &Arc<Shown>) -> Arc<ServerConfig> {
        self.speaking(&[b"h2", b"http/1.1"])
    }

    /// For DNS over TLS (RFC 7858).
    pub fn dot(self: &Arc<Shown>) -> Arc<ServerConfig> {
        self.speaking(&[b"dot"])
    }

    /// A client that speaks of protocols (ALPN, RFC 7301) has to know one of these.
    fn speaking(self: &Arc<Shown>, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
        // The provider has suites for both versions.
        let config = config.expect("aws-lc-rs speaks TLS 1.2 and 1.3");
        let mut config = config.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The process's; before it is installed, as in tests, the same.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
