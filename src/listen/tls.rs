//! The certificate of the API, for HTTPS and for DNS over TLS.

use std::path::Path;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Why the certificate of the API cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {reason}")]
pub struct TlsError {
    pub path: String,
    pub reason: String,
}

/// Reads certificate chain and key for TLS 1.2 and 1.3. A client that speaks of protocols (ALPN, RFC 7301) has to know
/// one of these.
pub fn read(files: &TlsFiles, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let unusable = |path: &Path, reason: String| TlsError { path: path.display().to_string(), reason };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&files.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| unusable(&files.private_key, error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.certificate, error.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// For DNS over TLS (RFC 7858); its protocol is `dot`.
pub fn dot(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    read(files, &[b"dot"])
}
