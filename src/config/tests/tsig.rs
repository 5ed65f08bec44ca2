//! `[[tsig_key]]`.

use std::fs;

use super::{after_a_zone, folder, name, read, read_in, refused};
use crate::account::{Grant, Replace, TsigAlgorithm, TsigGrant};
use crate::zone::Label;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg=="; // 0123456789abcdef

#[test]
fn a_key_has_a_name_an_algorithm_a_secret_and_grants() {
    let folder = folder();
    fs::write(folder.path().join("two.key"), format!("{SECRET}\n")).unwrap();
    let text = after_a_zone(&format!(
        "[[tsig_key]]\nname = \"One.example.org.\"\nalgorithm = \"HMAC-SHA256\"\nsecret = \"{SECRET}\"\n\
         labels = [\"a\", \"b\"]\n\
         [[tsig_key]]\nname = \"two\"\nalgorithm = \"hmac-sha1\"\nsecret_file = \"two.key\"\nreplace = \"rfc\"\n\
         below = [\"auth.example.org\"]\n"
    ));
    let keys = read_in(folder.path(), &text).unwrap().tsig_keys;
    assert_eq!(keys.iter().map(|key| &key.name).collect::<Vec<_>>(), [&name("one.example.org"), &name("two")]);
    assert_eq!((keys[0].algorithm, keys[1].algorithm), (TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha1));
    assert!(keys.iter().all(|key| key.secret.reveal() == b"0123456789abcdef"));
    assert_eq!((keys[0].replace, keys[1].replace), (Replace::KeepRecent, Replace::Rfc));
    let zone = name("auth.example.org");
    let label = |label| TsigGrant::Label(Grant { label: Label::parse(label).unwrap(), zone: zone.clone() });
    assert_eq!(keys[0].grants, [label("a"), label("b")]);
    assert_eq!(keys[1].grants, [TsigGrant::Below(zone.clone())]);
}

#[test]
fn nothing_of_a_secret_is_ever_shown() {
    let with_secret = |secret: &str| {
        after_a_zone(&format!(
            "[[tsig_key]]\nname = \"one\"\nalgorithm = \"hmac-sha256\"\nlabels = [\"a\"]\nsecret = \"{secret}\"\n"
        ))
    };
    let config = read(&with_secret(SECRET)).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("TsigSecret(…)") && !shown.contains("0123456789") && !shown.contains(SECRET), "{shown}");
    let whole = "\nerror: `secret` is not a secret in base64\n";
    assert!(refused(&with_secret("not base64")).starts_with(whole));
    let shown = refused(&with_secret("c2hvcnQ="));
    assert!(shown.starts_with("\nerror: `secret` has 40 bits: a secret has at least 128\n"), "{shown}");
    assert!(shown.contains("secret = **********\n") && !shown.contains("c2hvcnQ="), "{shown}");
}

#[test]
fn what_is_wrong_with_a_key_is_told() {
    assert_eq!(
        refused(&after_a_zone(&format!(
            r#"[[tsig_key]]
[[tsig_key]]
name = "a key"
algorithm = "hmac-md5.sig-alg.reg.int"
secret = "{SECRET}"
secret_file = "none.key"
labels = ["Upper"]
replace = "all"
[[tsig_key]]
name = "one"
algorithm = "sha256"
secret_file = "none.key"
below = ["example.com"]
[[tsig_key]]
name = "ONE"
algorithm = "hmac-sha512"
secret = "{SECRET}"
labels = []
"#
        ))),
        r#"
error: [[tsig_key]] has no `name`
 --> acmezone.toml:6:1
  |
6 | [[tsig_key]]
  | ^^^^^^^^^^^^
  = help: add `name = "client.example.org"`

error: [[tsig_key]] has no `algorithm`
 --> acmezone.toml:6:1
  |
6 | [[tsig_key]]
  | ^^^^^^^^^^^^
  = help: add `algorithm = "hmac-sha256"`

error: [[tsig_key]] has neither `secret` nor `secret_file`
 --> acmezone.toml:6:1
  |
6 | [[tsig_key]]
  | ^^^^^^^^^^^^
  = help: make one with `openssl rand -base64 32 > client.key` and add `secret_file = "client.key"`

error: [[tsig_key]] may change nothing
 --> acmezone.toml:6:1
  |
6 | [[tsig_key]]
  | ^^^^^^^^^^^^
  = help: add `labels = ["…"]`, `domains = ["…"]`, or `below = ["…"]` for every challenge name at or below a name

error: [[tsig_key]] has both `secret` and `secret_file`
 --> acmezone.toml:7:1
  |
7 | [[tsig_key]]
  | ^^^^^^^^^^^^
  = help: drop one of them

error: `a key` is not a domain name: ` ` cannot be part of it
 --> acmezone.toml:8:8
  |
8 | name = "a key"
  |        ^^^^^^^

error: `hmac-md5.sig-alg.reg.int` is not available
 --> acmezone.toml:9:13
  |
9 | algorithm = "hmac-md5.sig-alg.reg.int"
  |             ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: write "hmac-sha256", here and in the client's configuration: all clients can do that

error: `none.key` cannot be read: No such file or directory
  --> acmezone.toml:11:15
   |
11 | secret_file = "none.key"
   |               ^^^^^^^^^^
  = help: a path is relative to the folder of this configuration file

error: `Upper` is not a label of 1 to 63 lower-case letters, digits and inner hyphens
  --> acmezone.toml:12:11
   |
12 | labels = ["Upper"]
   |           ^^^^^^^

error: `all` is no way to replace values
  --> acmezone.toml:13:11
   |
13 | replace = "all"
   |           ^^^^^
  = help: write "keep-recent", the default, or "rfc"

error: there is no algorithm `sha256`
  --> acmezone.toml:16:13
   |
16 | algorithm = "sha256"
   |             ^^^^^^^^
  = help: known here: `hmac-sha1`, `hmac-sha256`, `hmac-sha384`, `hmac-sha512`

error: `none.key` cannot be read: No such file or directory
  --> acmezone.toml:17:15
   |
17 | secret_file = "none.key"
   |               ^^^^^^^^^^
  = help: a path is relative to the folder of this configuration file

error: example.com is in no [[zone]] of this file
  --> acmezone.toml:18:10
   |
18 | below = ["example.com"]
   |          ^^^^^^^^^^^^^
  = help: known zones: `auth.example.org`

error: [[tsig_key]] may change nothing
  --> acmezone.toml:19:1
   |
19 | [[tsig_key]]
   | ^^^^^^^^^^^^
  = help: add `labels = ["…"]`, `domains = ["…"]`, or `below = ["…"]` for every challenge name at or below a name

error: the key one is there twice
  --> acmezone.toml:20:8
   |
20 | name = "ONE"
   |        ^^^^^
  = help: the first is in line 15
"#
    );
}
