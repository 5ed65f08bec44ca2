//! Private keys of certificates, always PKCS#8, and what is signed with them to ask for a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PublicKeyData, RsaKeySize,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::Certificate;
use crate::acme::secret::Secret;
use crate::config::KeyType;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// Characters of base64 in a line of PEM (RFC 7468 section 2).
const LINE: usize = 64;

/// Why no key or signing request could be made, or a stored key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("cannot make a private key: {0}")]
    Generate(String),
    #[error("the stored private key cannot be read: {0}")]
    Unreadable(String),
    #[error("cannot make a certificate signing request: {0}")]
    Request(String),
}

/// The key for an order: that of the certificate in use, where the configuration wants it to stay and it is of the
/// wanted kind; else a new one.
///
/// `reused` must be `None` where that key may have become known to somebody, as after a revocation for
/// `keyCompromise`.
pub async fn key_for_order(wanted: KeyType, reused: Option<&Certificate>) -> Result<Secret, KeyError> {
    match reused.map(|certificate| &certificate.private_key) {
        Some(key) if key_type(key).is_ok_and(|found| found == Some(wanted)) => Ok(key.clone()),
        _ => {
            // An RSA key takes up to seconds of a processor.
            let made = tokio::task::spawn_blocking(move || new_key(wanted)).await;
            made.map_err(|error| KeyError::Generate(error.to_string()))?
        }
    }
}

/// A new private key. Takes long for RSA: not for the runtime's threads.
pub fn new_key(wanted: KeyType) -> Result<Secret, KeyError> {
    let made = match wanted {
        KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    };
    let pair = made.map(Zeroizing::new).map_err(|error| KeyError::Generate(error.to_string()))?;
    Ok(pem(pair.serialized_der()))
}

/// The kind of a stored key; `None` if it is none of those that can be configured.
pub fn key_type(key: &Secret) -> Result<Option<KeyType>, KeyError> {
    let public = key_pair(key)?.subject_public_key_info();
    let unreadable = |error: String| KeyError::Unreadable(error);
    let (_, public) = SubjectPublicKeyInfo::from_der(&public).map_err(|error| unreadable(error.to_string()))?;
    Ok(match public.parsed().map_err(|error| unreadable(error.to_string()))? {
        PublicKey::EC(point) => match point.key_size() {
            256 => Some(KeyType::P256),
            384 => Some(KeyType::P384),
            _ => None,
        },
        PublicKey::RSA(key) => match key.key_size() {
            2048 => Some(KeyType::Rsa2048),
            3072 => Some(KeyType::Rsa3072),
            4096 => Some(KeyType::Rsa4096),
            _ => None,
        },
        _ => None,
    })
}

/// The certificate signing request (DER) for these names, with an empty subject. Signed with SHA-256, with SHA-384 for
/// a P-384 key.
pub fn signing_request(names: &[String], key: &Secret) -> Result<Vec<u8>, KeyError> {
    let failed = |error: rcgen::Error| KeyError::Request(error.to_string());
    let pair = key_pair(key)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&*pair).map_err(failed)?.der().to_vec())
}

/// The public half of a stored key, SubjectPublicKeyInfo in DER.
pub fn public_key(key: &Secret) -> Result<Vec<u8>, KeyError> {
    Ok(key_pair(key)?.subject_public_key_info())
}

fn key_pair(key: &Secret) -> Result<Zeroizing<KeyPair>, KeyError> {
    let pair = KeyPair::try_from(der(key)?.as_slice()).map_err(|error| KeyError::Unreadable(error.to_string()))?;
    Ok(Zeroizing::new(pair))
}

/// A stored key as PKCS#8 in DER. Read here rather than by a library, because none wipes what it read.
pub fn der(key: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unreadable = |reason: &str| KeyError::Unreadable(reason.to_owned());
    let body = key.reveal().split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let (body, _) = body.ok_or_else(|| unreadable("it is not a PKCS#8 key in PEM"))?;
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    text.extend(body.split_ascii_whitespace());
    let octets = STANDARD.decode(text.as_bytes()).map_err(|_| unreadable("it is not base64"))?;
    Ok(Zeroizing::new(octets))
}

fn pem(der: &[u8]) -> Secret {
    let body = Zeroizing::new(STANDARD.encode(der));
    let lines = body.len().div_ceil(LINE);
    // Never grows: what it would leave behind is not wiped.
    let mut text = String::with_capacity(BEGIN.len() + END.len() + body.len() + lines + 2);
    text.push_str(BEGIN);
    for start in (0..body.len()).step_by(LINE) {
        text.push('\n');
        text.push_str(&body[start..body.len().min(start + LINE)]);
    }
    text.push('\n');
    text.push_str(END);
    text.push('\n');
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;

    use super::*;
    use crate::acme::certificate::tests::certificate_with;

    const ALL: [KeyType; 5] = [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Rsa4096];

    #[test]
    fn a_key_of_each_kind_signs_its_request() {
        let names = ["*.example.test".to_owned(), "example.test".to_owned()];
        for kind in ALL {
            let key = new_key(kind).unwrap();
            assert_eq!(key_type(&key), Ok(Some(kind)));
            assert_eq!(pem(&der(&key).unwrap()), key);
            assert!(key.reveal().lines().all(|line| line.len() <= LINE), "{kind:?}");

            let request = signing_request(&names, &key).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
            request.verify_signature().unwrap();
            assert_eq!(request.certification_request_info.subject_pki.raw, public_key(&key).unwrap());
            let algorithm = request.signature_algorithm.algorithm.to_id_string();
            let wanted = match kind {
                KeyType::P256 => "1.2.840.10045.4.3.2",
                KeyType::P384 => "1.2.840.10045.4.3.3",
                _ => "1.2.840.113549.1.1.11",
            };
            assert_eq!(algorithm, wanted, "{kind:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_its_text() {
        let damaged = new_key(KeyType::P256).unwrap().reveal().replace("BEGIN PRIVATE", "BEGIN");
        for noise in ["noise", &damaged, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let noise = Secret::new(noise.to_owned());
            let error = signing_request(&["example.test".into()], &noise).unwrap_err();
            assert!(matches!(&error, KeyError::Unreadable(reason) if !reason.contains("AAAA")), "{error}");
            assert!(key_type(&noise).is_err());
        }
    }

    /// Keys of versions before had the line ends and the form of another library.
    #[test]
    fn keys_of_earlier_versions_are_read() {
        let pair = KeyPair::generate().unwrap();
        let key = Secret::new(pair.serialize_pem().replace('\n', "\r\n"));
        assert_eq!(public_key(&key).unwrap(), pair.subject_public_key_info());
    }

    #[tokio::test]
    async fn the_key_in_use_serves_again_where_it_is_of_the_wanted_kind() {
        let key = new_key(KeyType::P384).unwrap();
        assert_ne!(new_key(KeyType::P384).unwrap(), key);
        let in_use = certificate_with(&key);
        assert_eq!(key_for_order(KeyType::P384, Some(&in_use)).await.unwrap(), key);
        assert_ne!(key_for_order(KeyType::P384, None).await.unwrap(), key);
        let other = key_for_order(KeyType::P256, Some(&in_use)).await.unwrap();
        assert_eq!(key_type(&other), Ok(Some(KeyType::P256)));
    }
}
