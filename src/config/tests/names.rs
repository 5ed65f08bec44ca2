//! Which names a certificate can have.

use super::{after_a_zone, complaints, read, refused};

const CERTIFICATE: &str =
    "[[ca]]\nname = \"one\"\ndirectory = \"https://one.test/dir\"\n[[certificate]]\nname = \"a\"\n";

fn with(names: &[&str]) -> String {
    after_a_zone(&format!("{CERTIFICATE}names = [\"{}\"]\n", names.join("\", \"")))
}

#[test]
fn international_names_become_a_labels() {
    for (written, name) in [
        ("münchen.test", "xn--mnchen-3ya.test"),
        ("*.MÜNCHEN.Test", "*.xn--mnchen-3ya.test"),
        // as one letter and as two characters
        ("mu\u{308}nchen.test", "xn--mnchen-3ya.test"),
        ("XN--MNCHEN-3YA.test", "xn--mnchen-3ya.test"),
        ("straße.test", "xn--strae-oqa.test"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("дом.test", "xn--d1aqf.test"),
        ("א.ü.test", "xn--4db.xn--tda.test"),
        ("ab--cd.ü.test", "ab--cd.xn--tda.test"),
        // letters and full stops of other widths
        ("ａ。test", "a.test"),
    ] {
        assert_eq!(read(&with(&[written])).unwrap().certificates[0].names, [name], "{written}");
    }
}

#[test]
fn what_is_wrong_with_an_international_name_is_told() {
    for (written, why) in [
        ("ü b.test", "U+0020 cannot be part of it"),
        ("ü_.test", "`_`, U+005F cannot be part of it"),
        ("\u{2488}.test", "`\u{2488}`, U+2488 cannot be part of it"),
        ("a\u{200d}b.test", "U+200D cannot be part of it"),
        ("xn--a.test", "the label `xn--a` begins with `xn--` and is the A-label of nothing"),
        ("xn--.test", "the label `xn--` begins with `xn--` and is the A-label of nothing"),
        // an upper case letter, which an A-label does not have
        ("xn--mnchen-psa.test", "the label `xn--mnchen-psa` begins with `xn--` and is the A-label of nothing"),
        ("-ü.test", "the label `-ü` has hyphens at its ends, or as its third and fourth character"),
        ("ab--ü.test", "the label `ab--ü` has hyphens at its ends, or as its third and fourth character"),
        ("\u{301}a.test", "the label `\u{301}a` begins with a mark that belongs to a letter before it"),
        ("aא.test", "the label `aא` is not of one direction of writing (RFC 5893)"),
        ("1.אב.test", "its labels are not of one direction of writing (RFC 5893)"),
        ("ü.*.test", "`*` can only be the whole first label"),
        ("ü", "it needs two labels at least"),
        ("１.２.３.４", "it is an IP address (dns-01 proves control of domain names alone)"),
        ("ü.test。", "it ends with a dot (write `xn--tda.test`)"),
    ] {
        assert_eq!(complaints(&with(&[written])), [format!("11: `{written}` is not a name for a certificate: {why}")]);
    }
    let long = "ü".repeat(60);
    let shown = complaints(&with(&[&format!("{long}.test")]));
    assert!(shown[0].ends_with("a label is longer than 63 octets") && shown.len() == 1, "{shown:?}");
}

#[test]
fn a_name_is_there_once_however_it_is_written() {
    assert_eq!(
        refused(&after_a_zone(&format!("{CERTIFICATE}names = [\n\"xn--mnchen-3ya.test\",\n\"München.test\"]\n"))),
        r#"
error: the name xn--mnchen-3ya.test is there twice
  --> acmezone.toml:13:1
   |
13 | "München.test"]
   | ^^^^^^^^^^^^^^
  = help: the first is in line 12
"#
    );
}

/// Let's Encrypt refuses an order with such names.
#[test]
fn a_name_that_a_wildcard_covers_is_redundant() {
    let names = ["*.b.test", "a.b.test", "b.test", "c.a.b.test", "*.a.b.test", "*.ü.test", "a.xn--tda.test", "d.test"];
    let help = "drop one of them, the wildcard is in line 11: CAs refuse a name that is redundant";
    assert_eq!(
        complaints(&with(&names)),
        [
            format!("11: a.b.test is covered by *.b.test of the same certificate ({help})"),
            format!("11: c.a.b.test is covered by *.a.b.test of the same certificate ({help})"),
            format!("11: a.xn--tda.test is covered by *.xn--tda.test of the same certificate ({help})"),
        ]
    );
    let good = ["*.b.test", "b.test", "d.a.b.test", "*.c.b.test", "ab.test"];
    assert_eq!(read(&with(&good)).unwrap().certificates[0].names, good);
}

/// A registry lets everybody register below them. Names that are in no list, and those that companies have in it, are
/// taken.
#[test]
fn a_wildcard_below_a_public_suffix_is_refused_and_the_suffix_itself_is_worth_a_warning() {
    for (name, shown) in [("*.co.uk", "co.uk"), ("*.COM.AU", "com.au"), ("*.公司.cn", "xn--55qx5d.cn")] {
        let complaints = complaints(&with(&[name]));
        let words = format!("everybody can register names below {shown}");
        assert!(matches!(complaints.as_slice(), [only] if only.contains(&words)), "{complaints:?}");
    }
    let taken = ["*.example.co.uk", "*.corp.internal", "*.intranet.corp", "*.github.io", "example.com"];
    assert_eq!(read(&with(&taken)).unwrap().warnings(), [""; 0]);
    let warnings = read(&with(&["gov.uk", "www.gov.uk"])).unwrap().warnings();
    assert!(matches!(warnings.as_slice(), [only] if only.contains("is for gov.uk,")), "{warnings:?}");
}
