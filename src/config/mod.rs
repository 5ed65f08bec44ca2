//! The configuration, resolved and typed. `file.rs`, `api.rs`, `rate_limit.rs`, `zones.rs`, `tsig.rs`, `issuance.rs` and
//! `certificate.rs` read the TOML as written, with the tables of `read.rs` and the values of `value.rs`.

mod acme;
mod api;
mod certificate;
mod file;
mod issuance;
mod listening;
mod names;
mod proxy;
mod rate_limit;
mod read;
mod report;
mod secret;
#[cfg(test)]
mod tests;
mod tsig;
mod value;
mod warnings;
mod zones;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use acme::{Acme, Ca, Certificate, Challenge, Eab, Files, KeyType, Limits, Proxy, SecretSource, Webhook};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use report::{ConfigError, Problem};
use zeroize::Zeroizing;

use crate::account::TsigKey;
use crate::zone::{Name, Zone};

/// Everything the server needs to know. Paths are absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    pub data_dir: PathBuf,
    pub dns: Dns,
    pub api: Api,
    pub admin: Admin,
    /// With their records read and checked. Origins are different from each other.
    pub zones: Vec<ZoneConfig>,
    /// `[[tsig_key]]`. Names are different from each other.
    pub tsig_keys: Vec<TsigKey>,
    pub resolver: Resolver,
    pub acme: Acme,
    pub cas: Vec<Ca>,
    pub certificates: Vec<Certificate>,
}

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// UDP and TCP. Default: `0.0.0.0:53` and `[::]:53`.
    pub listen: Vec<SocketAddr>,
    /// DNS over TLS, with the certificate of the API. Default: none.
    pub tls_listen: Vec<SocketAddr>,
    /// Connections at a time, over TCP and TLS. Default 1024.
    pub tcp_connections: usize,
    /// Of these, from one network: /24 of IPv4, /56 of IPv6. Default 64.
    pub tcp_connections_per_prefix: usize,
    /// Upper bound for the TTL of negative answers, seconds. Default 1.
    pub negative_ttl: u32,
    /// TTL of TXT values, seconds. Default 1.
    pub txt_ttl: u32,
    /// How long a value is served unless it is refreshed, seconds. Default 7 days.
    pub value_lifetime: u64,
    /// The first makes DNS cookies, all verify them. Empty: one is made up at the start.
    pub cookie_secret: Vec<CookieSecret>,
    pub rate_limit: RateLimit,
}

/// A secret that DNS cookies are made with (RFC 9018 section 4.4). Wiped from memory when dropped, never in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecret(Zeroizing<[u8; 16]>);

impl CookieSecret {
    pub fn reveal(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(…)")
    }
}

/// `[dns.rate_limit]`: answers over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// For one network; 0: no limit. Default 1000.
    pub answers_per_second: u32,
    /// Length of the prefix that makes a network. Default 24.
    pub ipv4_prefix: u8,
    /// Default 56.
    pub ipv6_prefix: u8,
    /// Never limited. Default: loopback.
    pub exempt: Vec<IpNet>,
    /// Tells in the log what would be limited, and limits nothing.
    pub dry_run: bool,
}

/// `[api]`: the acme-dns compatible update API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Default: none, the API is off.
    pub listen: Vec<SocketAddr>,
    pub registration: Registration,
    /// Origin of the zone that labels are registered in: `zone` of the file, else the first that is no
    /// `_acme-challenge` zone. `None` if there is no such zone.
    pub zone: Option<Name>,
    /// The host name of the API; no label can have this name.
    pub hostname: Option<Name>,
    pub tls: Option<ApiTls>,
    /// Plain text on an address that is not loopback.
    pub allow_plaintext: bool,
    /// Proxies that are believed about who their client is. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Every connection begins with a header of the PROXY protocol, version 2, of a trusted proxy.
    pub proxy_protocol: bool,
    /// Connections at a time. Default 1024.
    pub connections: usize,
    /// Of these, from one network: /24 of IPv4, /56 of IPv6. Default 128.
    pub connections_per_prefix: usize,
    pub rate_limit: ApiRateLimit,
}

/// `[api.rate_limit]`: requests over HTTP. A rate of 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRateLimit {
    /// Of one source, an IPv4 address or an IPv6 /64. Default 20.
    pub requests_per_second: u32,
    /// Requests of a source at once. At least 1. Default 200.
    pub burst: u32,
    /// Of one account. Default 10.
    pub account_updates_per_second: u32,
    /// Updates of an account at once. At least 1. Default 200.
    pub account_burst: u32,
    /// Attempts of one source, also at once. Default 10.
    pub registrations_per_minute: u32,
    /// Clients that are never limited. Default: loopback.
    pub exempt: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Accounts are made by the administrator alone. The default.
    Closed,
    /// Who has a registration token may register.
    Token,
    /// Anybody who reaches the API may register; tokens are not looked at.
    Open,
}

/// `tls` of `[api]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiTls {
    Files(TlsFiles),
    /// `tls = "acme"`: the embedded ACME client's, for the host name; it is one of the [`Config::certificates`].
    Acme {
        /// Name of that certificate.
        certificate: String,
    },
}

/// `tls = { certificate = …, private_key = … }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Loopback only. Default `127.0.0.1:8054`.
    pub listen: SocketAddr,
}

/// `[[zone]]`
#[derive(Debug, Clone)]
pub struct ZoneConfig {
    pub zone: Zone,
    pub source: ZoneSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneSource {
    File(PathBuf),
    Nameservers(Vec<Name>),
}

/// `[resolver]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Recursive resolvers; empty: the system's.
    pub nameservers: Vec<SocketAddr>,
}

impl Default for Dns {
    fn default() -> Dns {
        let every_address = [(Ipv4Addr::UNSPECIFIED, 53).into(), (Ipv6Addr::UNSPECIFIED, 53).into()];
        Dns {
            listen: every_address.into(),
            tls_listen: Vec::new(),
            tcp_connections: 1024,
            tcp_connections_per_prefix: 64,
            negative_ttl: 1,
            txt_ttl: 1,
            value_lifetime: 7 * 86_400,
            cookie_secret: Vec::new(),
            rate_limit: RateLimit::default(),
        }
    }
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit { answers_per_second: 1_000, ipv4_prefix: 24, ipv6_prefix: 56, exempt: loopback(), dry_run: false }
    }
}

impl Default for ApiRateLimit {
    fn default() -> ApiRateLimit {
        ApiRateLimit {
            requests_per_second: 20,
            burst: 200,
            account_updates_per_second: 10,
            account_burst: 200,
            registrations_per_minute: 10,
            exempt: loopback(),
        }
    }
}

fn loopback() -> Vec<IpNet> {
    vec![
        Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
    ]
}

impl Default for Api {
    fn default() -> Api {
        Api {
            listen: Vec::new(),
            registration: Registration::Closed,
            zone: None,
            hostname: None,
            tls: None,
            allow_plaintext: false,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            connections: 1024,
            connections_per_prefix: 128,
            rate_limit: ApiRateLimit::default(),
        }
    }
}

impl Api {
    /// Where clients reach the API: `https://` and its host name, with its port if it speaks TLS itself on another one
    /// than 443; without a host name, its first address. `None` if neither is known.
    pub fn base_url(&self) -> Option<String> {
        let first = self.listen.first().filter(|address| address.port() != 0);
        let own_port = first.map(SocketAddr::port).filter(|port| self.tls.is_some() && *port != 443);
        match (&self.hostname, first) {
            (Some(host), _) => {
                Some(own_port.map_or(format!("https://{host}"), |port| format!("https://{host}:{port}")))
            }
            (None, Some(address)) if !address.ip().is_unspecified() => {
                Some(format!("{}://{address}", if self.tls.is_some() { "https" } else { "http" }))
            }
            _ => None,
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { listen: (Ipv4Addr::LOCALHOST, 8054).into() }
    }
}

impl Config {
    /// Reads and checks a configuration file and everything it names. All problems are reported at once.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        file::read(path)
    }

    /// The store's file.
    pub fn store_file(&self) -> PathBuf {
        self.data_dir.join("acmezone.db")
    }

    /// Where the server writes the bearer token of the admin API.
    pub fn admin_token_file(&self) -> PathBuf {
        self.data_dir.join("admin-token")
    }

    /// Where certificates are exported to.
    pub fn certs_dir(&self) -> PathBuf {
        self.acme.certs.clone().unwrap_or_else(|| self.data_dir.join("certs"))
    }
}
