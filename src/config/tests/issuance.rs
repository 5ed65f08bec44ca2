//! `[[ca]]` and `[[certificate]]`.

use super::{after_a_zone, read, refused};

#[test]
fn a_certificate_is_named_as_a_folder_can_be() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
[[certificate]]
name = ""
names = ["a.test"]
[[certificate]]
name = "../x"
names = ["a.test"]
[[certificate]]
name = ".hidden"
names = ["a.test"]
[[certificate]]
name = "a b"
names = ["a.test"]
[[certificate]]
name = "ä"
names = ["a.test"]
[[certificate]]
name = "good"
names = ["a.test"]
[[certificate]]
name = "good"
names = ["a.test"]
"#
        )),
        r#"
error: `` cannot be the name of a folder: it is empty
  --> acmezone.toml:10:8
   |
10 | name = ""
   |        ^^

error: `../x` cannot be the name of a folder: it begins with a dot
  --> acmezone.toml:13:8
   |
13 | name = "../x"
   |        ^^^^^^

error: `.hidden` cannot be the name of a folder: it begins with a dot
  --> acmezone.toml:16:8
   |
16 | name = ".hidden"
   |        ^^^^^^^^^

error: `a b` cannot be the name of a folder: only letters, digits, `.`, `-` and `_` can be part of it
  --> acmezone.toml:19:8
   |
19 | name = "a b"
   |        ^^^^^

error: `ä` cannot be the name of a folder: only letters, digits, `.`, `-` and `_` can be part of it
  --> acmezone.toml:22:8
   |
22 | name = "ä"
   |        ^^^

error: the certificate `good` is there twice
  --> acmezone.toml:28:8
   |
28 | name = "good"
   |        ^^^^^^
  = help: the first is in line 25
"#
    );
}

#[test]
fn names_of_a_certificate_are_domain_names() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
[[certificate]]
name = "a"
names = [
  "test",
  "*.test",
  "a.*.test",
  "*a.test",
  "ok.münchen.test",
  "_a.test",
  "192.0.2.1",
  "::1",
  "a.test.",
  "",
  "a..test",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
  "Good.test",
  "good.TEST",
]
"#
        )),
        r#"
error: `test` is not a name for a certificate: it needs two labels at least
  --> acmezone.toml:12:3
   |
12 |   "test",
   |   ^^^^^^

error: `*.test` is not a name for a certificate: it needs two labels at least
  --> acmezone.toml:13:3
   |
13 |   "*.test",
   |   ^^^^^^^^

error: `a.*.test` is not a name for a certificate: `*` can only be the whole first label
  --> acmezone.toml:14:3
   |
14 |   "a.*.test",
   |   ^^^^^^^^^^

error: `*a.test` is not a name for a certificate: `*` can only be the whole first label
  --> acmezone.toml:15:3
   |
15 |   "*a.test",
   |   ^^^^^^^^^

error: `_a.test` is not a name for a certificate: `_` cannot be part of it
  --> acmezone.toml:17:3
   |
17 |   "_a.test",
   |   ^^^^^^^^^

error: `192.0.2.1` is not a name for a certificate: it is an IP address
  --> acmezone.toml:18:3
   |
18 |   "192.0.2.1",
   |   ^^^^^^^^^^^
  = help: dns-01 proves control of domain names alone

error: `::1` is not a name for a certificate: it is an IP address
  --> acmezone.toml:19:3
   |
19 |   "::1",
   |   ^^^^^
  = help: dns-01 proves control of domain names alone

error: `a.test.` is not a name for a certificate: it ends with a dot
  --> acmezone.toml:20:3
   |
20 |   "a.test.",
   |   ^^^^^^^^^
  = help: write `a.test`

error: `` is not a name for a certificate: it is empty
  --> acmezone.toml:21:3
   |
21 |   "",
   |   ^^

error: `a..test` is not a name for a certificate: a label is empty
  --> acmezone.toml:22:3
   |
22 |   "a..test",
   |   ^^^^^^^^^

error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test` is not a name for a certificate: it is longer than 253 characters
  --> acmezone.toml:23:3
   |
23 |   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

error: the name good.test is there twice
  --> acmezone.toml:25:3
   |
25 |   "good.TEST",
   |   ^^^^^^^^^^^
  = help: the first is in line 24
"#
    );
}

#[test]
fn a_certificate_names_a_known_ca() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[certificate]]
name = "a"
names = ["a.test"]
[[certificate]]
name = "b"
names = ["b.test"]
"#
        )),
        r"
error: there is a [[certificate]] but no [[ca]] to ask for it
 --> acmezone.toml:6:1
  |
6 | [[certificate]]
  | ^^^^^^^^^^^^^^^
  = help: add a [[ca]] with `name`, `directory` and `contact`
"
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
[[ca]]
name = "two"
directory = "https://two.test/dir"
[[certificate]]
name = "a"
names = ["a.test"]
[[certificate]]
name = "b"
names = ["b.test"]
ca = "three"
"#
        )),
        r#"
error: [[certificate]] has no `ca`, and there are several
  --> acmezone.toml:12:1
   |
12 | [[certificate]]
   | ^^^^^^^^^^^^^^^
  = help: add `ca = "…"`; known CAs: `one`, `two`

error: there is no [[ca]] with the name `three`
  --> acmezone.toml:18:6
   |
18 | ca = "three"
   |      ^^^^^^^
  = help: known CAs: `one`, `two`
"#
    );
}

#[test]
fn a_ca_has_a_directory_over_https() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "a"
directory = "http://ca.test/"
[[ca]]
name = "b"
directory = "ca.test/dir"
[[ca]]
name = "c"
directory = "https://"
[[ca]]
name = "d"
directory = "https://u:p@ca.test/"
[[ca]]
name = "e"
directory = "https://ca .test/"
[[ca]]
name = "a"
directory = "https://ca.test"
[[ca]]
name = " "
directory = "https://ca.test"
"#
        )),
        r#"
error: `http://ca.test/` is not the URL of an ACME directory: it does not begin with `https://`
 --> acmezone.toml:8:13
  |
8 | directory = "http://ca.test/"
  |             ^^^^^^^^^^^^^^^^^
  = help: write it as the CA tells, such as "https://acme-v02.api.letsencrypt.org/directory"

error: `ca.test/dir` is not the URL of an ACME directory: it is no URL
  --> acmezone.toml:11:13
   |
11 | directory = "ca.test/dir"
   |             ^^^^^^^^^^^^^
  = help: write it as the CA tells, such as "https://acme-v02.api.letsencrypt.org/directory"

error: `https://` is not the URL of an ACME directory: it is no URL
  --> acmezone.toml:14:13
   |
14 | directory = "https://"
   |             ^^^^^^^^^^
  = help: write it as the CA tells, such as "https://acme-v02.api.letsencrypt.org/directory"

error: `https://u:p@ca.test/` is not the URL of an ACME directory: it has a user name in it
  --> acmezone.toml:17:13
   |
17 | directory = "https://u:p@ca.test/"
   |             ^^^^^^^^^^^^^^^^^^^^^^
  = help: write it as the CA tells, such as "https://acme-v02.api.letsencrypt.org/directory"

error: `https://ca .test/` is not the URL of an ACME directory: it is no URL
  --> acmezone.toml:20:13
   |
20 | directory = "https://ca .test/"
   |             ^^^^^^^^^^^^^^^^^^^
  = help: write it as the CA tells, such as "https://acme-v02.api.letsencrypt.org/directory"

error: the CA `a` is there twice
  --> acmezone.toml:22:8
   |
22 | name = "a"
   |        ^^^
  = help: the first is in line 7

error: a name has 1 to 100 characters, no white space at its ends and no control characters
  --> acmezone.toml:25:8
   |
25 | name = " "
   |        ^^^
"#
    );
}

#[test]
fn contacts_are_mailto_urls() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
"#
        )),
        r#"
error: `a@b.test` is not a `mailto:` URL with one address
 --> acmezone.toml:9:12
  |
9 | contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
  |            ^^^^^^^^^^
  = help: write "mailto:a@b.test"

error: `mailto:a` is not a `mailto:` URL with one address
 --> acmezone.toml:9:24
  |
9 | contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
  |                        ^^^^^^^^^^
  = help: write "mailto:hostmaster@example.org"

error: `tel:1` is not a `mailto:` URL with one address
 --> acmezone.toml:9:36
  |
9 | contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
  |                                    ^^^^^^^
  = help: write "mailto:hostmaster@example.org"

error: `mailto:a@b.test?subject=x` is not a `mailto:` URL with one address
 --> acmezone.toml:9:45
  |
9 | contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
  |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write "mailto:hostmaster@example.org"

error: the contact mailto:a@b.test is there twice
 --> acmezone.toml:9:93
  |
9 | contact = ["a@b.test", "mailto:a", "tel:1", "mailto:a@b.test?subject=x", "mailto:a@b.test", "mailto:a@b.test"]
  |                                                                                             ^^^^^^^^^^^^^^^^^
  = help: the first is in line 9
"#
    );
}

#[test]
fn the_root_of_a_private_ca_is_read() {
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
root = "no.pem"
"#
        )),
        r#"
error: `no.pem` cannot be read: No such file or directory
 --> acmezone.toml:9:8
  |
9 | root = "no.pem"
  |        ^^^^^^^^
  = help: a path is relative to the folder of this configuration file
"#
    );
    assert_eq!(
        refused(&after_a_zone(
            r#"[[ca]]
name = "one"
directory = "https://one.test/dir"
root = "key.pem"
profile = ""
"#
        )),
        r#"
error: `key.pem` holds no certificate
 --> acmezone.toml:9:8
  |
9 | root = "key.pem"
  |        ^^^^^^^^^
  = help: a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`

error: a name has 1 to 100 characters, no white space at its ends and no control characters
  --> acmezone.toml:10:11
   |
10 | profile = ""
   |           ^^
"#
    );
}

#[test]
fn a_certificate_has_one_to_a_hundred_names() {
    let with = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("\"{number}.test\"")).collect();
        let ca = "[[ca]]\nname = \"one\"\ndirectory = \"https://one.test/dir\"\n";
        read(&after_a_zone(&format!("{ca}[[certificate]]\nname = \"a\"\nnames = [\n{}]\n", names.join(",\n"))))
    };
    assert_eq!(with(100).unwrap().certificates[0].names.len(), 100);
    for (count, message) in [(0, "a certificate needs a name"), (101, "a certificate has at most 100 names, not 101")] {
        let shown = with(count).unwrap_err();
        let expected = format!("error: {message}\n  --> acmezone.toml:11:9\n   |\n11 | names = [\n   |         ^\n");
        assert_eq!(shown, expected);
    }
}

#[test]
fn lengths_have_bounds() {
    let with = |folder: usize, label: usize| {
        let labels = ["a".repeat(62), "a".repeat(62), "a".repeat(62), "a".repeat(label), "test".into()];
        read(&after_a_zone(&format!(
            "[[ca]]\nname = \"one\"\ndirectory = \"https://one.test/dir\"\n[[certificate]]\nname = \"{}\"\nnames = [\"{}\"]\n",
            "x".repeat(folder),
            labels.join("."),
        )))
    };
    assert_eq!(with(100, 59).unwrap().certificates[0].names[0].len(), 253);
    let shown = with(101, 60).unwrap_err();
    assert!(shown.contains("` cannot be the name of a folder: it has more than 100 characters\n"), "{shown}");
    assert!(shown.contains("` is not a name for a certificate: it is longer than 253 characters\n"), "{shown}");
    assert!(shown.contains(&format!("\n   | {}{}\n", " ".repeat(7), "^".repeat(103))), "{shown}");
}
