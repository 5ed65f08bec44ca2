//! The chain from a certificate to a root: which of several is taken, and whether one holds together.

use x509_parser::pem::Pem;
use x509_parser::x509::X509Name;

// The attempt that downloads alternate chains calls it.
#[allow(dead_code)]
/// Of the chains that a CA offers for a certificate (PEM, the default one first), the one that leads to the root with
/// this common name. The default one if none does, or none is wanted; whether the wish was fulfilled.
///
/// The root itself is mostly not sent, so that the name of the topmost certificate's issuer counts, which is its own
/// name if it is the root.
pub(super) fn preferred(chains: Vec<String>, root: Option<&str>) -> (String, bool) {
    let found = root.map(|root| chains.iter().position(|chain| leads_to(chain, root)));
    let chosen = found.flatten().unwrap_or(0);
    (chains.into_iter().nth(chosen).unwrap_or_default(), found != Some(None))
}

fn leads_to(chain: &str, root: &str) -> bool {
    let Some(Ok(topmost)) = Pem::iter_from_buffer(chain.as_bytes()).last() else { return false };
    topmost.parse_x509().is_ok_and(|topmost| common_name(topmost.issuer()) == Some(root))
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().next()?.as_str().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::acme::secret::Secret;

    /// A certificate authority of the tests.
    pub(in crate::acme) struct Authority {
        pub(in crate::acme) pem: String,
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

        pub(in crate::acme) fn root(name: &str) -> Authority {
            let (params, key) = (Authority::params(name), KeyPair::generate().unwrap());
            let pem = text(&params.self_signed(&key).unwrap());
            Authority { pem, params, key }
        }

        pub(in crate::acme) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
            let key = KeyPair::generate().unwrap();
            let mut params = Authority::params(name);
            change(&mut params);
            let pem = text(&params.signed_by(&key, &self.issuer()).unwrap());
            Authority { pem, params, key }
        }

        pub(in crate::acme) fn leaf(
            &self,
            names: &[&str],
            key: &Secret,
            change: impl FnOnce(&mut CertificateParams),
        ) -> String {
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
    fn the_first_chain_that_leads_to_the_wanted_root_is_taken_and_the_default_one_if_none_does() {
        let key = crate::acme::certificate::new_key().unwrap();
        let (old, new) = (Authority::root("Old Root"), Authority::root("New Root"));
        let (a, b) = (old.below("A", |_| ()), new.below("B", |_| ()));
        let leaf = a.leaf(&["example.test"], &key, |_| ());
        // The second one has the root itself in it.
        let chains = [format!("{leaf}{}", a.pem), format!("{leaf}{}{}", b.pem, new.pem), format!("{leaf}{}", b.pem)];
        let chosen = |root| preferred(chains.to_vec(), root);
        assert_eq!(chosen(None), (chains[0].clone(), true));
        assert_eq!(chosen(Some("Old Root")), (chains[0].clone(), true));
        assert_eq!(chosen(Some("New Root")), (chains[1].clone(), true));
        // The name of an intermediate is not that of a root.
        for other in ["A", "B", "new root", ""] {
            assert_eq!(chosen(Some(other)), (chains[0].clone(), false), "{other}");
        }
        assert_eq!(preferred(vec!["noise".into()], Some("New Root")), ("noise".into(), false));
    }
}
