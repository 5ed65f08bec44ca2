//! An issued certificate: checked when it arrives, kept in the store (`Document::Certificate`, as JSON).

pub mod chain;
pub mod key;

use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::acme::request::Request;
use crate::acme::secret::Secret;
use crate::acme::time;
use crate::api::{RevocationReason, RevokedBy};
use crate::config::KeyType;
use crate::zone::Timestamp;
use chain::{BadChain, CLOCK_SKEW};
use key::{KeyError, public_key};

/// A certificate with its key and chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub version: u64,
    /// Sorted.
    pub names: Vec<String>,
    /// Name of the CA in the configuration of that time.
    pub ca: String,
    /// URL of the CA's directory.
    pub directory: String,
    #[serde(default)]
    pub key_type: KeyType,
    /// PKCS#8 in PEM.
    pub private_key: Secret,
    /// The certificate and the ones that lead to a root, in PEM, as the CA sent them.
    pub chain: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Hexadecimal.
    pub serial: String,
    pub issued_at: Timestamp,
    #[serde(default)]
    pub revoked: Option<Revoked>,
    /// The CA is asked to revoke it, and has not been heard to have decided.
    #[serde(default)]
    pub revoking: Option<Revoking>,
    /// Others may know the private key: it is never used again.
    #[serde(default)]
    pub compromised: bool,
}

/// That a certificate is revoked, kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub at: Timestamp,
    pub reason: RevocationReason,
    /// Whether another certificate is to take its place at once.
    #[serde(default)]
    pub reissue: bool,
}

/// A revocation that somebody asked for, kept with the certificate before the CA hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoking {
    pub since: Timestamp,
    pub reason: RevocationReason,
    pub by: RevokedBy,
    pub reissue: bool,
    /// The key counts as compromised for this alone: no more, should the CA refuse.
    #[serde(default)]
    pub spends_key: bool,
}

/// Why what the CA sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    #[error("what the CA sent holds no certificate")]
    Empty,
    #[error("certificate {index} of what the CA sent cannot be read: {reason}")]
    Unreadable { index: usize, reason: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the certificate is for another key")]
    OtherKey,
    #[error("the certificate is for {found:?}, not for {wanted:?}")]
    OtherNames { found: Vec<String>, wanted: Vec<String> },
    #[error(
        "the certificate is valid from {} to {}, and now is {}: is the clock right?",
        date(*.not_before), date(*.not_after), date(*.now)
    )]
    NotNow { not_before: i64, not_after: i64, now: i64 },
    #[error("the certificate is a CA's own, not one for a server")]
    Ca,
    #[error("the certificate is not for servers: its extended key usage has no serverAuth")]
    NotForServers,
    #[error(transparent)]
    Chain(#[from] BadChain),
}

impl BadCertificate {
    /// Whether it is for a time to come: our clock is behind, or the CA's ahead.
    pub fn is_early(&self) -> bool {
        matches!(self, BadCertificate::NotNow { not_before, now, .. } if now < not_before)
    }

    /// Whether it is anything but a chain, rather than a wrong one.
    pub fn is_no_certificate(&self) -> bool {
        matches!(self, BadCertificate::Empty | BadCertificate::Unreadable { .. })
    }
}

impl Revoking {
    /// For people and programs.
    pub fn told(&self) -> crate::api::Revocation {
        crate::api::Revocation { at: time(self.since), reason: self.reason }
    }
}

impl Revoked {
    /// For people and programs.
    pub fn told(&self) -> crate::api::Revocation {
        crate::api::Revocation { at: time(self.at), reason: self.reason }
    }
}

impl Certificate {
    /// Takes the chain for a request if it is what was asked for: our key, exactly these names, for a server, valid
    /// now, and each certificate signed by the next one.
    pub fn accept(
        request: &Request,
        ca: &str,
        key: &Secret,
        chain: String,
        version: u64,
        now: Timestamp,
    ) -> Result<Certificate, BadCertificate> {
        let unreadable = |index: usize, reason: String| BadCertificate::Unreadable { index: index + 1, reason };
        let pems = pems(&chain)?;
        let mut certificates = Vec::with_capacity(pems.len());
        for (index, pem) in pems.iter().enumerate() {
            certificates.push(pem.parse_x509().map_err(|error| unreadable(index, error.to_string()))?);
        }
        let leaf = certificates.first().ok_or(BadCertificate::Empty)?;

        if leaf.public_key().raw != public_key(key)? {
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
        if leaf.is_ca() {
            return Err(BadCertificate::Ca);
        }
        let usage = leaf.extended_key_usage().map_err(|error| unreadable(0, error.to_string()))?;
        if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
            return Err(BadCertificate::NotForServers);
        }
        let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        let (not_before, not_after) = match (u64::try_from(from), u64::try_from(to)) {
            (Ok(not_before), Ok(not_after))
                if not_before < not_after && not_before <= now + CLOCK_SKEW && now < not_after =>
            {
                (not_before, not_after)
            }
            _ => {
                let now = i64::try_from(now).unwrap_or(i64::MAX);
                return Err(BadCertificate::NotNow { not_before: from, not_after: to, now });
            }
        };
        for unchecked in chain::verify(&certificates, now)? {
            tracing::warn!(ca, "{unchecked}");
        }
        Ok(Certificate {
            version,
            names: found,
            ca: ca.to_owned(),
            directory: request.directory.clone(),
            key_type: request.key_type,
            private_key: key.clone(),
            serial: serial_of(leaf),
            chain,
            not_before,
            not_after,
            issued_at: now,
            revoked: None,
            revoking: None,
            compromised: false,
        })
    }

    /// Whether the certificate of its issuer does not come with it.
    pub fn is_alone(&self) -> bool {
        self.leaf_and_rest().1.is_empty()
    }

    /// Whether the key may serve the next certificate too.
    pub fn keeps_key(&self) -> bool {
        !self.compromised && !self.revoked.is_some_and(|revoked| revoked.reissue)
    }

    /// The PEM of the certificate itself, and of the ones that lead from it to a root.
    pub fn leaf_and_rest(&self) -> (&str, &str) {
        const END: &str = "-----END CERTIFICATE-----";
        let Some(end) = self.chain.find(END).map(|at| at + END.len()) else { return (&self.chain, "") };
        let end = match self.chain[end..].find("-----BEGIN") {
            Some(next) => end + next,
            None => self.chain.len(),
        };
        self.chain.split_at(end)
    }
}

/// The serial number of the first certificate, if there is one that can be read; hexadecimal.
pub fn serial(chain: &str) -> Option<String> {
    let pem = Pem::iter_from_buffer(chain.as_bytes()).next()?.ok()?;
    pem.parse_x509().ok().map(|leaf| serial_of(&leaf))
}

fn serial_of(leaf: &X509Certificate<'_>) -> String {
    leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 as a date.
pub fn date(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| format!("second {at}"), |at| at.to_string())
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
pub mod tests {
    use rcgen::CertificateParams;

    use super::chain::tests::Authority;
    use super::key::new_key;
    use super::*;

    pub const NOW: Timestamp = 1_800_000_000;

    pub fn request(names: &[&str]) -> Request {
        Request {
            directory: "https://ca.test/dir".into(),
            profile: None,
            names: names.iter().map(|name| name.to_string()).collect(),
            key_type: KeyType::default(),
            challenge: crate::config::Challenge::default(),
        }
    }

    /// A certificate of nothing but dates: the first version, for `a.test` from `https://ca.test/dir`.
    pub fn issued(not_before: Timestamp, not_after: Timestamp) -> Certificate {
        Certificate {
            version: 1,
            names: vec!["a.test".into()],
            ca: "test".into(),
            directory: "https://ca.test/dir".into(),
            key_type: KeyType::default(),
            private_key: Secret::new(String::new()),
            chain: String::new(),
            not_before,
            not_after,
            serial: "01".into(),
            issued_at: not_before,
            revoked: None,
            revoking: None,
            compromised: false,
        }
    }

    pub fn key() -> Secret {
        new_key(KeyType::P256).unwrap()
    }

    /// A certificate for this key and an intermediate.
    pub fn chain(names: &[&str], key: &Secret) -> String {
        let intermediate = Authority::root("Root").below("Intermediate", |_| ());
        format!("{}\n{}", intermediate.leaf(names, key, |_| ()), intermediate.pem)
    }

    /// An accepted certificate for `example.test`.
    pub fn certificate(version: u64) -> Certificate {
        Certificate { version, ..certificate_with(&key()) }
    }

    pub fn certificate_with(key: &Secret) -> Certificate {
        accept(&request(&["example.test"]), key, chain(&["example.test"], key), NOW).unwrap()
    }

    fn accept(request: &Request, key: &Secret, chain: String, now: Timestamp) -> Result<Certificate, BadCertificate> {
        Certificate::accept(request, "test", key, chain, 1, now)
    }

    #[test]
    fn what_was_asked_for_is_taken() {
        let key = key();
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
        let own = key();
        let wanted = request(&["example.test"]);
        let good = chain(&["example.test"], &own);
        assert_eq!(accept(&wanted, &key(), good.clone(), NOW), Err(BadCertificate::OtherKey));
        let more = chain(&["example.test", "other.test"], &own);
        assert!(matches!(accept(&wanted, &own, more, NOW), Err(BadCertificate::OtherNames { .. })));
        // The dates of the certificate itself; those of a chain are chain.rs's.
        let alone = good.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
        for now in [NOW + 400 * 86_400, NOW - 400 * 86_400] {
            let refused = accept(&wanted, &own, alone.clone(), now);
            assert!(matches!(refused, Err(BadCertificate::NotNow { .. })));
            let refused = refused.unwrap_err();
            assert_eq!(refused.is_early(), now < NOW);
            let words = refused.to_string();
            assert!(words.contains("2027-03-01T00:00:00Z"), "{words}");
        }
        assert_eq!(accept(&wanted, &own, String::new(), NOW), Err(BadCertificate::Empty));
        for (at, _) in good.match_indices("MII") {
            let broken = format!("{}XXX{}", &good[..at], &good[at + 3..]);
            assert!(matches!(accept(&wanted, &own, broken, NOW), Err(BadCertificate::Unreadable { .. })));
        }
        assert!(matches!(accept(&wanted, &Secret::new("x".into()), good, NOW), Err(BadCertificate::Key(_))));
    }

    #[test]
    fn a_certificate_of_a_ca_or_not_for_servers_or_without_its_chain_is_refused() {
        let key = key();
        let names = ["example.test"];
        let intermediate = Authority::root("Root").below("Intermediate", |_| ());
        let accepted = |change: fn(&mut CertificateParams)| {
            let chain = format!("{}{}", intermediate.leaf(&names, &key, change), intermediate.pem);
            accept(&request(&names), &key, chain, NOW).map(|_| ())
        };
        use rcgen::ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
        assert_eq!(accepted(|params| params.extended_key_usages = vec![ServerAuth]), Ok(()));
        assert_eq!(accepted(|params| params.extended_key_usages = vec![Any]), Ok(()));
        let client = accepted(|params| params.extended_key_usages = vec![ClientAuth]);
        assert_eq!(client, Err(BadCertificate::NotForServers));
        let ca = accepted(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert_eq!(ca, Err(BadCertificate::Ca));
        let leaf = intermediate.leaf(&names, &key, |_| ());
        let foreign = accept(&request(&names), &key, leaf + &Authority::root("Root").pem, NOW);
        assert!(matches!(foreign, Err(BadCertificate::Chain(_))), "{foreign:?}");
    }
}
