//! The chain from a certificate to a root: which of several is taken, and whether one holds together.

use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::pem::Pem;
use x509_parser::x509::X509Name;

use super::date;
use crate::zone::Timestamp;

/// How far our clock may be behind the CA's, seconds.
pub const CLOCK_SKEW: u64 = 60 * 60;

/// Why a chain is none. Certificates are counted from 1, the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    #[error(
        "the CA's chain is out of order: certificate {index} ({subject}) has not issued the one before it, but \
         certificate {issuer} has"
    )]
    Order { index: usize, subject: String, issuer: usize },
    #[error(
        "certificate {index} of the CA's chain ({subject}) has nothing to do with the one before it, whose issuer is \
         {issuer}"
    )]
    Unrelated { index: usize, subject: String, issuer: String },
    #[error(
        "certificate {index} of the CA's chain was not signed with the key of certificate {}, although that has the \
         name of its issuer ({issuer})",
        index + 1
    )]
    Signature { index: usize, issuer: String },
    #[error("certificate {index} of the CA's chain ({subject}) may not issue certificates: {reason}")]
    MayNotIssue { index: usize, subject: String, reason: &'static str },
    #[error(
        "certificate {index} of the CA's chain ({subject}) is valid from {} to {}, and now is {}",
        date(*.not_before), date(*.not_after), date(*.now)
    )]
    NotNow { index: usize, subject: String, not_before: i64, not_after: i64, now: i64 },
}

/// A signature of a kind that is not known here, as with ECDSA P-521: no reason to go without a certificate that those who
/// read it understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature of certificate {index} of the CA's chain is not checked: its algorithm is {algorithm}")]
pub struct Unchecked {
    index: usize,
    algorithm: String,
}

/// Whether each certificate was issued by the next one, which may do so and is valid now (RFC 8555 section 7.4.2,
/// RFC 5280 section 6.1). The last one's issuer is a root that the reader has, or has not: that is not ours to say.
pub fn verify(chain: &[X509Certificate<'_>], now: Timestamp) -> Result<Vec<Unchecked>, BadChain> {
    let mut unchecked = Vec::new();
    for (at, pair) in chain.windows(2).enumerate() {
        let [issued, issuer] = pair else { continue };
        let (index, subject) = (at + 2, issuer.subject().to_string());
        if issued.issuer().as_raw() != issuer.subject().as_raw() {
            let named = |other: &X509Certificate<'_>| other.subject().as_raw() == issued.issuer().as_raw();
            return Err(match chain.iter().position(named).filter(|other| *other != at) {
                Some(other) => BadChain::Order { index, subject, issuer: other + 1 },
                None => BadChain::Unrelated { index, subject, issuer: issued.issuer().to_string() },
            });
        }
        match issued.verify_signature(Some(issuer.public_key())) {
            Ok(()) => {}
            Err(X509Error::SignatureUnsupportedAlgorithm) => {
                let algorithm = issued.signature_algorithm.algorithm.to_id_string();
                unchecked.push(Unchecked { index: at + 1, algorithm });
            }
            Err(_) => return Err(BadChain::Signature { index: at + 1, issuer: subject }),
        }
        if let Some(reason) = bar(issuer, at) {
            return Err(BadChain::MayNotIssue { index, subject, reason });
        }
        let (not_before, not_after) =
            (issuer.validity().not_before.timestamp(), issuer.validity().not_after.timestamp());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        // Readers have roots of their own and do not look at the dates of one that is sent.
        let is_root = issuer.issuer().as_raw() == issuer.subject().as_raw();
        if !is_root && !(not_before - CLOCK_SKEW as i64..not_after).contains(&now) {
            return Err(BadChain::NotNow { index, subject, not_before, not_after, now });
        }
    }
    Ok(unchecked)
}

/// What keeps this certificate from having issued the one before it, with so many of CAs below it.
fn bar(issuer: &X509Certificate<'_>, below: usize) -> Option<&'static str> {
    let Ok(Some(constraints)) = issuer.basic_constraints() else { return Some("it has no basic constraints") };
    if !constraints.value.ca {
        return Some("its basic constraints say that it is not a CA's");
    }
    if constraints.value.path_len_constraint.is_some_and(|most| (most as usize) < below) {
        return Some("its basic constraints allow fewer CAs below it");
    }
    match issuer.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Some("its key usage has no keyCertSign"),
        Err(_) => Some("its key usage cannot be read"),
        _ => None,
    }
}

/// The chains that a CA offers for a certificate (PEM, the default one first), those that lead to the root with this
/// common name before the others; whether there is one.
pub fn in_order(mut chains: Vec<String>, root: &str) -> (Vec<String>, bool) {
    let is_other = |chain: &String| root_of(chain).as_deref() != Some(root);
    chains.sort_by_cached_key(is_other);
    let found = chains.first().is_some_and(|first| !is_other(first));
    (chains, found)
}

/// The common name of the root that a chain leads to. The root itself is mostly not sent, so that it is that of the
/// topmost certificate's issuer, which is its own name if it is the root.
pub fn root_of(chain: &str) -> Option<String> {
    let topmost = Pem::iter_from_buffer(chain.as_bytes()).last()?.ok()?;
    let topmost = topmost.parse_x509().ok()?;
    common_name(topmost.issuer()).map(str::to_owned)
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().next()?.as_str().ok()
}

#[cfg(test)]
pub mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    use super::*;
    use crate::acme::certificate::tests::{NOW, key};
    use crate::acme::secret::Secret;

    /// A certificate authority of the tests.
    pub struct Authority {
        pub pem: String,
        params: CertificateParams,
        key: KeyPair,
    }

    /// Valid around second 1,800,000,000.
    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 12, 1);
        params.not_after = rcgen::date_time_ymd(2027, 3, 1);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    }

    impl Authority {
        fn params(name: &str) -> CertificateParams {
            let mut params = params(&[]);
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        }

        pub fn root(name: &str) -> Authority {
            let (params, key) = (Authority::params(name), KeyPair::generate().unwrap());
            let pem = text(&params.self_signed(&key).unwrap());
            Authority { pem, params, key }
        }

        pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
            let key = KeyPair::generate().unwrap();
            let mut params = Authority::params(name);
            change(&mut params);
            let pem = text(&params.signed_by(&key, &self.issuer()).unwrap());
            Authority { pem, params, key }
        }

        pub fn leaf(&self, names: &[&str], key: &Secret, change: impl FnOnce(&mut CertificateParams)) -> String {
            let mut params = params(names);
            change(&mut params);
            text(&params.signed_by(&KeyPair::from_pem(key.reveal()).unwrap(), &self.issuer()).unwrap())
        }

        fn issuer(&self) -> Issuer<'_, &KeyPair> {
            Issuer::from_params(&self.params, &self.key)
        }
    }

    fn text(certificate: &rcgen::Certificate) -> String {
        certificate.pem().replace("\r\n", "\n")
    }

    #[test]
    fn the_chains_that_lead_to_the_wanted_root_come_first_each_in_the_order_of_the_ca() {
        let key = key();
        let (old, new) = (Authority::root("Old Root"), Authority::root("New Root"));
        let (a, b) = (old.below("A", |_| ()), new.below("B", |_| ()));
        let leaf = a.leaf(&["example.test"], &key, |_| ());
        // The second one has the root itself in it.
        let chains = [format!("{leaf}{}", a.pem), format!("{leaf}{}{}", b.pem, new.pem), format!("{leaf}{}", b.pem)];
        let ordered = |root| in_order(chains.to_vec(), root);
        assert_eq!(ordered("Old Root"), (chains.to_vec(), true));
        assert_eq!(ordered("New Root"), ([1, 2, 0].map(|at: usize| chains[at].clone()).to_vec(), true));
        // The name of an intermediate is not that of a root.
        for other in ["A", "B", "new root", ""] {
            assert_eq!(ordered(other), (chains.to_vec(), false), "{other}");
        }
        assert_eq!(in_order(vec!["noise".into()], "New Root"), (vec!["noise".into()], false));
    }

    fn verified(parts: &[&str]) -> Result<(), BadChain> {
        let pems: Vec<Pem> = Pem::iter_from_buffer(parts.concat().as_bytes()).map(Result::unwrap).collect();
        let chain: Vec<_> = pems.iter().map(|pem| pem.parse_x509().unwrap()).collect();
        verify(&chain, NOW).map(|unchecked| assert_eq!(unchecked, []))
    }

    /// x509-parser does not know this curve.
    #[test]
    fn a_signature_that_cannot_be_checked_is_told_and_refuses_nothing() {
        let p521 = |name: &str| {
            let (params, key) =
                (Authority::params(name), KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap());
            let pem = text(&params.self_signed(&key).unwrap());
            Authority { pem, params, key }
        };
        let (root, other) = (p521("Root"), p521("Other"));
        let lower = root.below("Lower", |_| ());
        let leaf = lower.leaf(&["example.test"], &key(), |_| ());
        let checked = |parts: &[&str]| {
            let pems: Vec<Pem> = Pem::iter_from_buffer(parts.concat().as_bytes()).map(Result::unwrap).collect();
            let chain: Vec<_> = pems.iter().map(|pem| pem.parse_x509().unwrap()).collect();
            verify(&chain, NOW)
        };
        let algorithm = "1.2.840.10045.4.3.4".to_owned();
        assert_eq!(checked(&[&leaf, &lower.pem, &root.pem]), Ok(vec![Unchecked { index: 2, algorithm }]));
        // The rest is looked at as ever.
        assert!(matches!(checked(&[&leaf, &lower.pem, &other.pem]), Err(BadChain::Unrelated { index: 3, .. })));
    }

    #[test]
    fn each_certificate_is_signed_by_the_next_one_rfc_8555_7_4_2() {
        let key = key();
        let root = Authority::root("Root");
        let upper = root.below("Upper", |_| ());
        let lower = upper.below("Lower", |_| ());
        let leaf = lower.leaf(&["example.test"], &key, |_| ());
        let (root, upper, lower) = (root.pem.as_str(), upper.pem.as_str(), lower.pem.as_str());
        assert_eq!(verified(&[&leaf]), Ok(()));
        assert_eq!(verified(&[&leaf, lower, upper]), Ok(()));
        assert_eq!(verified(&[&leaf, lower, upper, root]), Ok(()));

        let order = BadChain::Order { index: 2, subject: "CN=Upper".into(), issuer: 3 };
        assert_eq!(verified(&[&leaf, upper, lower]), Err(order));
        let gap = BadChain::Unrelated { index: 2, subject: "CN=Upper".into(), issuer: "CN=Lower".into() };
        assert_eq!(verified(&[&leaf, upper, root]), Err(gap));
        let more = Authority::root("Other");
        let unrelated = BadChain::Unrelated { index: 5, subject: "CN=Other".into(), issuer: "CN=Root".into() };
        assert_eq!(verified(&[&leaf, lower, upper, root, &more.pem]), Err(unrelated));
        assert!(matches!(verified(&[&leaf, &leaf]), Err(BadChain::Unrelated { index: 2, .. })));
        assert!(matches!(verified(&[&leaf, lower, lower]), Err(BadChain::Unrelated { index: 3, .. })));
    }

    #[test]
    fn an_intermediate_of_the_same_name_with_another_key_is_foreign() {
        let key = key();
        let root = Authority::root("Root");
        let (own, foreign) = (root.below("Lower", |_| ()), root.below("Lower", |_| ()));
        let leaf = own.leaf(&["example.test"], &key, |_| ());
        let signature = BadChain::Signature { index: 1, issuer: "CN=Lower".into() };
        assert_eq!(verified(&[&leaf, &foreign.pem]), Err(signature));
        let other = Authority::root("Root");
        let signature = BadChain::Signature { index: 2, issuer: "CN=Root".into() };
        assert_eq!(verified(&[&leaf, &own.pem, &other.pem]), Err(signature));
    }

    #[test]
    fn an_intermediate_is_valid_now_and_may_issue_rfc_5280_6_1_4() {
        let key = key();
        let root = Authority::root("Root");
        let through = |change: fn(&mut CertificateParams)| {
            let lower = root.below("Lower", change);
            let leaf = lower.leaf(&["example.test"], &key, |_| ());
            verified(&[&leaf, &lower.pem])
        };
        assert_eq!(through(|_| ()), Ok(()));
        let expired = through(|params| params.not_after = rcgen::date_time_ymd(2026, 12, 31));
        assert!(matches!(&expired, Err(BadChain::NotNow { index: 2, .. })), "{expired:?}");
        let words = expired.unwrap_err().to_string();
        assert!(words.contains("CN=Lower") && words.contains("2026-12-31T00:00:00Z"), "{words}");
        let future = through(|params| params.not_before = rcgen::date_time_ymd(2027, 2, 1));
        assert!(matches!(future, Err(BadChain::NotNow { index: 2, .. })), "{future:?}");
        for change in [
            (|params| params.is_ca = IsCa::NoCa) as fn(&mut CertificateParams),
            |params| params.is_ca = IsCa::ExplicitNoCa,
            |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        ] {
            let refused = through(change);
            assert!(matches!(refused, Err(BadChain::MayNotIssue { index: 2, .. })), "{refused:?}");
        }

        // No CA may be below this one.
        let upper = root.below("Upper", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        let lower = upper.below("Lower", |_| ());
        let (long, short) = (lower.leaf(&["a.test"], &key, |_| ()), upper.leaf(&["a.test"], &key, |_| ()));
        let refused = verified(&[&long, &lower.pem, &upper.pem]);
        assert!(matches!(refused, Err(BadChain::MayNotIssue { index: 3, .. })), "{refused:?}");
        assert_eq!(verified(&[&short, &upper.pem]), Ok(()));
    }
}
