//! `acmezone account export`: what an ACME client wants to have in its files, in the client's own form.
//!
//! The file goes to stdout, so that it can be sent where it belongs; what is to be done with it goes to stderr.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::output::{Output, note, printable};
use crate::api::NewCredential;
use crate::client::Client;
use crate::config::Config;
use crate::zone::Name;

/// Print the credentials of an account as the file or the lines that an ACME client wants
///
/// Each call makes a new credential, because the server keeps only hashes of those that there are; an account has at
/// most 16, and `account rotate` puts one in the place of all. What to do with the output is told on stderr.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  acmezone account export --for lego www --domain example.com
  acmezone account export --for cert-manager www --domain example.com --domain example.net
  acmezone account export --for acme.sh www --server-url https://acme.example.org")]
pub(super) struct Arguments {
    /// The client
    #[arg(long = "for", value_enum, value_name = "CLIENT")]
    client: AcmeClient,
    /// User name, label or full domain name; a label of several is the one that is exported
    account: String,
    /// A domain whose _acme-challenge record points to the account; may be repeated
    #[arg(long = "domain", value_name = "DOMAIN", value_parser = domain)]
    domains: Vec<String>,
    /// Where the client reaches the API
    ///
    /// Default: https:// and `hostname` of [api], else the first address that the API listens on.
    #[arg(long, value_name = "URL", value_parser = server_url)]
    server_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AcmeClient {
    Lego,
    Traefik,
    /// With the plugin certbot-dns-acmedns
    Certbot,
    CertManager,
    Caddy,
    #[value(name = "acme.sh")]
    AcmeSh,
    /// Its plugin AcmeDns
    PoshAcme,
}

/// The domain in the files of an account of which no domain is known.
const PLACEHOLDER: &str = "example.com";

impl Arguments {
    pub(super) async fn run(self, client: &Client, config: &Config, out: &mut Output) -> Result<(), Failure> {
        let Arguments { client: acme_client, account, mut domains, server_url } = self;
        let server = server_url.map_or_else(|| default_server(config), Ok)?;
        let mut seen = std::collections::HashSet::new();
        domains.retain(|domain| seen.insert(domain.clone()));
        let credential = client.mint(&account).await?;
        let export = Export { credential: &credential, server: &server, domains: &domains };
        let files = export.files(acme_client);
        if out.json {
            return Ok(out.pretty_json(&Answer {
                credential: &credential,
                server_url: &server,
                domains: &domains,
                files,
            })?);
        }
        // The first file is the one with the password.
        if let Some(file) = files.first() {
            out.line(file.content.trim_end())?;
        }
        export.instruct(acme_client, &files);
        Ok(())
    }
}

/// With `--json`.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    credential: &'a NewCredential,
    server_url: &'a str,
    domains: &'a [String],
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    name: String,
    content: String,
}

struct Export<'a> {
    credential: &'a NewCredential,
    /// Without a slash at its end.
    server: &'a str,
    /// Without `*.` and `_acme-challenge.`; perhaps none.
    domains: &'a [String],
}

impl Export<'_> {
    fn files(&self, client: AcmeClient) -> Vec<File> {
        let file = |name: &str, content| File { name: name.to_owned(), content };
        match client {
            AcmeClient::Lego | AcmeClient::Traefik => vec![file("acme-dns-accounts.json", self.storage(false))],
            AcmeClient::Certbot => {
                let server = self.server;
                let ini = format!(
                    "# certbot-dns-acmedns with acmezone\ndns_acmedns_api_url = {server}\n\
                     dns_acmedns_registration_file = {CERTBOT_REGISTRATION}\n"
                );
                vec![file("acmedns-registration.json", self.storage(true)), file("acmedns.ini", ini)]
            }
            AcmeClient::CertManager => vec![file("acmezone-secret.yaml", self.cert_manager())],
            AcmeClient::Caddy => vec![file("acmezone.caddy", self.caddy())],
            AcmeClient::AcmeSh => vec![file("acmedns.sh", self.acme_sh())],
            AcmeClient::PoshAcme => vec![file("acmedns.ps1", self.posh_acme())],
        }
    }

    fn domains(&self) -> Vec<&str> {
        let given = self.domains.iter().map(String::as_str);
        if self.domains.is_empty() { vec![PLACEHOLDER] } else { given.collect() }
    }

    /// The JSON storage of goacmedns, which lego and others brought into use: an account by domain.
    fn storage(&self, with_allowfrom: bool) -> String {
        let account = &self.credential.account;
        let mut entry = json!({
            "fulldomain": account.fulldomain,
            "subdomain": account.subdomain,
            "username": account.username,
            "password": account.password,
            "server_url": self.server,
        });
        if with_allowfrom {
            entry["allowfrom"] = json!(account.allowfrom);
        }
        let domains = self.domains().into_iter().map(|domain| (domain.to_owned(), entry.clone()));
        // An object of strings has nothing that cannot be written.
        format!("{:#}\n", Value::Object(domains.collect::<Map<_, _>>()))
    }

    fn cert_manager(&self) -> String {
        let storage: String = self.storage(false).lines().map(|line| format!("    {line}\n")).collect();
        let (name, server) = (self.secret_name(), self.server);
        format!(
            "# In the Issuer or ClusterIssuer:\n\
             #\n\
             # spec:\n\
             #   acme:\n\
             #     solvers:\n\
             #       - dns01:\n\
             #           acmeDNS:\n\
             #             host: \"{server}\"\n\
             #             accountSecretRef:\n\
             #               name: {name}\n\
             #               key: acmedns.json\n\
             apiVersion: v1\n\
             kind: Secret\n\
             metadata:\n\
             \x20 name: {name}\n\
             type: Opaque\n\
             stringData:\n\
             \x20 acmedns.json: |\n\
             {storage}"
        )
    }

    fn secret_name(&self) -> String {
        format!("acmezone-{}", self.credential.account.subdomain)
    }

    fn caddy(&self) -> String {
        let account = &self.credential.account;
        let entry = |indent: &str| {
            let facts = [
                ("username", account.username.to_string()),
                ("password", account.password.clone()),
                ("subdomain", account.subdomain.to_string()),
                ("fulldomain", account.fulldomain.to_string()),
                ("server_url", self.server.to_owned()),
            ];
            // Only the entry of a map of domains knows a full domain.
            let known = facts.into_iter().filter(|(key, _)| !self.domains.is_empty() || *key != "fulldomain");
            known.map(|(key, value)| format!("{indent}{key} {value}\n")).collect::<String>()
        };
        let body = if self.domains.is_empty() {
            entry("\t\t")
        } else {
            let entries =
                self.domains.iter().map(|domain| format!("\t\t\t{domain} {{\n{}\t\t\t}}\n", entry("\t\t\t\t")));
            format!("\t\tconfig {{\n{}\t\t}}\n", entries.collect::<String>())
        };
        format!(
            "# In the block of a site. Caddy must have the module dns.providers.acmedns.\ntls {{\n\tdns acmedns {{\n{body}\t}}\n}}\n"
        )
    }

    fn acme_sh(&self) -> String {
        let account = &self.credential.account;
        format!(
            "# For acme.sh --issue --dns dns_acmedns\n\
             export ACMEDNS_BASE_URL='{}'\n\
             export ACMEDNS_USERNAME='{}'\n\
             export ACMEDNS_PASSWORD='{}'\n\
             export ACMEDNS_SUBDOMAIN='{}'\n",
            self.server, account.username, account.password, account.subdomain
        )
    }

    fn posh_acme(&self) -> String {
        let account = &self.credential.account;
        // Only a host name on the standard port goes without the whole address.
        let host = self.server.strip_prefix("https://").filter(|rest| !rest.contains([':', '/']));
        let server = match host {
            Some(host) => format!("ACMEServer = '{host}'"),
            None => format!("ACMEUri = '{}'", self.server),
        };
        let registrations = self.domains().into_iter().map(|domain| {
            let [subdomain, fulldomain] = [account.subdomain.to_string(), account.fulldomain.to_string()];
            let (username, password) = (account.username, &account.password);
            format!(
                "        '_acme-challenge.{domain}' = @('{subdomain}', '{username}', '{password}', '{fulldomain}')\n"
            )
        });
        format!(
            "# For New-PACertificate with -Plugin AcmeDns -PluginArgs $pArgs\n$pArgs = @{{\n    {server}\n    \
             ACMERegistration = @{{\n{}    }}\n}}\n",
            registrations.collect::<String>()
        )
    }

    /// Says what is to be done with the files.
    fn instruct(&self, client: AcmeClient, files: &[File]) {
        let (account, server) = (&self.credential.account, self.server);
        if let [file, others @ ..] = files {
            note(format_args!(
                "The output holds a password, shown only now. Keep it where only the client can read it (chmod 600), as \
                 {}.",
                file.name
            ));
            for other in others {
                note(format_args!("\nBeside it, {}:\n\n{}", other.name, other.content));
            }
        }
        let first = self.domains().into_iter().next().unwrap_or(PLACEHOLDER);
        let usage = match client {
            AcmeClient::Lego => format!(
                "ACME_DNS_API_BASE={server} ACME_DNS_STORAGE_PATH=FILE lego --dns acme-dns --domains {first} … run"
            ),
            AcmeClient::Traefik => format!(
                "Traefik's environment: ACME_DNS_API_BASE={server} ACME_DNS_STORAGE_PATH=FILE; in the resolver: \
                 dnsChallenge with `provider: acme-dns`."
            ),
            AcmeClient::Certbot => {
                format!("certbot certonly --authenticator dns-acmedns --dns-acmedns-credentials FILE.ini -d {first} …")
            }
            AcmeClient::CertManager => {
                "kubectl apply -f FILE, in the namespace of the Issuer, or in cert-manager's own for a ClusterIssuer. \
                 The solver for the Issuer is in the first lines of the file."
                    .to_owned()
            }
            AcmeClient::Caddy => "Write `import FILE` in the block of a site of the Caddyfile.".to_owned(),
            AcmeClient::AcmeSh => format!(". FILE; acme.sh --issue --dns dns_acmedns -d {first} …"),
            AcmeClient::PoshAcme => {
                format!(". ./FILE; New-PACertificate {first} -Plugin AcmeDns -PluginArgs $pArgs")
            }
        };
        note(format_args!("\n{usage}"));
        note(format_args!("\nIn the zone of each domain there must be this record:"));
        let domains = self.domains.iter().map(String::as_str);
        let domains = if self.domains.is_empty() { vec!["<your domain>"] } else { domains.collect() };
        for domain in domains {
            note(format_args!("  _acme-challenge.{domain}.  IN  CNAME  {}.", account.fulldomain));
        }
        if self.domains.is_empty() && files.iter().any(|file| file.content.contains(PLACEHOLDER)) {
            note(format_args!("\nNo --domain was given: write your domain in the file in place of {PLACEHOLDER}."));
        }
        if let [_, others @ ..] = self.credential.fulldomains.as_slice()
            && !others.is_empty()
        {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            note(format_args!(
                "The account has other names too, to be exported by naming them: {}.",
                others.join(", ")
            ));
        }
        note(format_args!("The account has {} credentials now.", self.credential.credentials));
    }
}

/// Where the INI file looks for the registration.
const CERTBOT_REGISTRATION: &str = "/etc/letsencrypt/acmedns-registration.json";

/// Where clients reach the API, as far as the configuration tells.
fn default_server(config: &Config) -> Result<String, Failure> {
    let unknown = |reason: &str| {
        Failure::Usage(format!(
            "error: {reason}: say with --server-url where the client reaches it, or set `hostname` in [api]"
        ))
    };
    match (config.api.base_url(), config.api.listen.first()) {
        (Some(url), _) => {
            if config.api.hostname.is_none() {
                note(format_args!(
                    "note: the client is told to reach the API at {url}; if it runs elsewhere, say --server-url URL, or \
                     set `hostname` in [api]"
                ));
            }
            Ok(url)
        }
        (None, None) => Err(unknown("the API has no address in the configuration")),
        (None, Some(address)) => Err(unknown(&format!("the API listens on {address}"))),
    }
}

/// A URL of characters that need no quoting in any of the files, without a slash at its end: some clients put `/update`
/// after it.
fn server_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it must begin with https:// or http://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    if !rest.chars().all(plain) {
        return Err("it is scheme, host, port and path, without user, query or fragment".to_owned());
    }
    let parsed = text.parse::<http::Uri>().map_err(|error| error.to_string())?;
    if parsed.host().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A domain as clients key their accounts: of `example.com`, `*.example.com` and `_acme-challenge.example.com.` the first.
fn domain(text: &str) -> Result<String, String> {
    let name = Name::parse(text).map_err(|error| error.to_string())?.to_string().to_ascii_lowercase();
    let name = name.strip_prefix("*.").unwrap_or(&name);
    let name = name.strip_prefix("_acme-challenge.").unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if matches!(name, "." | "_acme-challenge") || !name.chars().all(plain) {
        return Err(format!("`{}` is no domain that a certificate could have", printable(text)));
    }
    Ok(name.to_owned())
}
