//! Keys that requestor and server share to sign DNS messages (TSIG, RFC 8945), and what each may change.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Grant;
use crate::zone::{ACME_CHALLENGE, Live, Name};

/// How a message is authenticated (RFC 8945 section 6). MD5 and SHA-224 are left out: nobody has to have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    pub const ALL: [TsigAlgorithm; 4] =
        [TsigAlgorithm::HmacSha1, TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha384, TsigAlgorithm::HmacSha512];

    /// As configurations and zone tools write it, and the one label of its name in the DNS.
    pub fn name(self) -> &'static str {
        match self {
            TsigAlgorithm::HmacSha1 => "hmac-sha1",
            TsigAlgorithm::HmacSha256 => "hmac-sha256",
            TsigAlgorithm::HmacSha384 => "hmac-sha384",
            TsigAlgorithm::HmacSha512 => "hmac-sha512",
        }
    }

    /// Reads what [`TsigAlgorithm::name`] writes, in any case, with or without a final dot.
    pub fn parse(text: &str) -> Option<TsigAlgorithm> {
        let text = text.strip_suffix('.').unwrap_or(text);
        TsigAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for TsigAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The octets of a shared secret. Wiped from memory when dropped, never in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigSecret(Zeroizing<Vec<u8>>);

impl TsigSecret {
    pub fn new(octets: Zeroizing<Vec<u8>>) -> TsigSecret {
        TsigSecret(octets)
    }

    /// As many random bits as the algorithm makes use of (RFC 2104 section 3): at least 256.
    pub fn random(algorithm: TsigAlgorithm) -> Result<TsigSecret, getrandom::Error> {
        let octets = match algorithm {
            TsigAlgorithm::HmacSha1 | TsigAlgorithm::HmacSha256 => 32,
            TsigAlgorithm::HmacSha384 => 48,
            TsigAlgorithm::HmacSha512 => 64,
        };
        let mut secret = Zeroizing::new(vec![0; octets]);
        getrandom::fill(&mut secret)?;
        Ok(TsigSecret(secret))
    }

    /// Reads what [`TsigSecret::to_base64`] writes.
    pub fn from_base64(text: &str) -> Option<TsigSecret> {
        STANDARD.decode(text).ok().map(|octets| TsigSecret(Zeroizing::new(octets)))
    }

    /// As every client's configuration has it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.reveal()))
    }

    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TsigSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TsigSecret(…)")
    }
}

/// What a key may change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TsigGrant {
    /// One label.
    Label(Grant),
    /// Challenge names at or below this name.
    Below(Name),
    /// The label that the challenge name of this domain is an alias of, whichever that is at the moment.
    Domain(Name),
}

impl TsigGrant {
    /// Whether `name`, under which values are kept, is part of this.
    pub fn covers(&self, name: &Name, live: &Live) -> bool {
        match self {
            TsigGrant::Label(grant) => grant.name().is_ok_and(|granted| granted == *name),
            TsigGrant::Below(origin) => name.is_at_or_below(origin),
            TsigGrant::Domain(domain) => {
                let challenge = domain.child(ACME_CHALLENGE);
                challenge.is_ok_and(|challenge| live.alias(&challenge).is_some_and(|label| label == *name))
            }
        }
    }
}

/// What an UPDATE does that deletes the TXT RRset of a name and adds one value to it, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replace {
    /// Values put in during the last minutes stay. lego sends such an UPDATE for every name of an order, and a name and
    /// its wildcard have the same challenge name: the second would take the first one's value away.
    #[default]
    KeepRecent,
    /// Exactly what RFC 2136 says.
    Rfc,
}

impl Replace {
    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Replace::KeepRecent => "keep-recent",
            Replace::Rfc => "rfc",
        }
    }

    /// Reads what [`Replace::name`] writes.
    pub fn parse(text: &str) -> Option<Replace> {
        [Replace::KeepRecent, Replace::Rfc].into_iter().find(|replace| replace.name() == text)
    }
}

/// A key by its name, which is the same for both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsigKey {
    pub name: Name,
    /// The only one that the key is used with.
    pub algorithm: TsigAlgorithm,
    pub secret: TsigSecret,
    pub grants: Vec<TsigGrant>,
    pub replace: Replace,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Label;

    #[test]
    fn algorithms_read_back() {
        for algorithm in TsigAlgorithm::ALL {
            assert_eq!(TsigAlgorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(TsigAlgorithm::parse(&format!("{}.", algorithm.name().to_uppercase())), Some(algorithm));
        }
        for other in ["hmac-md5", "hmac-md5.sig-alg.reg.int", "hmac-sha224", "sha256", ""] {
            assert_eq!(TsigAlgorithm::parse(other), None);
        }
    }

    #[test]
    fn a_grant_covers_its_label_or_what_is_below() {
        let name = |text: &str| Name::parse(text).unwrap();
        let label = TsigGrant::Label(Grant { label: Label::parse("a").unwrap(), zone: name("auth.test") });
        let live = Live::new(Default::default());
        let covers = |grant: &TsigGrant, text: &str| grant.covers(&name(text), &live);
        assert!(covers(&label, "a.auth.test"));
        assert!(!covers(&label, "b.auth.test") && !covers(&label, "x.a.auth.test"));
        let below = TsigGrant::Below(name("auth.test"));
        assert!(covers(&below, "auth.test") && covers(&below, "x.a.auth.test"));
        assert!(!covers(&below, "xauth.test") && !covers(&below, "test"));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let secret = TsigSecret::new(Zeroizing::new(b"secret".to_vec()));
        assert_eq!(format!("{secret:?}"), "TsigSecret(…)");
    }
}
