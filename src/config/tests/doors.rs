//! `[dns]`, `[api]`, `[admin]`, `[resolver]`.

use super::{after_a_zone, read, refused};
use crate::config::Registration;

#[test]
fn listen_addresses_are_addresses_with_ports() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
[admin]
listen = "127.0.0.1"
[resolver]
nameservers = ["dns.example", "127.0.0.1:0"]
"#
        )),
        r#"
error: `127.0.0.1` is not an IP address with a port
 --> acmezone.toml:7:11
  |
7 | listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
  |           ^^^^^^^^^^^
  = help: add the port, such as "127.0.0.1:5300"

error: `::1` is not an IP address with a port
 --> acmezone.toml:7:24
  |
7 | listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
  |                        ^^^^^
  = help: add the port, such as "[::1]:5300"

error: `:53` is not an IP address with a port
 --> acmezone.toml:7:31
  |
7 | listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
  |                               ^^^^^
  = help: for every address of this host write "0.0.0.0:53" and "[::]:53"

error: `localhost:53` is not an IP address with a port
 --> acmezone.toml:7:38
  |
7 | listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
  |                                      ^^^^^^^^^^^^^^
  = help: write "192.0.2.1:53" or "[2001:db8::1]:53"; host names are not looked up here

error: `1.2.3.4:99999` is not an IP address with a port
 --> acmezone.toml:7:54
  |
7 | listen = ["127.0.0.1", "::1", ":53", "localhost:53", "1.2.3.4:99999"]
  |                                                      ^^^^^^^^^^^^^^^
  = help: write "192.0.2.1:53" or "[2001:db8::1]:53"; host names are not looked up here

error: `127.0.0.1` is not an IP address with a port
 --> acmezone.toml:9:10
  |
9 | listen = "127.0.0.1"
  |          ^^^^^^^^^^^
  = help: add the port, such as "127.0.0.1:5300"

error: `dns.example` is not an IP address
  --> acmezone.toml:11:16
   |
11 | nameservers = ["dns.example", "127.0.0.1:0"]
   |                ^^^^^^^^^^^^^
  = help: write "192.0.2.1", "192.0.2.1:5353" or "[2001:db8::1]:5353"

error: `127.0.0.1:0` has port 0, nobody answers there
  --> acmezone.toml:11:31
   |
11 | nameservers = ["dns.example", "127.0.0.1:0"]
   |                               ^^^^^^^^^^^^^
"#
    );
}

#[test]
fn a_dns_server_needs_an_address() {
    assert_eq!(
        refused(&after_a_zone(
            r"[dns]
listen = []
"
        )),
        r"
error: a DNS server needs an address to listen on
 --> acmezone.toml:7:10
  |
7 | listen = []
  |          ^^
"
    );
}

#[test]
fn an_address_is_listened_on_once() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen = [
  "127.0.0.1:53",
  "[::1]:53", "127.0.0.1:53",
]
[api]
listen = ["127.0.0.1:80", "127.0.0.1:80"]
[resolver]
nameservers = ["192.0.2.1", "192.0.2.1:53"]
"#
        )),
        r#"
error: the address 127.0.0.1:53 is there twice
 --> acmezone.toml:9:15
  |
9 |   "[::1]:53", "127.0.0.1:53",
  |               ^^^^^^^^^^^^^^
  = help: the first is in line 8

error: the address 127.0.0.1:80 is there twice
  --> acmezone.toml:12:27
   |
12 | listen = ["127.0.0.1:80", "127.0.0.1:80"]
   |                           ^^^^^^^^^^^^^^
  = help: the first is in line 12

error: the resolver 192.0.2.1:53 is there twice
  --> acmezone.toml:14:29
   |
14 | nameservers = ["192.0.2.1", "192.0.2.1:53"]
   |                             ^^^^^^^^^^^^^^
  = help: the first is in line 14
"#
    );
}

#[test]
fn two_doors_do_not_share_a_port() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
listen = ["127.0.0.1:8054"]
"#
        )),
        r#"
error: [admin] on 127.0.0.1:8054 and [api] on 127.0.0.1:8054 have the same port
 --> acmezone.toml:7:11
  |
7 | listen = ["127.0.0.1:8054"]
  |           ^^^^^^^^^^^^^^^^
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
listen = ["127.0.0.2:80"]
[admin]
listen = "127.0.0.1:80"
"#
        )),
        r#"
error: [admin] on 127.0.0.1:80 and [api] on 127.0.0.2:80 have the same port
 --> acmezone.toml:9:10
  |
9 | listen = "127.0.0.1:80"
  |          ^^^^^^^^^^^^^^
  = help: [api] is in line 7
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen = ["0.0.0.0:53", "127.0.0.2:54"]
[api]
listen = ["127.0.0.1:53", "127.0.0.1:54"]
"#
        )),
        r#"
error: [api] on 127.0.0.1:53 and [dns] on 0.0.0.0:53 have the same port
 --> acmezone.toml:9:11
  |
9 | listen = ["127.0.0.1:53", "127.0.0.1:54"]
  |           ^^^^^^^^^^^^^^
  = help: [dns] is in line 7
"#
    );
}

#[test]
fn the_api_needs_tls_on_an_address_that_is_not_loopback() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
listen = ["127.0.0.1:80", "0.0.0.0:80"]
"#
        )),
        r#"
error: the API on 0.0.0.0:80 would send credentials in plain text
 --> acmezone.toml:7:27
  |
7 | listen = ["127.0.0.1:80", "0.0.0.0:80"]
  |                           ^^^^^^^^^^^^
  = help: give [api] `tls = { certificate = "…", private_key = "…" }` or `tls = "acme"`; or write `allow_plaintext = true` if a proxy on a trusted network speaks TLS in front of it
"#
    );
}

#[test]
fn tls_files_are_read() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
tls = { certificate = "no.pem", private_key = "no.pem" }
"#
        )),
        r#"
error: `no.pem` cannot be read: No such file or directory
 --> acmezone.toml:7:23
  |
7 | tls = { certificate = "no.pem", private_key = "no.pem" }
  |                       ^^^^^^^^
  = help: a path is relative to the folder of this configuration file

error: `no.pem` cannot be read: No such file or directory
 --> acmezone.toml:7:47
  |
7 | tls = { certificate = "no.pem", private_key = "no.pem" }
  |                                               ^^^^^^^^
  = help: a path is relative to the folder of this configuration file
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
tls = { certificate = "key.pem", private_key = "cert.pem" }
"#
        )),
        r#"
error: `key.pem` holds no certificate
 --> acmezone.toml:7:23
  |
7 | tls = { certificate = "key.pem", private_key = "cert.pem" }
  |                       ^^^^^^^^^
  = help: a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`

error: `cert.pem` holds no private key
 --> acmezone.toml:7:48
  |
7 | tls = { certificate = "key.pem", private_key = "cert.pem" }
  |                                                ^^^^^^^^^^
  = help: a private key in PEM begins with `-----BEGIN PRIVATE KEY-----`
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api.tls]
certificate = "broken.pem"
private_key = "keys"
"#
        )),
        r#"
error: `broken.pem` is not PEM: base64 decode error: InvalidCharacter(37)
 --> acmezone.toml:7:15
  |
7 | certificate = "broken.pem"
  |               ^^^^^^^^^^^^
  = help: a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`

error: `keys` cannot be read: Is a directory
 --> acmezone.toml:8:15
  |
8 | private_key = "keys"
  |               ^^^^^^
  = help: a path is relative to the folder of this configuration file
"#
    );
}

#[test]
fn the_admin_api_is_for_loopback() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[admin]
listen = "0.0.0.0:8054"
"#
        )),
        r#"
error: the admin API listens on loopback alone, and 0.0.0.0:8054 is not loopback
 --> acmezone.toml:7:10
  |
7 | listen = "0.0.0.0:8054"
  |          ^^^^^^^^^^^^^^
  = help: write "127.0.0.1:8054" or "[::1]:8054"; from elsewhere reach it through an SSH tunnel
"#
    );
}

#[test]
fn the_address_of_the_api_for_clients_is_its_host_name_else_its_first_address() {
    let plain = "allow_plaintext = true\n";
    let tls = "tls = { certificate = \"cert.pem\", private_key = \"key.pem\" }\n";
    let named = "hostname = \"api.example.org\"\n";
    for (listen, more, url) in [
        ("127.0.0.1:8053", "", Some("http://127.0.0.1:8053")),
        ("[::1]:443", tls, Some("https://[::1]:443")),
        ("0.0.0.0:8053", plain, None),
        ("127.0.0.1:0", "", None),
        // a proxy in front speaks TLS on the usual port
        ("127.0.0.1:8053", named, Some("https://api.example.org")),
        ("0.0.0.0:443", &[named, tls].concat(), Some("https://api.example.org")),
        ("0.0.0.0:8443", &[named, tls].concat(), Some("https://api.example.org:8443")),
    ] {
        let config = read(&after_a_zone(&format!("[api]\nlisten = [\"{listen}\"]\n{more}"))).unwrap();
        assert_eq!(config.api.base_url().as_deref(), url, "{listen} {more}");
    }
}

#[test]
fn registration_is_closed_open_or_by_token() {
    for (written, meant) in
        [("closed", Registration::Closed), ("token", Registration::Token), ("open", Registration::Open)]
    {
        let config = read(&after_a_zone(&format!("[api]\nregistration = \"{written}\"\n"))).unwrap();
        assert_eq!(config.api.registration, meant);
    }
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
registration = "opened"
"#
        )),
        r#"
error: `opened` is no way to register
 --> acmezone.toml:7:16
  |
7 | registration = "opened"
  |                ^^^^^^^^
  = help: did you mean "open"?
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
registration = "everybody"
"#
        )),
        r#"
error: `everybody` is no way to register
 --> acmezone.toml:7:16
  |
7 | registration = "everybody"
  |                ^^^^^^^^^^^
  = help: write "closed", "token" or "open"
"#
    );
}

#[test]
fn durations_have_units_and_bounds() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
negative_ttl = "1 s"
txt_ttl = "2d"
value_lifetime = "99999999999999999999d"
"#
        )),
        r#"
error: `1 s` is not a duration
 --> acmezone.toml:7:16
  |
7 | negative_ttl = "1 s"
  |                ^^^^^
  = help: write a whole number and s, m, h or d, such as "90s" or "7d"

error: `txt_ttl` is from 0 to 86400 seconds, not 172800
 --> acmezone.toml:8:11
  |
8 | txt_ttl = "2d"
  |           ^^^^

error: `99999999999999999999d` is not a duration
 --> acmezone.toml:9:18
  |
9 | value_lifetime = "99999999999999999999d"
  |                  ^^^^^^^^^^^^^^^^^^^^^^^
  = help: write a whole number and s, m, h or d, such as "90s" or "7d"
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r"[dns]
negative_ttl = -1
txt_ttl = 99999999999999999999
value_lifetime = 0
"
        )),
        r"
error: `negative_ttl` cannot be negative
 --> acmezone.toml:7:16
  |
7 | negative_ttl = -1
  |                ^^

error: 99999999999999999999 is too large a number
 --> acmezone.toml:8:11
  |
8 | txt_ttl = 99999999999999999999
  |           ^^^^^^^^^^^^^^^^^^^^

error: `value_lifetime` is from 60 to 315360000 seconds, not 0
 --> acmezone.toml:9:18
  |
9 | value_lifetime = 0
  |                  ^
"
    );
}

#[test]
fn plain_text_can_be_allowed() {
    let config = read(&after_a_zone("[api]\nlisten = [\"0.0.0.0:80\"]\nallow_plaintext = true\n")).unwrap();
    assert!(config.api.allow_plaintext);
}
