//! An issued certificate: checked when it arrives, kept in the store (`Document::Certificate`, as JSON).

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::revoke::Revoked;
use super::secret::Secret;
use super::state::Request;
use crate::config::KeyType;
use crate::zone::Timestamp;

/// How far our clock may be behind the CA's, seconds.
const CLOCK_SKEW: u64 = 60 * 60;

/// A certificate with its key and chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Certificate {
    pub(super) version: u64,
    /// Sorted.
    pub(super) names: Vec<String>,
    /// Name of the CA in the configuration of that time.
    pub(super) ca: String,
    /// URL of the CA's directory.
    pub(super) directory: String,
    #[serde(default)]
    pub(super) key_type: KeyType,
    /// PKCS#8 in PEM.
    pub(super) private_key: Secret,
    /// The certificate and the ones that lead to a root, in PEM, as the CA sent them.
    pub(super) chain: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// Hexadecimal.
    pub(super) serial: String,
    pub(super) issued_at: Timestamp,
    #[serde(default)]
    pub(super) revoked: Option<Revoked>,
    /// Others may know the private key: it is never used again.
    #[serde(default)]
    pub(super) compromised: bool,
}

/// Why what the CA sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCertificate {
    #[error("what the CA sent holds no certificate")]
    Empty,
    #[error("certificate {index} of what the CA sent cannot be read: {reason}")]
    Unreadable { index: usize, reason: String },
    #[error("the stored private key cannot be read: {0}")]
    Key(String),
    #[error("the certificate is for another key")]
    OtherKey,
    #[error("the certificate is for {found:?}, not for {wanted:?}")]
    OtherNames { found: Vec<String>, wanted: Vec<String> },
    #[error("the certificate is valid from {not_before} to {not_after} (seconds since 1970), and now is {now}")]
    NotNow { not_before: i64, not_after: i64, now: Timestamp },
}

/// Why no key or signing request could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a key or a certificate signing request: {0}")]
pub(super) struct NoRequest(String);

/// A new private key, ECDSA P-256.
pub(super) fn new_key() -> Result<Secret, NoRequest> {
    let key = KeyPair::generate().map_err(|error| NoRequest(error.to_string()))?;
    Ok(Secret::new(key.serialize_pem()))
}

/// The certificate signing request (DER) for these names, with an empty subject.
pub(super) fn signing_request(names: &[String], key: &Secret) -> Result<Vec<u8>, NoRequest> {
    let bad = |error: rcgen::Error| NoRequest(error.to_string());
    let key = KeyPair::from_pem(key.reveal()).map_err(bad)?;
    let mut params = CertificateParams::new(names).map_err(bad)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(bad)?.der().to_vec())
}

impl Certificate {
    /// Takes the chain for a request if it is what was asked for: our key, exactly these names, valid now.
    pub(super) fn accept(
        request: &Request,
        ca: &str,
        key: &Secret,
        chain: String,
        version: u64,
        now: Timestamp,
    ) -> Result<Certificate, BadCertificate> {
        let pems = pems(&chain)?;
        let unreadable = |index: usize, reason: String| BadCertificate::Unreadable { index: index + 1, reason };
        for (index, pem) in pems.iter().enumerate().skip(1) {
            pem.parse_x509().map_err(|error| unreadable(index, error.to_string()))?;
        }
        let leaf = pems.first().ok_or(BadCertificate::Empty)?;
        let leaf = leaf.parse_x509().map_err(|error| unreadable(0, error.to_string()))?;

        let own = KeyPair::from_pem(key.reveal()).map_err(|error| BadCertificate::Key(error.to_string()))?;
        if leaf.public_key().raw != own.subject_public_key_info() {
            return Err(BadCertificate::OtherKey);
        }
        let names = leaf.subject_alternative_name().map_err(|error| unreadable(0, error.to_string()))?;
        let mut found: Vec<String> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .map(|name| match name {
                GeneralName::DNSName(name) => name.to_ascii_lowercase(),
                other => other.to_string(),
            })
            .collect();
        found.sort();
        if found != request.names {
            return Err(BadCertificate::OtherNames { found, wanted: request.names.clone() });
        }
        let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        match (u64::try_from(from), u64::try_from(to)) {
            (Ok(not_before), Ok(not_after))
                if not_before < not_after && not_before <= now + CLOCK_SKEW && now < not_after =>
            {
                Ok(Certificate {
                    version,
                    names: found,
                    ca: ca.to_owned(),
                    directory: request.directory.clone(),
                    key_type: request.key_type,
                    private_key: key.clone(),
                    serial: leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
                    chain,
                    not_before,
                    not_after,
                    issued_at: now,
                    revoked: None,
                    compromised: false,
                })
            }
            _ => Err(BadCertificate::NotNow { not_before: from, not_after: to, now }),
        }
    }

    /// The PEM of the certificate itself, and of the ones that lead from it to a root.
    pub(super) fn leaf_and_rest(&self) -> (&str, &str) {
        const END: &str = "-----END CERTIFICATE-----";
        let Some(end) = self.chain.find(END).map(|at| at + END.len()) else { return (&self.chain, "") };
        let end = match self.chain[end..].find("-----BEGIN") {
            Some(next) => end + next,
            None => self.chain.len(),
        };
        self.chain.split_at(end)
    }
}

fn pems(chain: &str) -> Result<Vec<Pem>, BadCertificate> {
    Pem::iter_from_buffer(chain.as_bytes())
        .enumerate()
        .map(|(index, pem)| {
            pem.map_err(|error| BadCertificate::Unreadable { index: index + 1, reason: error.to_string() })
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: Timestamp = 1_800_000_000;

    pub(in crate::acme) fn request(names: &[&str]) -> Request {
        Request {
            directory: "https://ca.test/dir".into(),
            profile: None,
            names: names.iter().map(|name| name.to_string()).collect(),
            key_type: KeyType::default(),
            challenge: crate::config::Challenge::default(),
        }
    }

    /// A self-signed certificate twice over, as a chain.
    pub(in crate::acme) fn chain(names: &[&str], key: &Secret) -> String {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 12, 1);
        params.not_after = rcgen::date_time_ymd(2027, 3, 1);
        let key = KeyPair::from_pem(key.reveal()).unwrap();
        let one = params.self_signed(&key).unwrap().pem().replace("\r\n", "\n");
        format!("{one}\n{one}")
    }

    fn accept(request: &Request, key: &Secret, chain: String, now: Timestamp) -> Result<Certificate, BadCertificate> {
        Certificate::accept(request, "test", key, chain, 1, now)
    }

    #[test]
    fn what_was_asked_for_is_taken() {
        let key = new_key().unwrap();
        let names = ["*.example.test", "example.test"];
        let taken = accept(&request(&names), &key, chain(&["example.test", "*.Example.test"], &key), NOW).unwrap();
        assert_eq!(taken.names, names);
        assert!(taken.not_before < NOW && NOW < taken.not_after);
        let (leaf, rest) = taken.leaf_and_rest();
        assert_eq!(leaf.matches("BEGIN").count(), 1);
        assert_eq!(rest.matches("BEGIN").count(), 1);
        assert_eq!(format!("{leaf}{rest}"), taken.chain);
        assert!(!format!("{taken:?}").contains("PRIVATE"));
    }

    #[test]
    fn another_key_other_names_other_times_and_noise_are_refused() {
        let key = new_key().unwrap();
        let wanted = request(&["example.test"]);
        let good = chain(&["example.test"], &key);
        assert_eq!(accept(&wanted, &new_key().unwrap(), good.clone(), NOW), Err(BadCertificate::OtherKey));
        let more = chain(&["example.test", "other.test"], &key);
        assert!(matches!(accept(&wanted, &key, more, NOW), Err(BadCertificate::OtherNames { .. })));
        for now in [NOW + 400 * 86_400, NOW - 400 * 86_400] {
            assert!(matches!(accept(&wanted, &key, good.clone(), now), Err(BadCertificate::NotNow { .. })));
        }
        assert_eq!(accept(&wanted, &key, String::new(), NOW), Err(BadCertificate::Empty));
        let broken = good.replacen("MII", "XXX", 1);
        assert!(matches!(accept(&wanted, &key, broken, NOW), Err(BadCertificate::Unreadable { .. })));
    }

    #[test]
    fn a_signing_request_can_be_made_again_from_the_stored_key() {
        let key = new_key().unwrap();
        let names = ["*.example.test".to_owned(), "example.test".to_owned()];
        assert!(!signing_request(&names, &key).unwrap().is_empty());
        assert!(signing_request(&names, &Secret::new("noise".into())).is_err());
    }
}
