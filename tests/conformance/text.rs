//! TXT records: character-strings of every length and content (RFC 1035 sections 3.3 and 3.3.14).

use crate::support::{Acmezone, Judged, Rcode, Rtype, judge};
use crate::{BOTH, Via, serving};

const HEAD: &str = "$TTL 1h\n@ SOA ns1 hostmaster 7 4h 1h 2w 300\n@ NS ns1\nns1 A 192.0.2.1\n";

/// The character-strings of the one TXT record, as all judges read its octets.
#[track_caller]
fn strings(server: &Acmezone, via: Via, name: &str) -> Vec<Vec<u8>> {
    let Judged { reply, .. } = judge(server.dns, via == Via::Tcp, name, Rtype::TXT);
    assert_eq!(reply.header_rcode(), Rcode::NOERROR);
    let [record] = &reply.answer[..] else { panic!("{:?}", reply.answer) };
    let mut rest = &record.octets[..];
    let mut strings = Vec::new();
    while let [length, tail @ ..] = rest {
        let (string, after) = tail.split_at(usize::from(*length));
        strings.push(string.to_vec());
        rest = after;
    }
    strings
}

fn owned(strings: &[&str]) -> Vec<Vec<u8>> {
    strings.iter().map(|string| string.as_bytes().to_vec()).collect()
}

#[test]
fn strings_of_a_zone_file_are_served_octet_for_octet_rfc1035_3_3_14() {
    let long = "l".repeat(255);
    let many: Vec<String> = (0..200).map(|number| format!("\"{number}\"")).collect();
    let every: String = (0..=255).map(|octet| format!("\\{octet:03}")).collect();
    let (first, second) = every.split_at(4 * 128);
    let mut text =
        format!("{HEAD}empty TXT \"\"\nempties TXT \"\" \"\" \"\"\nlong TXT {long}\nlonger TXT {long} {long}\n");
    text += &format!(
        "many TXT {}\nevery TXT \"{first}\" \"{second}\"\nmixed TXT one \"\" \"t w o\" ;three\n",
        many.join(" ")
    );
    text += "quoted TXT \"\\\"\" \"\\\\\" \";\" \"(\" a\\ b\n";
    let server = serving("", &[("text.test", &text)]);
    for via in BOTH {
        let strings = |part: &str| strings(&server, via, &format!("{part}.text.test"));
        assert_eq!(strings("empty"), owned(&[""]), "one empty string is not no string");
        assert_eq!(strings("empties"), owned(&["", "", ""]));
        assert_eq!(strings("long"), owned(&[&long]));
        assert_eq!(strings("longer"), owned(&[&long, &long]));
        assert_eq!(strings("mixed"), owned(&["one", "", "t w o"]));
        assert_eq!(strings("quoted"), owned(&["\"", "\\", ";", "(", "a b"]));
        assert_eq!(strings("every"), [(0..128).collect::<Vec<u8>>(), (128..=255).collect()]);
        let many = strings("many");
        assert_eq!((many.len(), &many[199][..]), (200, &b"199"[..]));
    }
    // as people see them
    for tcp in [false, true] {
        let Judged { printed, .. } = judge(server.dns, tcp, "empty.text.test", Rtype::TXT);
        assert!(printed.contains("\\# 1 00"), "{printed}");
    }
}

#[test]
fn a_string_of_256_octets_is_not_taken_from_a_zone_file_rfc1035_3_3() {
    let server = serving("", &[("text.test", HEAD)]);
    let file = server.folder().join("text.test.zone");
    std::fs::write(&file, format!("{HEAD}long TXT {}\n", "l".repeat(256))).unwrap();
    let said = server.cli(&["check"]).expect_failure().output();
    assert!(said.contains("255") && said.contains("text.test.zone:5"), "{said}");
}

#[test]
fn values_are_split_into_strings_of_255_octets_rfc1035_3_3() {
    let server = serving("", &[("text.test", HEAD)]);
    for length in [1, 43, 254, 255, 256, 510, 511, 4_096] {
        let label = format!("label{length}");
        server.cli(&["account", "create", "--label", &label]).expect_success();
        let name = format!("{label}.text.test");
        let value: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        server.cli(&["txt", "add", &name, &value]).expect_success();
        // 4,096 octets go over TCP alone
        for via in if length < 1_000 { &BOTH[..] } else { &[Via::Tcp] } {
            let strings = strings(&server, *via, &name);
            let lengths: Vec<_> = strings.iter().map(Vec::len).collect();
            let (whole, last) = (length / 255, length % 255);
            let expected: Vec<_> = [vec![255; whole], vec![last; usize::from(last > 0)]].concat();
            assert_eq!((lengths, strings.concat()), (expected, value.clone().into_bytes()), "{length} octets");
        }
    }
    let cut = judge(server.dns, false, "label4096.text.test", Rtype::TXT).reply;
    assert!(cut.header.tc() && cut.answer.is_empty());
}

#[test]
fn values_of_a_label_join_the_texts_of_the_zone_file_in_one_rrset_rfc2181_5() {
    let mut server = serving("", &[("text.test", HEAD)]);
    let name = "_acme-challenge.www.text.test";
    server.cli(&["txt", "add", name, "put", "written"]).expect_success();
    let file = server.folder().join("text.test.zone");
    std::fs::write(file, format!("{HEAD}_acme-challenge.www TXT written\n")).unwrap();
    server.restart();
    for via in BOTH {
        let reply = judge(server.dns, via == Via::Tcp, name, Rtype::TXT).reply;
        let ttls: Vec<_> = reply.answer.iter().map(|record| record.ttl).collect();
        let mut values = reply.txt_values();
        values.sort();
        assert_eq!(values, ["put", "written"], "RFC 2181 section 5: duplicates are one record");
        assert_eq!(ttls, [1; 2], "RFC 2181 section 5.2: one TTL, the lowest");
    }
}
