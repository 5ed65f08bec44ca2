//! The file as a whole: syntax, keys, types, places.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{after_a_zone, folder, name, read, read_in, refused, whole};
use crate::config::{ApiTls, Config, Registration, TlsFiles, ZoneSource};

#[test]
fn syntax_errors_are_all_shown() {
    assert_eq!(
        refused(&whole(
            r#"version = 1
data_dir = data"
[dns
listen = []
"#
        )),
        r#"
error: missing opening quote, expected `"`
 --> acmezone.toml:2:12
  |
2 | data_dir = data"
  |            ^

error: unclosed table, expected `]`
 --> acmezone.toml:3:5
  |
3 | [dns
  |     ^
"#
    );
    assert_eq!(
        refused(&whole(
            r"version = 1
version = 1
"
        )),
        r"
error: duplicate key
 --> acmezone.toml:2:1
  |
2 | version = 1
  | ^^^^^^^
"
    );
}

#[test]
fn the_caret_stands_under_the_value_after_tabs_and_letters_outside_ascii() {
    assert_eq!(
        refused(&whole(
            "version = 1\n\tresolver = { nameservers = [\"127.0.0.1\", \"größer\",\t\"ü\"] } # ü\n[[zone]]\norigin = \"auth.example.org\"\nfile = \"good.zone\"\n"
        )),
        "\nerror: `größer` is not an IP address\n --> acmezone.toml:2:43\n  |\n2 | \tresolver = { nameservers = [\"127.0.0.1\", \"größer\",\t\"ü\"] } # ü\n  | \t                                         ^^^^^^^^\n  = help: write \"192.0.2.1\", \"192.0.2.1:5353\" or \"[2001:db8::1]:5353\"\n\nerror: `ü` is not an IP address\n --> acmezone.toml:2:53\n  |\n2 | \tresolver = { nameservers = [\"127.0.0.1\", \"größer\",\t\"ü\"] } # ü\n  | \t                                                  \t^^^\n  = help: write \"192.0.2.1\", \"192.0.2.1:5353\" or \"[2001:db8::1]:5353\"\n"
    );
    assert_eq!(
        refused(&whole("\u{feff}version = \"ä\"\r\n[[zone]]\norigin = \"auth.example.org\"\nfile = \"good.zone\"\n")),
        r#"
error: `version` is a whole number, not a string
 --> acmezone.toml:1:11
  |
1 | version = "ä"
  |           ^^^
"#
    );
}

#[test]
fn unknown_keys_are_refused_with_the_likely_one() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen_on = []
negativ_ttl = 1
colour = "red"
[dsn]
[[zones]]
"#
        )),
        r#"
error: unknown key `listen_on` in [dns]
 --> acmezone.toml:7:1
  |
7 | listen_on = []
  | ^^^^^^^^^
  = help: did you mean `listen`?

error: unknown key `negativ_ttl` in [dns]
 --> acmezone.toml:8:1
  |
8 | negativ_ttl = 1
  | ^^^^^^^^^^^
  = help: did you mean `negative_ttl`?

error: unknown key `colour` in [dns]
 --> acmezone.toml:9:1
  |
9 | colour = "red"
  | ^^^^^^
  = help: known here: `listen`, `tls_listen`, `tcp_connections`, `tcp_connections_per_prefix`, `negative_ttl`, `txt_ttl`, `value_lifetime`, `cookie_secret`, `rate_limit`

error: unknown table `dsn`
  --> acmezone.toml:10:2
   |
10 | [dsn]
   |  ^^^
  = help: did you mean `dns`?

error: unknown table `zones`
  --> acmezone.toml:11:3
   |
11 | [[zones]]
   |   ^^^^^
  = help: did you mean `zone`?
"#
    );
    assert_eq!(
        refused(&whole(
            r#"version = 1
data-dir = "x"
[[zone]]
origin = "auth.example.org"
file = "good.zone"
origni = "x"
[api]
tls = { certificate = "cert.pem", private_key = "key.pem", key = "x" }
"#
        )),
        r#"
error: unknown key `data-dir`
 --> acmezone.toml:2:1
  |
2 | data-dir = "x"
  | ^^^^^^^^
  = help: did you mean `data_dir`?

error: unknown key `origni` in [[zone]]
 --> acmezone.toml:6:1
  |
6 | origni = "x"
  | ^^^^^^
  = help: did you mean `origin`?

error: unknown key `key` in [api.tls]
 --> acmezone.toml:8:60
  |
8 | tls = { certificate = "cert.pem", private_key = "key.pem", key = "x" }
  |                                                            ^^^
  = help: known here: `certificate`, `private_key`
"#
    );
}

#[test]
fn wrong_types_are_refused() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen = "127.0.0.1:53"
negative_ttl = 1.5
txt_ttl = [1]
[api]
registration = true
allow_plaintext = "yes"
[[admin]]
listen = "127.0.0.1:1"
[resolver]
nameservers = [53]
"#
        )),
        r#"
error: `listen` is a list of strings, not a string
 --> acmezone.toml:7:10
  |
7 | listen = "127.0.0.1:53"
  |          ^^^^^^^^^^^^^^
  = help: write `listen = ["127.0.0.1:53"]`

error: `negative_ttl` is a duration, not a number with a fraction
 --> acmezone.toml:8:16
  |
8 | negative_ttl = 1.5
  |                ^^^
  = help: write seconds as a number, or a string such as "90s", "10m", "12h", "7d"

error: `txt_ttl` is a duration, not a list
 --> acmezone.toml:9:11
  |
9 | txt_ttl = [1]
  |           ^^^
  = help: write seconds as a number, or a string such as "90s", "10m", "12h", "7d"

error: `registration` is a string, not a truth value
  --> acmezone.toml:11:16
   |
11 | registration = true
   |                ^^^^

error: `allow_plaintext` is `true` or `false`, not a string
  --> acmezone.toml:12:19
   |
12 | allow_plaintext = "yes"
   |                   ^^^^^

error: `admin` is a table, not a list
  --> acmezone.toml:13:1
   |
13 | [[admin]]
   | ^^^^^^^^^
  = help: write it once, as `[admin]`

error: `nameservers` is a list of strings, not a whole number
  --> acmezone.toml:16:16
   |
16 | nameservers = [53]
   |                ^^
"#
    );
    assert_eq!(
        refused(&whole(
            r#"version = "1"
ca = 1979-05-27
[zone]
origin = "x"
"#
        )),
        r#"
error: `version` is a whole number, not a string
 --> acmezone.toml:1:11
  |
1 | version = "1"
  |           ^^^

error: `ca` is a list of tables, not a date
 --> acmezone.toml:2:6
  |
2 | ca = 1979-05-27
  |      ^^^^^^^^^^
  = help: write each one as `[[ca]]`

error: `zone` is a list of tables, not a table
 --> acmezone.toml:3:1
  |
3 | [zone]
  | ^^^^^^
  = help: write each one as `[[zone]]`
"#
    );
}

#[test]
fn missing_keys_are_shown_at_the_header_of_their_table() {
    assert_eq!(
        refused(&whole(
            r#"data_dir = "x"
[[zone]]
file = "good.zone"
[[ca]]
[[certificate]]
[api.tls]
"#
        )),
        r#"
error: `version` is missing
 --> acmezone.toml:1:1
  |
1 | data_dir = "x"
  | ^
  = help: add `version = 1`

error: [[zone]] has no `origin`
 --> acmezone.toml:2:1
  |
2 | [[zone]]
  | ^^^^^^^^
  = help: add `origin = "auth.example.org"`

error: [[ca]] has no `name`
 --> acmezone.toml:4:1
  |
4 | [[ca]]
  | ^^^^^^
  = help: add `name = "letsencrypt"`

error: [[ca]] has no `directory`
 --> acmezone.toml:4:1
  |
4 | [[ca]]
  | ^^^^^^
  = help: add `directory = "https://acme-v02.api.letsencrypt.org/directory"`

error: [[certificate]] has no `name`
 --> acmezone.toml:5:1
  |
5 | [[certificate]]
  | ^^^^^^^^^^^^^^^
  = help: add `name = "example.com"`

error: [[certificate]] has no `names`
 --> acmezone.toml:5:1
  |
5 | [[certificate]]
  | ^^^^^^^^^^^^^^^
  = help: add `names = ["example.com", "*.example.com"]`

error: [api.tls] has no `certificate`
 --> acmezone.toml:6:1
  |
6 | [api.tls]
  | ^^^^^^^^^
  = help: add `certificate = "fullchain.pem"`

error: [api.tls] has no `private_key`
 --> acmezone.toml:6:1
  |
6 | [api.tls]
  | ^^^^^^^^^
  = help: add `private_key = "privkey.pem"`
"#
    );
}

#[test]
fn the_version_says_which_acmezone_is_needed() {
    assert_eq!(
        refused(&whole(
            r"version = 2
new = true
"
        )),
        r"
error: version 2 of the configuration needs a newer acmezone
 --> acmezone.toml:1:11
  |
1 | version = 2
  |           ^
  = help: this is acmezone 0.1.0, which reads version 1: install the acmezone that the file was written for
"
    );
    assert_eq!(
        refused(&whole(
            r"version = 0
"
        )),
        r"
error: there is no version 0 of the configuration
 --> acmezone.toml:1:11
  |
1 | version = 0
  |           ^
  = help: every acmezone up to 0.1.0 reads `version = 1`
"
    );
}

#[test]
fn an_empty_path_is_refused() {
    assert_eq!(
        refused(&whole(
            r#"version = 1
data_dir = ""
[[zone]]
origin = "auth.example.org"
file = "good.zone"
"#
        )),
        r#"
error: a path cannot be empty
 --> acmezone.toml:2:12
  |
2 | data_dir = ""
  |            ^^
"#
    );
}

#[test]
fn what_would_change_the_terminal_is_not_shown() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[resolver]
nameservers = ["\u001b[31m"]
"#
        )),
        r#"
error: `�[31m` is not an IP address
 --> acmezone.toml:7:16
  |
7 | nameservers = ["\u001b[31m"]
  |                ^^^^^^^^^^^^
  = help: write "192.0.2.1", "192.0.2.1:5353" or "[2001:db8::1]:5353"
"#
    );
    assert_eq!(
        refused(&whole("version = 1 # \x1b[31m\n")),
        r"
error: invalid comment character, expected printable characters
 --> acmezone.toml:1:15
  |
1 | version = 1 # �[31m
  |               ^
"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_said_so() {
    let folder = folder();
    let error = Config::read(&folder.path().join("none.toml")).unwrap_err().to_string();
    let path = folder.path().display();
    assert_eq!(error, format!("error: cannot be read: No such file or directory\n --> {path}/none.toml\n"));

    fs::write(folder.path().join("latin1.toml"), b"version = 1\n# caf\xe9 \xe9\n").unwrap();
    let error = Config::read(&folder.path().join("latin1.toml")).unwrap_err().to_string();
    assert!(error.contains("latin1.toml:2:6\n  |\n2 | # caf\u{fffd} \u{fffd}\n  |      ^\n"), "{error}");
}

#[test]
fn a_byte_order_mark_is_no_column() {
    let folder = folder();
    fs::write(folder.path().join("latin1.toml"), b"\xef\xbb\xbf# caf\xe9\n").unwrap();
    let error = Config::read(&folder.path().join("latin1.toml")).unwrap_err().to_string();
    assert!(error.contains("latin1.toml:1:6\n  |\n1 | # caf\u{fffd}\n  |      ^\n"), "{error}");
    fs::write(folder.path().join("bad.zone"), "\u{feff}@ 300 IN A none\n").unwrap();
    let text = "version = 1\n[[zone]]\norigin = \"auth.example.org\"\nfile = \"bad.zone\"\n";
    let error = read_in(folder.path(), text).unwrap_err();
    assert!(error.contains("bad.zone:1:12\n  |\n1 | @ 300 IN A none\n  |            ^^^^\n"), "{error}");
}

#[test]
fn everything_is_read() {
    let folder = folder();
    let config = read_in(
        folder.path(),
        r#"
            version = 1
            data_dir = "state"
            dns = { listen = ["127.0.0.1:0", "127.0.0.1:0"], negative_ttl = "2s", txt_ttl = 0, value_lifetime = "12h" }
            resolver.nameservers = ["192.0.2.1", "::1", "[::1]:5353"]
            [api]
            listen = ["0.0.0.0:443", "[::ffff:127.0.0.1]:80"]
            registration = "open"
            zone = "AUTH.example.org."
            hostname = "Api.elsewhere.test"
            tls = { certificate = "cert.pem", private_key = "key.pem" }
            [admin]
            listen = "[::1]:0"
            [[zone]]
            origin = "_acme-challenge.example.net"
            nameservers = ["ns1.auth.example.org"]
            [[zone]]
            origin = "other.test"
            nameservers = ["ns1.auth.example.org"]
            [[zone]]
            origin = "Auth.Example.org"
            file = "good.zone"
            [[ca]]
            name = "Private CA"
            directory = "https://[::1]:14000/dir"
            contact = ["mailto:hostmaster@example.org"]
            root = "cert.pem"
            profile = "short"
            [[certificate]]
            name = "example.com"
            names = ["Example.com", "*.xn--mnchen-3ya.test"]
        "#,
    )
    .unwrap();
    assert_eq!(config.data_dir, folder.path().join("state"));
    assert_eq!(config.dns.listen, ["127.0.0.1:0".parse().unwrap(); 2]);
    assert_eq!((config.dns.negative_ttl, config.dns.txt_ttl, config.dns.value_lifetime), (2, 0, 43_200));
    let expected: Vec<SocketAddr> =
        ["192.0.2.1:53", "[::1]:53", "[::1]:5353"].iter().map(|address| address.parse().unwrap()).collect();
    assert_eq!(config.resolver.nameservers, expected);
    assert_eq!(config.api.registration, Registration::Open);
    assert_eq!(config.api.zone, Some(name("auth.example.org")));
    assert_eq!(config.api.hostname, Some(name("api.elsewhere.test")));
    assert_eq!(
        config.api.tls,
        Some(ApiTls::Files(TlsFiles {
            certificate: folder.path().join("cert.pem"),
            private_key: folder.path().join("key.pem"),
        }))
    );
    assert_eq!(config.admin.listen, "[::1]:0".parse().unwrap());
    assert_eq!(config.zones[0].source, ZoneSource::Nameservers(vec![name("ns1.auth.example.org")]));
    assert!(config.zones[0].zone.is_challenge_zone());
    assert_eq!(config.zones[2].source, ZoneSource::File(folder.path().join("good.zone")));
    assert_eq!(config.cas[0].root, Some(folder.path().join("cert.pem")));
    assert_eq!(config.cas[0].profile.as_deref(), Some("short"));
    assert_eq!(config.certificates[0].cas, ["Private CA"]);
    assert_eq!(config.certificates[0].names, ["example.com", "*.xn--mnchen-3ya.test"]);
}

#[test]
fn an_absolute_path_is_kept() {
    let config = read(&after_a_zone("").replacen('\n', "\ndata_dir = \"/var/lib/acmezone\"\n", 1)).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/acmezone"));
}
