//! Key and chain in one encrypted file, for programs that read PKCS#12 (RFC 7292): Java, Windows, appliances.
//!
//! Encrypted with PBES2 (AES-256, PBKDF2 with HMAC-SHA-256), its integrity protected by HMAC-SHA-256; what OpenSSL 3
//! and Java write today. Salts make every file another one, so that a file is compared by what it opens to.

use std::fs;
use std::io;
use std::path::Path;

use p12_keystore::{Certificate as Encoded, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain};
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use crate::acme::certificate::Certificate;
use crate::acme::certificate::key::der;

/// Why there is no PKCS#12 file.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs12Error {
    #[error("cannot read the password for PKCS#12 from {path}: {reason}")]
    Password { path: String, reason: io::Error },
    #[error("the first line of {0}, which is to be the password for PKCS#12, is empty")]
    NoPassword(String),
    #[error("cannot make PKCS#12: {0}")]
    Encode(String),
}

/// The password: the first line of the file.
pub fn password(file: &Path) -> Result<Zeroizing<String>, Pkcs12Error> {
    let path = || file.display().to_string();
    let text = fs::read_to_string(file).map_err(|reason| Pkcs12Error::Password { path: path(), reason })?;
    let text = Zeroizing::new(text);
    match text.lines().next() {
        None | Some("") => Err(Pkcs12Error::NoPassword(path())),
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// The file: the key under this name (its friendlyName, an alias in Java's words), the certificate, its chain.
pub fn encode(name: &str, certificate: &Certificate, password: &str) -> Result<Vec<u8>, Pkcs12Error> {
    let failed = |error: p12_keystore::error::Error| Pkcs12Error::Encode(error.to_string());
    let key = der(&certificate.private_key).map_err(|error| Pkcs12Error::Encode(error.to_string()))?;
    let key = PrivateKey::from_der(&key).map_err(failed)?;
    let chain = chain(certificate)?;
    // Ties the key to its certificate; any octets will do that differ from those of others.
    let id = chain.first().map(|leaf| Sha256::digest(leaf)[..20].to_vec()).unwrap_or_default();
    let chain: Result<Vec<Encoded>, _> = chain.iter().map(|one| Encoded::from_der(one)).collect();
    let mut store = KeyStore::new();
    let entry = PrivateKeyChain::new(id, key, chain.map_err(failed)?);
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(entry));
    store.writer(password).write().map_err(failed)
}

/// Whether the file can be opened with this password and holds exactly that.
pub fn holds(file: &[u8], name: &str, certificate: &Certificate, password: &str) -> bool {
    let Ok(found) = Pkcs12Archive::from_pkcs12(file, password) else { return false };
    let (Ok(key), Ok(chain)) = (der(&certificate.private_key), chain(certificate)) else { return false };
    let [only] = found.keys.as_slice() else { return false };
    only.key.as_der() == key.as_slice()
        && only.friendly_name.as_deref() == Some(name)
        && found.certs.iter().map(|one| one.cert.as_der()).eq(chain.iter().map(Vec::as_slice))
}

/// The certificates in DER, the one that was asked for first.
fn chain(certificate: &Certificate) -> Result<Vec<Vec<u8>>, Pkcs12Error> {
    let pems = Pem::iter_from_buffer(certificate.chain.as_bytes());
    let read = pems.map(|pem| pem.map(|pem| pem.contents)).collect::<Result<_, _>>();
    read.map_err(|error| Pkcs12Error::Encode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::key::new_key;
    use crate::acme::certificate::tests::{certificate, certificate_with};
    use crate::config::KeyType;

    #[test]
    fn a_file_holds_the_key_and_the_chain_and_nothing_of_another_certificate_or_password() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            let certificate = certificate_with(&new_key(kind).unwrap());
            let file = encode("site", &certificate, "pässword").unwrap();
            assert_ne!(encode("site", &certificate, "pässword").unwrap(), file, "salts are random");
            assert!(holds(&file, "site", &certificate, "pässword"), "{kind:?}");
            assert!(!holds(&file, "site", &certificate, "password"));
            assert!(!holds(&file, "other", &certificate, "pässword"));
            assert!(!holds(&file, "site", &super::tests::certificate(1), "pässword"));
            let (leaf, _) = certificate.leaf_and_rest();
            let shorter = Certificate { chain: leaf.to_owned(), ..certificate.clone() };
            assert!(!holds(&file, "site", &shorter, "pässword"));
            assert!(!holds(&file[..file.len() / 2], "site", &certificate, "pässword"));
        }
    }

    #[test]
    fn the_password_is_the_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (text, wanted) in [("a b", "a b"), ("one\ntwo\n", "one"), ("one\r\n", "one"), (" one \n", " one ")] {
            fs::write(&file, text).unwrap();
            assert_eq!(password(&file).unwrap().as_str(), wanted);
        }
        assert!(matches!(password(&folder.path().join("none")), Err(Pkcs12Error::Password { .. })));
        for text in ["", "\nlater"] {
            fs::write(&file, text).unwrap();
            let error = password(&file).unwrap_err();
            assert!(error.to_string().contains("first line") && !error.to_string().contains("later"), "{error}");
        }
    }
}
