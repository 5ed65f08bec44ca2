//! A key as the ACME clients' configurations have it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use clap::ValueEnum;

use crate::api::TsigKey;
use crate::zone::Name;

/// Clients that put challenge values in by UPDATE (RFC 2136).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum For {
    /// INI file of certbot-dns-rfc2136
    Certbot,
    /// Environment of lego and Traefik
    Lego,
    /// Secret and Issuer
    CertManager,
    /// Caddyfile, with the module dns.providers.rfc2136
    Caddy,
    /// Key file of nsupdate, and of acme.sh and others that call it
    Nsupdate,
    /// Key file and variables of uacme's nsupdate.sh
    Uacme,
    /// Plugin data of Proxmox VE
    Proxmox,
}

impl For {
    pub(super) fn name(self) -> &'static str {
        match self {
            For::Certbot => "certbot",
            For::Lego => "lego",
            For::CertManager => "cert-manager",
            For::Caddy => "caddy",
            For::Nsupdate => "nsupdate",
            For::Uacme => "uacme",
            For::Proxmox => "proxmox",
        }
    }

    pub(super) fn names() -> Vec<&'static str> {
        For::value_variants().iter().map(|of| of.name()).collect()
    }
}

/// What goes into a configuration.
pub(super) struct Snippet<'a> {
    name: String,
    algorithm: &'a str,
    secret: &'a str,
    server: SocketAddr,
    /// A name that the key may change, as an example.
    target: String,
    /// A domain of an alias, or a place for one.
    domain: String,
}

impl Snippet<'_> {
    /// `None` if the key comes without its secret.
    pub(super) fn new(key: &TsigKey, server: SocketAddr) -> Option<Snippet<'_>> {
        let domain = key.domains.first().map_or_else(|| "example.com".to_owned(), Name::to_string);
        let target = match (key.labels.first(), key.domains.first(), key.below.first()) {
            (Some(label), _, _) => label.to_string(),
            (_, Some(domain), _) => format!("_acme-challenge.{domain}"),
            (_, _, Some(below)) if is_challenge(below) => below.to_string(),
            (_, _, Some(below)) => format!("LABEL.{below}"),
            _ => return None,
        };
        let secret = key.secret.as_ref()?.reveal();
        Some(Snippet { name: key.name.to_string(), algorithm: &key.algorithm, secret, server, target, domain })
    }

    /// An error if the client cannot use the key.
    pub(super) fn text(&self, of: For) -> Result<String, String> {
        Ok(match of {
            For::Certbot => self.certbot(),
            For::Lego => self.lego(),
            For::CertManager => return self.cert_manager(),
            For::Caddy => self.caddy(),
            For::Nsupdate => self.nsupdate(),
            For::Uacme => self.uacme(),
            For::Proxmox => self.proxmox(),
        })
    }

    /// What has no place in the configuration itself.
    pub(super) fn hint(&self, of: For) -> Option<String> {
        let Snippet { name, target, domain, .. } = self;
        (of == For::Proxmox).then(|| {
            format!(
                "The key itself belongs into /etc/pve/priv/acmezone.key, with mode 0600:\n\
                \x20 acmezone tsig show {name} --for nsupdate\n\
                 The lines above are the data of the plugin, and the target of the domain's CNAME is its alias:\n\
                \x20 pvenode acme plugin add dns acmezone --api nsupdate --data FILE\n\
                \x20 pvenode config set --acmedomain0 {domain},plugin=acmezone,alias={target}"
            )
        })
    }

    /// certbot-dns-rfc2136 knows upper-case names of algorithms alone, and takes no host name for the server. It follows
    /// no CNAME.
    fn certbot(&self) -> String {
        let Snippet { name, secret, server, domain, .. } = self;
        let (ip, port, algorithm) = (server.ip(), server.port(), self.algorithm.to_ascii_uppercase());
        format!(
            "# /etc/letsencrypt/acmezone.ini, with mode 0600:\n\
             #   certbot certonly --dns-rfc2136 --dns-rfc2136-credentials /etc/letsencrypt/acmezone.ini \
             -d {domain} -d '*.{domain}'\n\
             # certbot follows no CNAME: each domain needs an alias, `acmezone alias add {domain} LABEL`.\n\
             dns_rfc2136_server = {ip}\n\
             dns_rfc2136_port = {port}\n\
             dns_rfc2136_name = {name}.\n\
             dns_rfc2136_secret = {secret}\n\
             dns_rfc2136_algorithm = {algorithm}\n"
        )
    }

    /// With the final dot every version of lego takes the algorithm.
    fn lego(&self) -> String {
        let Snippet { name, algorithm, secret, server, domain, .. } = self;
        format!(
            "# lego --dns rfc2136 --domains {domain} --domains '*.{domain}' ... run\n\
             RFC2136_NAMESERVER={server}\n\
             RFC2136_TSIG_KEY={name}.\n\
             RFC2136_TSIG_SECRET={secret}\n\
             RFC2136_TSIG_ALGORITHM={algorithm}.\n"
        )
    }

    fn cert_manager(&self) -> Result<String, String> {
        let algorithm = match self.algorithm {
            "hmac-sha1" => "HMACSHA1",
            "hmac-sha256" => "HMACSHA256",
            "hmac-sha512" => "HMACSHA512",
            other => return Err(format!("cert-manager has no {other}: make a key with hmac-sha256")),
        };
        let Snippet { name, secret, server, .. } = self;
        Ok(format!(
            "apiVersion: v1\n\
             kind: Secret\n\
             metadata:\n\
            \x20 name: acmezone-tsig\n\
             stringData:\n\
            \x20 secret: \"{secret}\"\n\
             ---\n\
             apiVersion: cert-manager.io/v1\n\
             kind: Issuer\n\
             metadata:\n\
            \x20 name: acmezone\n\
             spec:\n\
            \x20 acme:\n\
            \x20   server: https://acme-v02.api.letsencrypt.org/directory\n\
            \x20   privateKeySecretRef:\n\
            \x20     name: acmezone-account\n\
            \x20   solvers:\n\
            \x20     - dns01:\n\
            \x20         cnameStrategy: Follow\n\
            \x20         rfc2136:\n\
            \x20           nameserver: \"{server}\"\n\
            \x20           tsigKeyName: \"{name}\"\n\
            \x20           tsigAlgorithm: {algorithm}\n\
            \x20           tsigSecretSecretRef:\n\
            \x20             name: acmezone-tsig\n\
            \x20             key: secret\n"
        ))
    }

    /// Caddy follows no CNAME, but can be told where it leads.
    fn caddy(&self) -> String {
        let Snippet { name, algorithm, secret, server, target, domain } = self;
        format!(
            "{domain}, *.{domain} {{\n\
             \ttls {{\n\
             \t\tdns rfc2136 {{\n\
             \t\t\tkey_name \"{name}\"\n\
             \t\t\tkey_alg \"{algorithm}\"\n\
             \t\t\tkey \"{secret}\"\n\
             \t\t\tserver \"{server}\"\n\
             \t\t}}\n\
             \t\tdns_challenge_override_domain {target}\n\
             \t}}\n\
             }}\n"
        )
    }

    fn key_file(&self) -> String {
        let Snippet { name, algorithm, secret, .. } = self;
        format!("key \"{name}\" {{\n\talgorithm {algorithm};\n\tsecret \"{secret}\";\n}};\n")
    }

    fn nsupdate(&self) -> String {
        let (ip, port, target) = (self.server.ip(), self.server.port(), &self.target);
        let mut text = "# acmezone.key, with mode 0600:\n#   nsupdate -k acmezone.key <<END\n".to_owned();
        for line in [&format!("server {ip} {port}"), &format!("update add {target}. 60 TXT VALUE"), "send", "END"] {
            let _ = writeln!(text, "#   {line}");
        }
        text + &self.key_file()
    }

    /// The script asks the system's resolver, too, which does not know the key.
    fn uacme(&self) -> String {
        format!(
            "# /etc/uacme/acmezone.key, with mode 0600. In a copy of /usr/share/uacme/nsupdate.sh set\n\
             #   RNDC_KEY_NSUPDATE=/etc/uacme/acmezone.key\n\
             # and leave RNDC_KEY_DIG empty: dig asks the resolver of the system, which has no such key. The script sends\n\
             # updates to the name server that the SOA record of the zone names, port 53, and follows no CNAME: each domain\n\
             # needs an alias, `acmezone alias add {} LABEL`.\n{}",
            self.domain,
            self.key_file()
        )
    }

    /// The key is in a file beside it: acme.sh's plugin takes its path. No comments: every line is a variable.
    fn proxmox(&self) -> String {
        let (ip, port) = (self.server.ip(), self.server.port());
        format!("NSUPDATE_SERVER={ip}\nNSUPDATE_SERVER_PORT={port}\nNSUPDATE_KEY=/etc/pve/priv/acmezone.key\n")
    }
}

fn is_challenge(name: &Name) -> bool {
    name.labels().next() == Some(crate::zone::ACME_CHALLENGE)
}
