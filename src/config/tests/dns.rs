//! What `[dns]` says about cookies and the rate limit.

use super::{after_a_zone, read, refused};

#[test]
fn cookies_and_the_rate_limit_as_written() {
    let text = r#"[dns]
cookie_secret = ["e5e973e5a6b2a43f48e7dc849e37bfcf", "00000000000000000000000000000ABC"]
[dns.rate_limit]
answers_per_second = 0
ipv4_prefix = 32
ipv6_prefix = 48
exempt = ["198.51.100.0/24", "192.0.2.1/32", "2001:db8::/32"]
dry_run = true
"#;
    let dns = read(&after_a_zone(text)).unwrap().dns;
    let secrets: Vec<u128> = dns.cookie_secret.iter().map(|secret| u128::from_be_bytes(*secret.reveal())).collect();
    assert_eq!(secrets, [0xe5e973e5a6b2a43f48e7dc849e37bfcf, 0xabc]);
    let limit = &dns.rate_limit;
    assert_eq!((limit.answers_per_second, limit.ipv4_prefix, limit.ipv6_prefix, limit.dry_run), (0, 32, 48, true));
    let exempt: Vec<String> = limit.exempt.iter().map(ToString::to_string).collect();
    assert_eq!(exempt, ["198.51.100.0/24", "192.0.2.1/32", "2001:db8::/32"]);
    assert!(!format!("{dns:?}").contains("e5") && !format!("{dns:?}").contains("229"), "{dns:?}");
    let none = read(&after_a_zone("[dns]\nrate_limit = { exempt = [] }\n")).unwrap().dns;
    assert!(none.rate_limit.exempt.is_empty() && none.rate_limit.answers_per_second == 1_000);
}

#[test]
fn a_cookie_secret_is_32_hexadecimal_digits() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns]
cookie_secret = [
  "abc",
  "+5e973e5a6b2a43f48e7dc849e37bfcf",
  "e5e973e5a6b2a43f48e7dc849e37bfcf",
  "E5E973e5a6b2a43f48e7dc849e37bfcf",
]
"#
        )),
        r#"
error: there are 4 cookie secrets
 --> acmezone.toml:7:17
  |
7 | cookie_secret = [
  |                 ^
  = help: at most 3 are of use: the one in use, the one before, the one to come

error: a cookie secret is 32 hexadecimal digits
 --> acmezone.toml:8:3
  |
8 |   *****,
  |   ^^^^^
  = help: make one with `openssl rand -hex 16`, the same for all servers of the zone

error: a cookie secret is 32 hexadecimal digits
 --> acmezone.toml:9:3
  |
9 |   **********************************,
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: make one with `openssl rand -hex 16`, the same for all servers of the zone

error: this cookie secret is there twice
  --> acmezone.toml:11:3
   |
11 |   **********************************,
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: the first is in line 10
"#
    );
}

#[test]
fn rates_and_prefixes_have_bounds() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns.rate_limit]
answers_per_second = -1
ipv4_prefix = 33
ipv6_prefix = "56"
dry_run = 1
slip = 2
"#
        )),
        r#"
error: `answers_per_second` is from 0 to 1000000, not -1
 --> acmezone.toml:7:22
  |
7 | answers_per_second = -1
  |                      ^^

error: `ipv4_prefix` is from 8 to 32, not 33
 --> acmezone.toml:8:15
  |
8 | ipv4_prefix = 33
  |               ^^

error: `ipv6_prefix` is a whole number, not a string
 --> acmezone.toml:9:15
  |
9 | ipv6_prefix = "56"
  |               ^^^^

error: `dry_run` is `true` or `false`, not a whole number
  --> acmezone.toml:10:11
   |
10 | dry_run = 1
   |           ^

error: unknown key `slip` in [dns.rate_limit]
  --> acmezone.toml:11:1
   |
11 | slip = 2
   | ^^^^
  = help: known here: `answers_per_second`, `ipv4_prefix`, `ipv6_prefix`, `exempt`, `dry_run`
"#
    );
}

#[test]
fn exempt_networks_are_networks() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[dns.rate_limit]
exempt = [
  "192.0.2.1",
  "192.0.2.1/24",
  "::ffff:192.0.2.0/120",
  "all",
  "10.0.0.0/8", "10.0.0.0/8",
]
"#
        )),
        r#"
error: `192.0.2.1` is not a network: it has no length of a prefix
 --> acmezone.toml:8:3
  |
8 |   "192.0.2.1",
  |   ^^^^^^^^^^^
  = help: write "192.0.2.1/32"

error: `192.0.2.1/24` is not a network: it has bits beyond its prefix
 --> acmezone.toml:9:3
  |
9 |   "192.0.2.1/24",
  |   ^^^^^^^^^^^^^^
  = help: write "192.0.2.0/24"

error: `::ffff:192.0.2.0/120` is not a network: it is IPv4 in the form of IPv6
  --> acmezone.toml:10:3
   |
10 |   "::ffff:192.0.2.0/120",
   |   ^^^^^^^^^^^^^^^^^^^^^^
  = help: write it as IPv4, such as "192.0.2.0/24"

error: `all` is not a network
  --> acmezone.toml:11:3
   |
11 |   "all",
   |   ^^^^^
  = help: write "192.0.2.0/24" or "2001:db8::/56"

error: the network 10.0.0.0/8 is there twice
  --> acmezone.toml:12:17
   |
12 |   "10.0.0.0/8", "10.0.0.0/8",
   |                 ^^^^^^^^^^^^
  = help: the first is in line 12
"#
    );
}
