//! What a [[certificate]] can have beside its names, and the certificate of the API.

use std::fs;

use super::{after_a_zone, complaints, folder, read, read_in, refused};
use crate::config::{ApiTls, Certificate, Challenge, Config, Files, KeyType, SecretSource, Webhook};

const CA: &str = "[[ca]]\nname = \"one\"\ndirectory = \"https://one.test/dir\"\n";
const CERTIFICATE: &str = "[[certificate]]\nname = \"a\"\nnames = [\"a.test\"]\n";
const LISTEN: &str = "[api]\nlisten = [\"0.0.0.0:443\"]\ntls = \"acme\"\nhostname = \"api.auth.example.org\"\n";

/// One certificate with `keys`, which begin in line 12.
fn with(keys: &str) -> String {
    after_a_zone(&format!("{CA}{CERTIFICATE}{keys}"))
}

fn ca(name: &str, more: &str) -> String {
    format!("[[ca]]\nname = \"{name}\"\ndirectory = \"https://{name}.test/dir\"\n{more}")
}

#[test]
fn a_certificate_with_nothing_more_has_the_defaults() {
    let certificate = read(&with("")).unwrap().certificates.remove(0);
    assert_eq!(certificate, Certificate::new("a".into(), vec!["a.test".into()], vec!["one".into()]));
}

#[test]
fn a_certificate_with_everything() {
    let folder = folder();
    for (name, text) in [("reload", ""), ("p12", "password\n"), ("webhook", "secret\n")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let text = with(
        r#"profile = "shortlived"
challenge = "dns-persist-01"
key_type = "rsa3072"
reuse_key = true
combined = true
pkcs12_password_file = "p12"
owner = "haproxy"
group = "ssl-cert"
deploy = ["keys/../reload", "a b", ""]
deploy_timeout = "1h"
webhook = "https://hook.test/path?query"
webhook_secret_file = "webhook"
[acme]
certs = "certs"
"#,
    );
    let certificate = read_in(folder.path(), &text).unwrap().certificates.remove(0);
    let base = folder.path().canonicalize().unwrap();
    let expected = Certificate {
        profile: Some("shortlived".into()),
        challenge: Challenge::DnsPersist01,
        key_type: KeyType::Rsa3072,
        reuse_key: true,
        files: Files {
            combined: true,
            pkcs12_password_file: Some(base.join("p12")),
            owner: Some("haproxy".into()),
            group: Some("ssl-cert".into()),
        },
        deploy: vec![base.join("reload").to_str().unwrap().into(), "a b".into(), String::new()],
        deploy_timeout: 3_600,
        webhook: Some(Webhook {
            url: "https://hook.test/path?query".into(),
            secret: SecretSource::File(base.join("webhook")),
        }),
        ..Certificate::new("a".into(), vec!["a.test".into()], vec!["one".into()])
    };
    assert_eq!(certificate, expected);
}

#[test]
fn challenges_and_types_of_keys_by_their_names() {
    let read = |keys: &str| read(&with(keys)).unwrap().certificates.remove(0);
    for (name, challenge) in [
        ("dns-01", Challenge::Dns01),
        ("dns-account-01", Challenge::DnsAccount01),
        ("dns-persist-01", Challenge::DnsPersist01),
    ] {
        assert_eq!(read(&format!("challenge = \"{name}\"\n")).challenge, challenge);
    }
    for (name, key_type) in [
        ("p256", KeyType::P256),
        ("p384", KeyType::P384),
        ("rsa2048", KeyType::Rsa2048),
        ("rsa3072", KeyType::Rsa3072),
        ("rsa4096", KeyType::Rsa4096),
    ] {
        assert_eq!(read(&format!("key_type = \"{name}\"\n")).key_type, key_type);
    }
    assert_eq!(
        complaints(&with(
            "challenge = \"http-01\"\nkey_type = \"P256\"\nprofile = \"\"\nreuse_key = 1\ncombined = \"yes\"\n"
        )),
        [
            "12: `http-01` is none of the challenges (known here: `dns-01`, `dns-account-01`, `dns-persist-01`)",
            "13: `P256` is none of the types of keys (did you mean \"p256\"?)",
            "14: a name has 1 to 100 characters, no white space at its ends and no control characters",
            "15: `reuse_key` is `true` or `false`, not a whole number",
            "16: `combined` is `true` or `false`, not a string",
        ]
    );
}

#[test]
fn a_certificate_is_asked_of_cas_in_order() {
    let text = after_a_zone(&format!("{CA}{}{CERTIFICATE}ca = [\"two\", \"one\"]\n", ca("two", "")));
    assert_eq!(read(&text).unwrap().certificates[0].cas, ["two", "one"]);
    assert_eq!(read(&with("ca = [\"one\"]\n")).unwrap().certificates[0].cas, ["one"]);
    assert_eq!(complaints(&with("ca = []\n")), ["12: a certificate needs a CA"]);
    assert_eq!(complaints(&with("ca = 3\n")), ["12: `ca` is a string or a list of strings, not a whole number"]);
    assert_eq!(
        complaints(&with("ca = [\"one\", \"one\", \"two\", true]\n")),
        [
            "12: the CA `one` is there twice (the first is in line 12)",
            "12: there is no [[ca]] with the name `two` (known CAs: `one`)",
            "12: `ca` is a string or a list of strings, not a truth value",
        ]
    );
}

#[test]
fn files_for_others_lie_where_they_can_reach_them() {
    let owned = "owner = \"haproxy\"\ngroup = \"haproxy\"\n";
    assert_eq!(
        refused(&with(owned)),
        r#"
error: `haproxy` could not reach the files: nobody but the server gets into `data_dir`
  --> acmezone.toml:12:9
   |
12 | owner = "haproxy"
   |         ^^^^^^^^^
  = help: with `owner`, set [acme] `certs` to a folder outside of `data_dir`

error: `haproxy` could not reach the files: nobody but the server gets into `data_dir`
  --> acmezone.toml:13:9
   |
13 | group = "haproxy"
   |         ^^^^^^^^^
  = help: with `group`, set [acme] `certs` to a folder outside of `data_dir`
"#
    );
    let refused = |certs: &str| read(&with(&format!("{owned}[acme]\ncerts = \"{certs}\"\n"))).is_err();
    assert!(refused("data/certs") && refused("data") && refused("x/../data/y"));
    assert!(!refused("data-of-certs") && !refused("data/../certs"));
}

#[test]
fn owners_are_names() {
    for (name, why) in [
        ("", "it is empty"),
        ("1000", "it is a number"),
        ("-a", "it begins with a hyphen"),
        ("a:b", "it has white space, `:`, `/` or a control character in it"),
        ("a b", "it has white space, `:`, `/` or a control character in it"),
    ] {
        let expected = format!("12: `{name}` cannot be the name of a user or group: {why}");
        assert_eq!(complaints(&with(&format!("owner = \"{name}\"\n"))), [&*expected]);
        assert_eq!(complaints(&with(&format!("group = \"{name}\"\n"))), [expected]);
    }
}

#[test]
fn the_password_of_a_pkcs12_file_is_in_a_first_line() {
    let help = "a path is relative to the folder of this configuration file";
    let missing = format!("12: `no` cannot be read: No such file or directory ({help})");
    assert_eq!(complaints(&with("pkcs12_password_file = \"no\"\n")), [missing]);
    let empty = "12: `empty.zone` has no password in its first line";
    assert_eq!(complaints(&with("pkcs12_password_file = \"empty.zone\"\n")), [empty]);
}

#[test]
fn a_program_is_a_file_and_no_line_for_a_shell() {
    let path = "a program is named by its path, absolute or relative to the folder of this file";
    let list = "write the program and each argument by itself: `deploy = [\"systemctl\", \"reload\", \"nginx\"]`; \
                no shell reads it";
    for (deploy, why) in [
        ("\"systemctl reload nginx\"", format!("`deploy` is a list of strings, not a string ({list})")),
        ("[\"systemctl reload nginx\"]", format!("there is no program `systemctl reload nginx` ({list})")),
        ("[\"systemctl\", \"reload\"]", format!("there is no program `systemctl` ({path})")),
        ("[\"keys\"]", format!("there is no program `keys` ({path})")),
        ("[\"\"]", "a path cannot be empty".to_owned()),
        ("[\"key.pem\", \"a\\u0000\"]", "a program cannot be given the character NUL".to_owned()),
    ] {
        assert_eq!(complaints(&with(&format!("deploy = {deploy}\n"))), [format!("12: {why}")]);
    }
    let deploy = read(&with("deploy = [\"/bin/sh\", \"-c\", \"true\"]\n")).unwrap().certificates.remove(0).deploy;
    assert_eq!(deploy, ["/bin/sh", "-c", "true"]);
    assert!(read(&with("deploy = []\n")).unwrap().certificates[0].deploy.is_empty());
}

#[test]
fn a_program_runs_for_a_second_to_an_hour() {
    for (timeout, seconds) in [("0", 0), ("3601", 3_601), ("\"61m\"", 3_660)] {
        let expected = format!("12: `deploy_timeout` is from 1 to 3600 seconds, not {seconds}");
        assert_eq!(complaints(&with(&format!("deploy_timeout = {timeout}\n"))), [expected]);
    }
    assert_eq!(read(&with("deploy_timeout = 1\n")).unwrap().certificates[0].deploy_timeout, 1);
}

#[test]
fn a_webhook_is_reached_over_https_or_on_this_host() {
    let secret = "webhook_secret_env = \"SECRET\"\n";
    for url in ["https://hook.test", "http://127.0.0.2:80/x", "http://[::1]/", "http://localhost:8080/"] {
        let webhook = read(&with(&format!("webhook = \"{url}\"\n{secret}"))).unwrap().certificates.remove(0).webhook;
        let secret = SecretSource::Environment("SECRET".into());
        assert_eq!(webhook, Some(Webhook { url: url.into(), secret }));
    }
    let help = "write \"https://host/path\"; `http://` is good enough for 127.0.0.1, [::1] and localhost alone";
    for (url, why) in [
        ("http://hook.test/", "what is told over `http://` can be read on the way"),
        ("http://localhost.hook.test/", "what is told over `http://` can be read on the way"),
        ("ftp://hook.test/", "it does not begin with `https://`"),
        ("hook.test", "it does not begin with `https://`"),
        ("/x", "it does not begin with `https://`"),
        ("https://hook test/", "it is no URL"),
        ("https://u:s3cret@hook.test/", "it has a user name in it"),
        ("https://hook.test/#x", "it has a fragment"),
    ] {
        let text = with(&format!("webhook = \"{url}\"\n{secret}"));
        let expected = format!("12: this is not the URL of a webhook: {why} ({help})");
        assert_eq!(complaints(&text), [expected], "{url}");
        assert!(!refused(&text).contains("s3cret"));
    }
}

#[test]
fn a_webhook_has_one_secret() {
    let url = "webhook = \"https://hook.test\"\n";
    let with = |keys: &str| complaints(&with(keys));
    let help =
        "add `webhook_secret_file = \"webhook.secret\"`, or `webhook_secret_env = \"…\"`, the name of a variable";
    let neither = "has neither `webhook_secret_file` nor `webhook_secret_env`";
    assert_eq!(with(url), [format!("9: [[certificate]] with a `webhook` {neither} ({help})")]);
    let both = "has both `webhook_secret_file` and `webhook_secret_env` (drop one of them)";
    assert_eq!(
        with(&format!("{url}webhook_secret_file = \"key.pem\"\nwebhook_secret_env = \"A\"\n")),
        [format!("9: [[certificate]] with a `webhook` {both}")]
    );
    let empty = "13: `empty.zone` is empty";
    assert_eq!(with(&format!("{url}webhook_secret_file = \"empty.zone\"\n")), [empty]);
    let help = "add `webhook = \"https://…\"`, or drop the secret";
    let alone = format!("12: there is `webhook_secret_env` but no `webhook` ({help})");
    assert_eq!(with("webhook_secret_env = \"A\"\n"), [alone]);
    // who wrote the secret in the place of the variable does not see it again
    let shown = refused(&super::certificate::with(&format!("{url}webhook_secret_env = \"s3cret!\"\n")));
    assert!(shown.contains("\n13 | webhook_secret_env = *********\n"), "{shown}");
}

fn api(config: &Config) -> &str {
    let Some(ApiTls::Acme { certificate }) = &config.api.tls else { panic!("{:?}", config.api.tls) };
    certificate
}

#[test]
fn the_api_has_a_certificate_of_the_embedded_client() {
    let config =
        read(&after_a_zone(&format!("[dns]\ntls_listen = [\"0.0.0.0:853\"]\n{LISTEN}{CA}{CERTIFICATE}"))).unwrap();
    assert_eq!(api(&config), "api.auth.example.org");
    let name = "api.auth.example.org".to_owned();
    assert_eq!(config.certificates[1], Certificate::new(name.clone(), vec![name], vec!["one".into()]));
    assert_eq!(config.certificates.len(), 2);
    assert_eq!(config.api.base_url().as_deref(), Some("https://api.auth.example.org"));
    // the host name in whatever case; it is the zone's own name
    let config = read(&after_a_zone(&format!("[api]\ntls = \"acme\"\nhostname = \"AUTH.Example.org\"\n{CA}"))).unwrap();
    assert_eq!(
        (api(&config), config.certificates[0].names.as_slice()),
        ("auth.example.org", &["auth.example.org".into()][..])
    );
}

#[test]
fn the_api_has_the_certificate_that_is_configured_for_its_name() {
    let own = "[[certificate]]\nname = \"api\"\nnames = [\"API.auth.example.org\"]\nkey_type = \"p384\"\n";
    let config = read(&after_a_zone(&format!("{LISTEN}{CA}{CERTIFICATE}{own}"))).unwrap();
    assert_eq!((api(&config), config.certificates.len()), ("api", 2));
    let other = "[[certificate]]\nname = \"api.auth.example.org\"\nnames = [\"api.auth.example.org\", \"a.test\"]\n";
    let help = "give that [[certificate]] another `name`, or `names = [\"api.auth.example.org\"]`";
    let expected = "8: the certificate `api.auth.example.org` is not that of the API: it has other names";
    assert_eq!(complaints(&after_a_zone(&format!("{LISTEN}{CA}{other}"))), [format!("{expected} ({help})")]);
}

#[test]
fn the_certificate_of_the_api_is_of_every_ca_that_is_no_rehearsal() {
    let cas = [ca("one", "rehearsal = \"two\"\n"), ca("two", ""), ca("three", "")].concat();
    let config = read(&after_a_zone(&format!("{LISTEN}{cas}"))).unwrap();
    assert_eq!(config.certificates[0].cas, ["one", "three"]);
}

#[test]
fn the_api_needs_a_name_here_and_a_ca_for_its_certificate() {
    let acme = "[api]\ntls = \"acme\"\n";
    let no_ca = "there is no [[ca]] to ask for the certificate of the API \
                 (add a [[ca]] with `name`, `directory` and `contact`)";
    assert_eq!(
        complaints(&after_a_zone(acme)),
        [
            "7: `tls = \"acme\"` needs `hostname`, the name that the certificate is for \
             (add `hostname = \"api.auth.example.org\"`, a name in a zone of this file)",
            &format!("7: {no_ca}"),
        ]
    );
    assert_eq!(
        complaints(&after_a_zone(&format!("{acme}hostname = \"api.example.org\"\n{CA}"))),
        ["8: api.example.org is in no [[zone]] of this file, which `tls = \"acme\"` needs \
          (its challenge is answered from here; take a name in one of the known zones: `auth.example.org`)"]
    );
    let wrong = complaints(&after_a_zone(&format!("{acme}hostname = \"a_b.auth.example.org\"\n{CA}")));
    assert_eq!(wrong, ["8: `a_b.auth.example.org` is not a host name: `_` cannot be part of it"]);
    let long = format!("{}.{}.auth.example.org", "a".repeat(50), "b".repeat(50));
    let shown = complaints(&after_a_zone(&format!("{acme}hostname = \"{long}\"\n{CA}")));
    assert_eq!(shown, [format!("8: `{long}` cannot be the name of a folder: it has more than 100 characters")]);
}

#[test]
fn tls_is_acme_or_a_table() {
    let with = |tls: &str| complaints(&after_a_zone(&format!("[api]\nlisten = [\"0.0.0.0:443\"]\ntls = {tls}\n{CA}")));
    let help = "write \"acme\" for one of the embedded ACME client, or `{ certificate = \"…\", private_key = \"…\" }`";
    assert_eq!(with("\"letsencrypt\""), [format!("8: `letsencrypt` is no way to have a certificate ({help})")]);
    assert_eq!(with("true"), ["8: `tls` is a table, not a truth value (write it once, as `[api.tls]`)"]);
}
