//! `[[zone]]`, and the zone that labels go to.

use super::{after_a_zone, name, read, refused, whole};

#[test]
fn there_is_a_zone() {
    assert_eq!(
        refused(&whole(
            r"version = 1
"
        )),
        r"
error: there is no [[zone]], nothing would be served
 --> acmezone.toml:1:1
  |
1 | version = 1
  | ^
  = help: add a [[zone]] with `origin` and `file` or `nameservers`
"
    );
    assert_eq!(
        refused(&whole(
            r"version = 1
zone = []
"
        )),
        r"
error: there is no [[zone]], nothing would be served
 --> acmezone.toml:1:1
  |
1 | version = 1
  | ^
  = help: add a [[zone]] with `origin` and `file` or `nameservers`
"
    );
}

#[test]
fn an_origin_is_a_domain_name() {
    assert_eq!(
        refused(&whole(
            r#"version = 1
[[zone]]
origin = ""
nameservers = ["ns.test"]
[[zone]]
origin = "a b.test"
nameservers = ["ns.test"]
[[zone]]
origin = "-a.test"
nameservers = ["ns.test"]
[[zone]]
origin = "müller.test"
nameservers = ["ns.test"]
[[zone]]
origin = "192.0.2.1"
nameservers = ["ns.test"]
[[zone]]
origin = "a..test"
nameservers = ["ns.test"]
[[zone]]
origin = "1.2"
nameservers = ["ns.test"]
[[zone]]
origin = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"
nameservers = ["ns.test"]
[[zone]]
origin = "*.test"
nameservers = ["ns.test"]
"#
        )),
        r#"
error: `` is not a domain name: it is empty
 --> acmezone.toml:3:10
  |
3 | origin = ""
  |          ^^

error: `a b.test` is not a domain name: ` ` cannot be part of it
 --> acmezone.toml:6:10
  |
6 | origin = "a b.test"
  |          ^^^^^^^^^^

error: `-a.test` is not a domain name: the label `-a` begins or ends with a hyphen
 --> acmezone.toml:9:10
  |
9 | origin = "-a.test"
  |          ^^^^^^^^^

error: `müller.test` is not a domain name: it has letters outside ASCII
  --> acmezone.toml:12:10
   |
12 | origin = "müller.test"
   |          ^^^^^^^^^^^^^
  = help: write international labels in their A-label form, which begins with `xn--`

error: `192.0.2.1` is not a domain name: it is an IP address
  --> acmezone.toml:15:10
   |
15 | origin = "192.0.2.1"
   |          ^^^^^^^^^^^

error: `a..test` is not a domain name: a label is empty
  --> acmezone.toml:18:10
   |
18 | origin = "a..test"
   |          ^^^^^^^^^

error: `1.2` is not a domain name: the last label is a number
  --> acmezone.toml:21:10
   |
21 | origin = "1.2"
   |          ^^^^^

error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test` is not a domain name: a label is longer than 63 octets
  --> acmezone.toml:24:10
   |
24 | origin = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"
   |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

error: `*.test` is not a domain name: `*` cannot be part of it
  --> acmezone.toml:27:10
   |
27 | origin = "*.test"
   |          ^^^^^^^^
"#
    );
}

#[test]
fn an_origin_is_served_once() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "AUTH.example.org"
file = "good.zone"
"#
        )),
        r#"
error: the zone auth.example.org is there twice
 --> acmezone.toml:7:10
  |
7 | origin = "AUTH.example.org"
  |          ^^^^^^^^^^^^^^^^^^
  = help: the first is in line 4
"#
    );
}

#[test]
fn a_zone_has_either_a_file_or_name_servers() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "b.example.org"
file = "good.zone"
nameservers = ["ns.test"]
[[zone]]
origin = "c.test"
"#
        )),
        r#"
error: [[zone]] has both `file` and `nameservers`
 --> acmezone.toml:6:1
  |
6 | [[zone]]
  | ^^^^^^^^
  = help: name servers are NS records of the file: drop `nameservers`

error: [[zone]] has neither `file` nor `nameservers`
  --> acmezone.toml:10:1
   |
10 | [[zone]]
   | ^^^^^^^^
  = help: add `file = "…"`, a master file, or `nameservers = ["…"]`, from which the SOA and NS are made
"#
    );
}

#[test]
fn name_servers_are_hosts_outside_the_zone() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "_acme-challenge.test"
nameservers = []
"#
        )),
        r"
error: a zone needs a name server
 --> acmezone.toml:8:15
  |
8 | nameservers = []
  |               ^^
  = help: name the host of this server as the parent zone does
"
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "_acme-challenge.test"
nameservers = ["192.0.2.1", "n_s.test", "ns.test", "ns.test."]
"#
        )),
        r#"
error: `192.0.2.1` is not a host name: it is an IP address
 --> acmezone.toml:8:16
  |
8 | nameservers = ["192.0.2.1", "n_s.test", "ns.test", "ns.test."]
  |                ^^^^^^^^^^^

error: `n_s.test` is not a host name: `_` cannot be part of it
 --> acmezone.toml:8:29
  |
8 | nameservers = ["192.0.2.1", "n_s.test", "ns.test", "ns.test."]
  |                             ^^^^^^^^^^

error: the name server ns.test is there twice
 --> acmezone.toml:8:52
  |
8 | nameservers = ["192.0.2.1", "n_s.test", "ns.test", "ns.test."]
  |                                                    ^^^^^^^^^^
  = help: the first is in line 8
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "b.test"
nameservers = ["ns.b.test"]
"#
        )),
        r#"
error: the name server ns.b.test lies in this zone, which has no address for it
 --> acmezone.toml:8:16
  |
8 | nameservers = ["ns.b.test"]
  |                ^^^^^^^^^^^
  = help: take a name outside the zone, or write the zone as a `file`
"#
    );
}

#[test]
fn a_zone_file_that_cannot_be_read_is_shown_where_it_is_named() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[zone]]
origin = "b.test"
file = "zones/none.zone"
"#
        )),
        r#"
error: `zones/none.zone` cannot be read: No such file or directory
 --> acmezone.toml:8:8
  |
8 | file = "zones/none.zone"
  |        ^^^^^^^^^^^^^^^^^
  = help: a path is relative to the folder of this configuration file
"#
    );
}

#[test]
fn problems_of_a_zone_file_are_shown_there() {
    let shown = refused(&after_a_zone(
        r#"colour = 1
[[zone]]
origin = "b.test"
file = "bad.zone"
[[zone]]
origin = "c.test"
file = "latin1.zone"
[[zone]]
origin = "d.test"
file = "empty.zone"
"#,
    ));
    // the messages are the zone reader's own
    let places: Vec<&str> = shown.lines().filter(|line| !line.starts_with("error: ")).collect();
    assert_eq!(
        places.join("\n") + "\n",
        r"
 --> acmezone.toml:6:1
  |
6 | colour = 1
  | ^^^^^^
  = help: known here: `origin`, `file`, `nameservers`

 --> bad.zone:1:12
  |
1 | @ 300 IN A 192.0.2.256
  |            ^^^^^^^^^^^

 --> bad.zone:2:14
  |
2 | www 300 IN A none ; no address
  |              ^^^^

 --> latin1.zone:1:6
  |
1 | ; caf�
  |      ^

 --> empty.zone:1:1
  |
1 |
  | ^

 --> empty.zone:1:1
  |
1 |
  | ^
"
    );
}

#[test]
fn labels_are_registered_in_a_zone_of_this_file() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
zone = "other.test"
"#
        )),
        r#"
error: other.test is not the origin of a [[zone]] of this file
 --> acmezone.toml:7:8
  |
7 | zone = "other.test"
  |        ^^^^^^^^^^^^
  = help: known zones: `auth.example.org`
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
zone = "_acme-challenge.test"
[[zone]]
origin = "_acme-challenge.test"
nameservers = ["ns.test"]
"#
        )),
        r#"
error: labels cannot be registered in the challenge zone _acme-challenge.test
 --> acmezone.toml:7:8
  |
7 | zone = "_acme-challenge.test"
  |        ^^^^^^^^^^^^^^^^^^^^^^
  = help: its values are at its apex, for one domain alone; name a zone that is a host for CNAME targets
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[api]
zone = "a b"
hostname = "_a.test"
"#
        )),
        r#"
error: `a b` is not a domain name: ` ` cannot be part of it
 --> acmezone.toml:7:8
  |
7 | zone = "a b"
  |        ^^^^^

error: `_a.test` is not a host name: `_` cannot be part of it
 --> acmezone.toml:8:12
  |
8 | hostname = "_a.test"
  |            ^^^^^^^^^
"#
    );
}

#[test]
fn the_api_needs_a_zone_for_labels() {
    assert_eq!(
        refused(&whole(
            r#"version = 1
[api]
listen = ["127.0.0.1:0"]
[[zone]]
origin = "_acme-challenge.test"
nameservers = ["ns.test"]
"#
        )),
        r#"
error: the API is on, but there is no zone to register labels in
 --> acmezone.toml:3:11
  |
3 | listen = ["127.0.0.1:0"]
  |           ^^^^^^^^^^^^^
  = help: add a [[zone]] whose origin does not begin with `_acme-challenge`, or write `listen = []`
"#
    );
}

#[test]
fn labels_go_to_the_first_zone_that_is_no_challenge_zone() {
    let challenge = "[[zone]]\norigin = \"_acme-challenge.test\"\nnameservers = [\"ns.test\"]\n";
    let config = read(&format!("version = 1\n{challenge}")).unwrap();
    assert_eq!(config.api.zone, None);
    let config = read(&after_a_zone(challenge)).unwrap();
    assert_eq!(config.api.zone, Some(name("auth.example.org")));
}
