//! `[dns]`: connections and DNS over TLS.

use super::{after_a_zone, read, refused};

#[test]
fn dns_over_tls_needs_a_certificate() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
tls_listen = ["0.0.0.0:853"]
"#
        )),
        r#"
error: DNS over TLS on 0.0.0.0:853 needs a certificate
 --> acmezone.toml:7:15
  |
7 | tls_listen = ["0.0.0.0:853"]
  |               ^^^^^^^^^^^^^
  = help: it is that of the API: give [api] `tls = { certificate = "…", private_key = "…" }` or `tls = "acme"`
"#
    );
    let tls = "[api]\ntls = { certificate = \"cert.pem\", private_key = \"key.pem\" }\n";
    let dns = "[dns]\ntls_listen = [\"0.0.0.0:853\", \"[::]:853\"]\n";
    let config = read(&after_a_zone(&format!("{dns}{tls}"))).unwrap();
    assert_eq!(config.dns.tls_listen.len(), 2);
}

#[test]
fn dns_over_tls_has_ports_of_its_own() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
listen = ["127.0.0.1:53"]
tls_listen = ["0.0.0.0:53", "127.0.0.1:853"]
[api]
listen = ["127.0.0.1:853"]
tls = { certificate = "cert.pem", private_key = "key.pem" }
"#
        )),
        r#"
error: [dns] tls_listen on 0.0.0.0:53 and [dns] on 127.0.0.1:53 have the same port
 --> acmezone.toml:8:15
  |
8 | tls_listen = ["0.0.0.0:53", "127.0.0.1:853"]
  |               ^^^^^^^^^^^^
  = help: [dns] is in line 7

error: [api] on 127.0.0.1:853 and [dns] tls_listen on 127.0.0.1:853 have the same port
  --> acmezone.toml:10:11
   |
10 | listen = ["127.0.0.1:853"]
   |           ^^^^^^^^^^^^^^^
  = help: [dns] tls_listen is in line 8
"#
    );
}

#[test]
fn connections_have_bounds() {
    assert_eq!(
        refused(&after_a_zone(
            r"[dns]
tcp_connections = 0
tcp_connections_per_prefix = 65537
"
        )),
        r"
error: `tcp_connections` is from 1 to 65536, not 0
 --> acmezone.toml:7:19
  |
7 | tcp_connections = 0
  |                   ^

error: `tcp_connections_per_prefix` is from 1 to 65536, not 65537
 --> acmezone.toml:8:30
  |
8 | tcp_connections_per_prefix = 65537
  |                              ^^^^^
"
    );
    let config = read(&after_a_zone("[dns]\ntcp_connections = 7\ntcp_connections_per_prefix = 3\n")).unwrap();
    assert_eq!((config.dns.tcp_connections, config.dns.tcp_connections_per_prefix), (7, 3));
}
