//! `[acme]`, and what a [[ca]] can have beside its directory.

use std::fs;

use super::{after_a_zone, complaints, folder, read, read_in, refused};
use crate::config::{Acme, Eab, Limits, SecretSource};

const CA: &str = "[[ca]]\nname = \"one\"\ndirectory = \"https://one.test/dir\"\n";
const OTHER: &str = "[[ca]]\nname = \"two\"\ndirectory = \"https://two.test/dir\"\n";

fn proxy(url: &str) -> String {
    after_a_zone(&format!("[acme]\nproxy = {url:?}\n"))
}

#[test]
fn the_client_as_written() {
    let folder = folder();
    let text = "[acme]\norders = 64\nversions = 1\ncerts = \"keys/../certificates\"\nproxy = \"http://[::1]:3128\"\n";
    let config = read_in(folder.path(), &after_a_zone(text)).unwrap();
    let certs = folder.path().canonicalize().unwrap().join("certificates");
    assert_eq!((config.acme.orders, config.acme.versions), (64, 1));
    assert_eq!((config.certs_dir(), config.acme.certs.as_ref()), (certs.clone(), Some(&certs)));
    assert_eq!(config.acme.proxy.unwrap().url, "http://[::1]:3128");
    let config = read(&after_a_zone("[acme]\n")).unwrap();
    assert_eq!((config.certs_dir(), config.acme), (config.data_dir.join("certs"), Acme::default()));
}

#[test]
fn orders_and_versions_have_bounds() {
    assert_eq!(
        refused(&after_a_zone("[acme]\norders = 0\nversions = 101\ncerts = \"\"\nproxi = 1\n")),
        r#"
error: `orders` is from 1 to 64, not 0
 --> acmezone.toml:7:10
  |
7 | orders = 0
  |          ^

error: `versions` is from 1 to 100, not 101
 --> acmezone.toml:8:12
  |
8 | versions = 101
  |            ^^^

error: a path cannot be empty
 --> acmezone.toml:9:9
  |
9 | certs = ""
  |         ^^

error: unknown key `proxi` in [acme]
  --> acmezone.toml:10:1
   |
10 | proxi = 1
   | ^^^^^
  = help: did you mean `proxy`?
"#
    );
    let shown = complaints(&after_a_zone("[acme]\norders = 65\nversions = 0\n"));
    assert_eq!(shown, ["7: `orders` is from 1 to 64, not 65", "8: `versions` is from 1 to 100, not 0"]);
}

#[test]
fn a_proxy_with_its_credentials() {
    for (written, url, user, password) in [
        ("http://proxy.test:3128", "http://proxy.test:3128", None, ""),
        ("HTTP://192.0.2.1:80/", "http://192.0.2.1:80", None, ""),
        ("http://u:p@proxy.test:3128", "http://proxy.test:3128", Some("u"), "p"),
        ("http://u%40b:%C3%bc%2F%25%3a@proxy.test:1", "http://proxy.test:1", Some("u@b"), "ü/%:"),
        // only the last `@` and the first `:` divide
        ("http://u:a@b:c@[2001:db8::1]:1", "http://[2001:db8::1]:1", Some("u"), "a@b:c"),
        ("http://u:@proxy.test:1", "http://proxy.test:1", Some("u"), ""),
    ] {
        let proxy = read(&proxy(written)).unwrap().acme.proxy.unwrap();
        assert_eq!(proxy.url, url);
        assert!(!format!("{proxy:?}").contains("ü/"), "{proxy:?}");
        let (read_user, read_password) = proxy.credentials.unzip();
        assert_eq!((read_user.as_deref(), read_password.as_deref().map_or("", String::as_str)), (user, password));
    }
}

#[test]
fn what_is_reached_without_the_proxy_is_a_host_with_what_is_below_it_or_an_address() {
    let hosts = "no_proxy = [\"Example.ORG.\", \"192.0.2.1\", \"2001:db8:0::1\"]";
    let text = after_a_zone(&format!("[acme]\nproxy = \"http://proxy.test:3128\"\n{hosts}\n"));
    let proxy = read(&text).unwrap().acme.proxy.unwrap();
    for host in ["example.org", "EXAMPLE.org.", "a.b.example.org", "192.0.2.1", "[2001:db8::1]"] {
        assert!(proxy.spares(host), "{host}");
    }
    for host in ["badexample.org", "org", "example.org.test", "192.0.2.10", "[2001:db8::2]", ""] {
        assert!(!proxy.spares(host), "{host}");
    }
    let shown = complaints(&after_a_zone("[acme]\nno_proxy = [\"a.test:80\", \"b.test\", \"b.test\"]\n"));
    assert_eq!(
        shown,
        [
            "7: `a.test:80` is not a host name: `:` cannot be part of it (write host names, which stand for all names below \
             them too, and IP addresses without a port)",
            "7: the host b.test is there twice (the first is in line 7)"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_proxy_is_told_without_its_password() {
    let example =
        "write \"http://proxy.example.org:3128\", or \"http://user:password@proxy.example.org:3128\"".to_owned();
    let connect = "the proxy is asked to CONNECT over plain HTTP; what goes through is TLS all the way to the CA";
    let encoded = "after the port there is nothing; `/`, `?` and `#` in a password are written as `%2F`, `%3F`, `%23`";
    for (written, why, help) in [
        ("proxy.test:3128", "it does not begin with `http://`", &*example),
        ("https://u:s3cret@proxy.test:3128", "it does not begin with `http://`", connect),
        ("socks5://proxy.test:1080", "it does not begin with `http://`", connect),
        ("http://u:s3cret@proxy.test", "it has no port from 1 to 65535", &example),
        ("http://u:s3cret@proxy.test:65536", "it has no port from 1 to 65535", &example),
        ("http://proxy.test:0", "it has no port from 1 to 65535", &example),
        ("http://u:s3cret@:3128", "it has no host", &example),
        ("http://u:s3cret@pro xy:3128", "what should be a host and a port is none", &example),
        ("http://u:s3cret@::1:3128", "what should be a host and a port is none", &example),
        ("http://u:s3cret@proxy.test:3128/x", "it has more than a host and a port", encoded),
        ("http://u:s3cret/@proxy.test:3128", "it has more than a host and a port", encoded),
        ("http://s3cret@proxy.test:3128", "it has a user name and no password", &example),
        ("http://:s3cret@proxy.test:3128", "its user name is empty", &example),
        ("http://u%3a:s3cret@proxy.test:3128", "its user name has a `:` in it", &example),
        ("http://u:s3cret%0a@proxy.test:3128", "it has control characters", &example),
        ("http://u:s3cret%2@proxy.test:1", "its password has a `%` that is not followed by UTF-8", &example),
        ("http://u:s3cret%+1@proxy.test:1", "its password has a `%` that is not followed by UTF-8", &example),
        ("http://%ff:s3cret@proxy.test:1", "its user name has a `%` that is not followed by UTF-8", &example),
    ] {
        let text = proxy(written);
        assert_eq!(complaints(&text), [format!("7: this is not the URL of a proxy: {why} ({help})")], "{written}");
        assert!(!refused(&text).contains("s3cret"), "{}", refused(&text));
    }
}

/// Not only with the complaint about the URL itself.
#[test]
fn the_password_of_a_proxy_is_never_shown() {
    let text = "version = 1\nacme = { proxy = \"http://u:s3cret@proxy.test:1\", orders = 0 }\n\
                [[zone]]\norigin = \"auth.example.org\"\nfile = \"good.zone\"\n";
    assert_eq!(
        refused(text),
        r#"
error: `orders` is from 1 to 64, not 0
 --> acmezone.toml:2:59
  |
2 | acme = { proxy = ******************************, orders = 0 }
  |                                                           ^
"#
    );
}

#[test]
fn a_ca_as_written() {
    let folder = folder();
    fs::write(folder.path().join("eab.key"), "c2VjcmV0LQ==\n").unwrap();
    let eab = |key: &str| {
        let ca =
            "preferred_chain = \"Root X1\"\nagree_to_terms = false\nlimits = \"letsencrypt\"\nrehearsal = \"two\"\n";
        let text = after_a_zone(&format!("{CA}{ca}eab = {{ key_id = \"kid\", {key} }}\n{OTHER}"));
        read_in(folder.path(), &text).unwrap().cas.remove(0)
    };
    let ca = eab("hmac_key_file = \"eab.key\"");
    assert_eq!((ca.preferred_chain.as_deref(), ca.rehearsal.as_deref()), (Some("Root X1"), Some("two")));
    assert_eq!((ca.agrees_to_terms, ca.limits), (false, Limits::LetsEncrypt));
    let file = folder.path().canonicalize().unwrap().join("eab.key");
    assert_eq!(ca.eab, Some(Eab { key_id: "kid".into(), hmac_key: SecretSource::File(file) }));
    // whether it is set is known to the server alone
    let variable = SecretSource::Environment("ACMEZONE_NO_SUCH_VARIABLE".into());
    let ca = eab("hmac_key_env = \"ACMEZONE_NO_SUCH_VARIABLE\"");
    assert_eq!(ca.eab, Some(Eab { key_id: "kid".into(), hmac_key: variable }));
}

#[test]
fn the_limits_of_lets_encrypt_are_kept_to_at_its_production_directory() {
    let limits = |directory: &str, more: &str| {
        let ca = format!("[[ca]]\nname = \"one\"\ndirectory = \"{directory}\"\n{more}");
        read(&after_a_zone(&ca)).unwrap().cas[0].limits
    };
    let production = "https://acme-v02.api.letsencrypt.org/directory";
    assert_eq!(limits(production, ""), Limits::LetsEncrypt);
    assert_eq!(limits(production, "limits = \"none\"\n"), Limits::None);
    assert_eq!(limits("https://acme-staging-v02.api.letsencrypt.org/directory", ""), Limits::None);
    assert_eq!(limits("https://one.test/dir", "limits = \"letsencrypt\"\n"), Limits::LetsEncrypt);
}

#[test]
fn what_a_ca_has_is_of_the_right_kind() {
    let more = "agree_to_terms = \"yes\"\nlimits = \"lets-encrypt\"\npreferred_chain = \"\"\neab = \"kid\"\n";
    assert_eq!(
        complaints(&after_a_zone(&format!("{CA}{more}"))),
        [
            "9: `agree_to_terms` is `true` or `false`, not a string",
            "10: `lets-encrypt` is none of the limits that are known (did you mean \"letsencrypt\"?)",
            "11: a name has 1 to 100 characters, no white space at its ends and no control characters",
            "12: `eab` is a table, not a string (write it once, as `[ca.eab]`)",
        ]
    );
}

#[test]
fn an_external_account_has_a_key_id_and_a_key() {
    let folder = folder();
    let refused = |eab: &str| {
        let text = after_a_zone(&format!("{CA}eab = {eab}\n"));
        let shown = read_in(folder.path(), &text).unwrap_err();
        let told = shown.lines().filter_map(|line| line.strip_prefix("error: ").or(line.strip_prefix("  = ")));
        assert!(!shown.contains("c2Vj"), "{shown}");
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        refused("{}"),
        [
            "[ca.eab] has no `key_id`",
            "help: add `key_id = \"…\"`",
            "`eab` has neither `hmac_key_file` nor `hmac_key_env`",
            "help: add `hmac_key_file = \"eab.key\"`, or `hmac_key_env = \"…\"`, the name of a variable",
        ]
    );
    fs::write(folder.path().join("eab.key"), "c2VjcmV0").unwrap();
    assert_eq!(
        refused("{ key_id = \"k\", hmac_key_file = \"eab.key\", hmac_key_env = \"A\" }"),
        ["`eab` has both `hmac_key_file` and `hmac_key_env`", "help: drop one of them"]
    );
    assert_eq!(
        refused("{ key_id = \"k\", hmac_key = \"c2VjcmV0\", hmac_key_env = \"c2Vj+mV0\" }"),
        [
            "unknown key `hmac_key` in [ca.eab]",
            "help: known here: `key_id`, `hmac_key_file`, `hmac_key_env`",
            "a variable of the environment has letters, digits and `_` in its name",
            "help: write its name alone, such as \"ACME_HMAC_KEY\", not what is in it",
        ]
    );
    let help =
        "help: the CA tells the HMAC key in base64url (RFC 4648 section 5), which has `-` and `_` for `+` and `/`";
    for (key, why) in [
        ("c2Vjc+V0", "`eab.key` is not base64url but base64 with `+` and `/`"),
        ("c2Vj cmV0", "`eab.key` is not base64url"),
        ("c2VjcmV", "`eab.key` is not base64url"),
    ] {
        fs::write(folder.path().join("eab.key"), key).unwrap();
        assert_eq!(refused("{ key_id = \"k\", hmac_key_file = \"eab.key\" }"), [why, help]);
    }
    fs::write(folder.path().join("eab.key"), " \n").unwrap();
    assert_eq!(refused("{ key_id = \"k\", hmac_key_file = \"eab.key\" }"), ["`eab.key` is empty"]);
    let help = "help: a path is relative to the folder of this configuration file";
    let folder_of_keys = "`keys` cannot be read: Is a directory";
    assert_eq!(refused("{ key_id = \"k\", hmac_key_file = \"keys\" }"), [folder_of_keys, help]);
}

/// Who has an account needs it no more.
#[test]
fn an_hmac_key_that_is_gone_is_worth_a_warning() {
    let folder = folder();
    let text = after_a_zone(&format!("{CA}eab = {{ key_id = \"k\", hmac_key_file = \"eab.key\" }}\n"));
    let config = read_in(folder.path(), &text).unwrap();
    let warnings = config.warnings();
    assert!(
        matches!(warnings.as_slice(), [only] if only.contains("`one`") && only.contains("eab.key")),
        "{warnings:?}"
    );
    fs::write(folder.path().join("eab.key"), "c2VjcmV0").unwrap();
    assert_eq!(config.warnings(), [""; 0]);
}

/// RFC 4648 section 5; some CAs pad their keys.
#[test]
fn an_hmac_key_is_base64url_with_padding_or_without() {
    for text in ["c2VjcmV0LQ", "c2VjcmV0LQ=="] {
        assert_eq!(Eab::decode(text).unwrap().as_slice(), b"secret-");
    }
    assert_eq!(Eab::decode("-_-_").unwrap().as_slice(), [0xfb, 0xff, 0xbf]);
    assert_eq!(Eab::decode("+/+/").unwrap_err(), "is not base64url but base64 with `+` and `/`");
    for text in ["c2VjcmV0LR", "c2Vj=cmV", "c", "ü"] {
        assert_eq!(Eab::decode(text).unwrap_err(), "is not base64url");
    }
    assert_eq!(Eab::decode("").unwrap_err(), "is empty");
}

#[test]
fn a_rehearsal_is_another_ca_without_one() {
    let with = |one: &str, two: &str| {
        complaints(&after_a_zone(&format!("{CA}rehearsal = \"{one}\"\n{OTHER}rehearsal = \"{two}\"\n")))
    };
    assert_eq!(
        with("one", "three"),
        [
            "9: `one` cannot be its own rehearsal (name the [[ca]] of its staging directory)",
            "13: there is no [[ca]] with the name `three` (known CAs: `one`, `two`)",
        ]
    );
    assert_eq!(
        with("two", "one"),
        [
            "9: the rehearsal `two` has a rehearsal itself (drop the `rehearsal` of `two`)",
            "13: the rehearsal `one` has a rehearsal itself (drop the `rehearsal` of `one`)",
        ]
    );
    // a CA whose name is wrong may be the one that is meant
    let unnamed = "[[ca]]\nname = \"\"\ndirectory = \"https://two.test/dir\"\n";
    assert_eq!(complaints(&after_a_zone(&format!("{CA}rehearsal = \"two\"\n{unnamed}"))).len(), 1);
}
