//! What the embedded ACME client is configured to do: `[acme]`, `[[ca]]`, `[[certificate]]`, resolved and typed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// `[acme]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Orders under way at the same time. Default 4.
    pub orders: usize,
    /// How many versions of a certificate stay beside each other, the one in use included. Default 3.
    pub versions: usize,
    /// The folder of the certificates' folders; `None`: `certs` in the data folder.
    pub certs: Option<PathBuf>,
    /// Through which CAs and webhooks are reached.
    pub proxy: Option<Proxy>,
}

/// An HTTP proxy that is asked to CONNECT. The password is never in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port`
    pub url: String,
    /// User name and password.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// `no_proxy`: host names in lower case, and IP addresses.
    pub except: Vec<String>,
}

/// `[[ca]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    pub name: String,
    /// URL of the ACME directory, `https://`.
    pub directory: String,
    pub contact: Vec<String>,
    /// PEM file with an extra trust anchor for a private CA.
    pub root: Option<PathBuf>,
    /// Certificate profile to ask for (draft-ietf-acme-profiles).
    pub profile: Option<String>,
    /// Common name of the root that the chain should lead to; the CA's first chain if none does.
    pub preferred_chain: Option<String>,
    /// External account binding (RFC 8555 section 7.3.4).
    pub eab: Option<Eab>,
    /// Whether an account may be made although that agrees to the CA's terms of service. Default true.
    pub agrees_to_terms: bool,
    pub limits: Limits,
    /// Name of another `[[ca]]`, where the first order for a set of names is tried and its certificate thrown away.
    pub rehearsal: Option<String>,
}

/// The account at the CA's own system that an ACME account is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eab {
    pub key_id: String,
    /// Where its HMAC key is, in base64url.
    pub hmac_key: SecretSource,
}

/// Where a secret is read from when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    /// Name of a variable of the server's environment.
    Environment(String),
}

/// The limits of a CA that the client keeps to by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    None,
    /// Those of Let's Encrypt's production directory. The default there.
    LetsEncrypt,
}

/// `[[certificate]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Folder name below `certs/`: letters, digits, `.`, `-`, `_`.
    pub name: String,
    /// Domain names in lower case, `*.` allowed in front. At least one, no duplicates.
    pub names: Vec<String>,
    /// Names of `[[ca]]`s, tried in this order. At least one.
    pub cas: Vec<String>,
    /// Takes the place of the CA's `profile`.
    pub profile: Option<String>,
    pub challenge: Challenge,
    pub key_type: KeyType,
    /// The key of the certificate in use serves the next one too.
    pub reuse_key: bool,
    pub files: Files,
    /// Program and arguments to run when the files have changed; empty: none.
    pub deploy: Vec<String>,
    /// How long that program may run, seconds. Default 60.
    pub deploy_timeout: u64,
    pub webhook: Option<Webhook>,
}

/// Which files are written for other programs, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `combined.pem`: key and chain in one file.
    pub combined: bool,
    /// `bundle.p12`, with the password in the first line of this file.
    pub pkcs12_password_file: Option<PathBuf>,
    /// Name of the user that the files belong to; `None`: the server's.
    pub owner: Option<String>,
    /// Name of the group that may read the files; `None`: no group may.
    pub group: Option<String>,
}

/// A POST of what has happened, signed with HMAC-SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: String,
    pub secret: SecretSource,
}

/// How control of the names is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// RFC 8555 section 8.4.
    #[default]
    #[serde(rename = "dns-01")]
    Dns01,
    /// draft-ietf-acme-dns-account-label.
    #[serde(rename = "dns-account-01")]
    DnsAccount01,
    /// draft-ietf-acme-dns-persist.
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA.
    #[default]
    P256,
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Default for Acme {
    fn default() -> Acme {
        Acme { orders: 4, versions: 3, certs: None, proxy: None }
    }
}

impl Ca {
    /// A CA with nothing but what it must have.
    pub fn new(name: String, directory: String) -> Ca {
        let limits = Limits::default_for(&directory);
        Ca {
            name,
            directory,
            contact: Vec::new(),
            root: None,
            profile: None,
            preferred_chain: None,
            eab: None,
            agrees_to_terms: true,
            limits,
            rehearsal: None,
        }
    }
}

impl Limits {
    /// What holds for a directory for which the configuration says nothing.
    pub fn default_for(directory: &str) -> Limits {
        const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
        if directory == PRODUCTION { Limits::LetsEncrypt } else { Limits::None }
    }
}

impl Certificate {
    /// How long a deploy program may run unless the configuration says otherwise, seconds.
    pub const DEPLOY_TIMEOUT: u64 = 60;

    /// A certificate with nothing but what it must have.
    pub fn new(name: String, names: Vec<String>, cas: Vec<String>) -> Certificate {
        Certificate {
            name,
            names,
            cas,
            profile: None,
            challenge: Challenge::default(),
            key_type: KeyType::default(),
            reuse_key: false,
            files: Files::default(),
            deploy: Vec::new(),
            deploy_timeout: Certificate::DEPLOY_TIMEOUT,
            webhook: None,
        }
    }
}

impl Proxy {
    /// Whether this host of a URL is reached without the proxy: one that is excepted, or a name below it.
    pub fn spares(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        let below = |except: &String| host.strip_suffix(except.as_str()).is_some_and(|rest| rest.ends_with('.'));
        let is_name = host.parse::<IpAddr>().is_err();
        self.except.iter().any(|except| host == *except || is_name && below(except))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Proxy").field("url", &self.url).field("user", &user).finish_non_exhaustive()
    }
}
