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
