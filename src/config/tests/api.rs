//! What `[api]` says about who may ask, and how much.

use super::{after_a_zone, read, refused};

#[test]
fn trusted_proxies_as_written() {
    let api = read(&after_a_zone("[api]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1/128\"]\n")).unwrap().api;
    let networks: Vec<String> = api.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::1/128"]);
}

#[test]
fn trusted_proxies_are_networks_but_not_the_whole_internet() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
"#
        )),
        r#"
error: `10.0.0.1` is not a network: it has no length of a prefix
 --> acmezone.toml:7:20
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                    ^^^^^^^^^^
  = help: write "10.0.0.1/32"

error: `10.0.0.1/8` is not a network: it has bits beyond its prefix
 --> acmezone.toml:7:32
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                                ^^^^^^^^^^^^
  = help: write "10.0.0.0/8"

error: `0.0.0.0/0` would have every client claim any address
 --> acmezone.toml:7:46
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                                              ^^^^^^^^^^^
  = help: name the addresses of the proxies alone, such as "192.0.2.1/32"

error: `::/0` would have every client claim any address
 --> acmezone.toml:7:59
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                                                           ^^^^^^
  = help: name the addresses of the proxies alone, such as "192.0.2.1/32"

error: `proxy.example` is not a network
 --> acmezone.toml:7:67
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                                                                   ^^^^^^^^^^^^^^^
  = help: write "192.0.2.0/24" or "2001:db8::/56"

error: the network 10.0.0.0/8 is there twice
 --> acmezone.toml:7:98
  |
7 | trusted_proxies = ["10.0.0.1", "10.0.0.1/8", "0.0.0.0/0", "::/0", "proxy.example", "10.0.0.0/8", "10.0.0.0/8"]
  |                                                                                                  ^^^^^^^^^^^^
  = help: the first is in line 7
"#
    );
}

#[test]
fn the_rate_limit_as_written() {
    let text = r#"[api.rate_limit]
requests_per_second = 0
burst = 1
account_updates_per_second = 1
account_burst = 1000000
registrations_per_minute = 3
exempt = ["198.51.100.0/24"]
"#;
    let limit = read(&after_a_zone(text)).unwrap().api.rate_limit;
    assert_eq!((limit.requests_per_second, limit.burst), (0, 1));
    assert_eq!((limit.account_updates_per_second, limit.account_burst), (1, 1_000_000));
    assert_eq!((limit.registrations_per_minute, limit.exempt.len()), (3, 1));
    assert_eq!(limit.exempt[0].to_string(), "198.51.100.0/24");
}

#[test]
fn rates_and_bursts_have_bounds() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api.rate_limit]
requests_per_second = 1.5
burst = 0
account_updates_per_second = -1
account_burst = 1000001
registrations = 10
exempt = ["127.0.0.1"]
"#
        )),
        r#"
error: `requests_per_second` is a whole number, not a number with a fraction
 --> acmezone.toml:7:23
  |
7 | requests_per_second = 1.5
  |                       ^^^

error: `burst` is from 1 to 1000000, not 0
 --> acmezone.toml:8:9
  |
8 | burst = 0
  |         ^

error: `account_updates_per_second` is from 0 to 1000000, not -1
 --> acmezone.toml:9:30
  |
9 | account_updates_per_second = -1
  |                              ^^

error: `account_burst` is from 1 to 1000000, not 1000001
  --> acmezone.toml:10:17
   |
10 | account_burst = 1000001
   |                 ^^^^^^^

error: unknown key `registrations` in [api.rate_limit]
  --> acmezone.toml:11:1
   |
11 | registrations = 10
   | ^^^^^^^^^^^^^
  = help: known here: `requests_per_second`, `burst`, `account_updates_per_second`, `account_burst`, `registrations_per_minute`, `exempt`

error: `127.0.0.1` is not a network: it has no length of a prefix
  --> acmezone.toml:12:11
   |
12 | exempt = ["127.0.0.1"]
   |           ^^^^^^^^^^^
  = help: write "127.0.0.1/32"
"#
    );
}

#[test]
fn proxy_protocol_and_connections_as_written() {
    let text = r#"[api]
trusted_proxies = ["192.0.2.1/32"]
proxy_protocol = true
connections = 7
connections_per_prefix = 65536
"#;
    let api = read(&after_a_zone(text)).unwrap().api;
    assert_eq!((api.proxy_protocol, api.connections, api.connections_per_prefix), (true, 7, 65_536));
}

#[test]
fn the_proxy_protocol_needs_proxies_that_are_trusted() {
    for none in ["", "trusted_proxies = []"] {
        assert_eq!(
            refused(&after_a_zone(&format!("[api]\nproxy_protocol = true\n{none}\n"))),
            r#"
error: the PROXY protocol is believed from trusted proxies alone, and there are none
 --> acmezone.toml:7:18
  |
7 | proxy_protocol = true
  |                  ^^^^
  = help: name them, such as `trusted_proxies = ["192.0.2.1/32"]`
"#
        );
    }
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
trusted_proxies = ["here"]
proxy_protocol = true
connections = 0
connections_per_prefix = "64"
"#
        )),
        r#"
error: `here` is not a network
 --> acmezone.toml:7:20
  |
7 | trusted_proxies = ["here"]
  |                    ^^^^^^
  = help: write "192.0.2.0/24" or "2001:db8::/56"

error: `connections` is from 1 to 65536, not 0
 --> acmezone.toml:9:15
  |
9 | connections = 0
  |               ^

error: `connections_per_prefix` is a whole number, not a string
  --> acmezone.toml:10:26
   |
10 | connections_per_prefix = "64"
   |                          ^^^^
"#
    );
}
