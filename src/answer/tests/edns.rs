//! The OPT record of answers.

use super::*;

const NAME: &str = "account.auth.example.org";

/// An A record with this owner, that has no place in a query.
fn with_answer(mut packet: Vec<u8>) -> Vec<u8> {
    packet[7] += 1;
    packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    packet
}

/// The question as it came and OPT, with DO as it came: nothing else tells the sender that its EDNS was understood.
#[test]
fn a_format_error_has_an_opt_record_where_the_query_has_one_rfc6891_7() {
    let live = live();
    let plain = query(NAME, TXT);
    let dnssec_ok = 0x8000;
    let opt = |packet: Vec<u8>| with_opt(packet, 1232, dnssec_ok, &[]);
    let mut named = opt(plain.clone());
    let at = plain.len();
    named.splice(at..=at, [1, b'x', 0]);
    for (what, packet) in [
        ("an option longer than all of them", with_opt(plain.clone(), 1232, dnssec_ok, &[0, 100, 0, 9, 1])),
        ("half an option", with_opt(plain.clone(), 1232, dnssec_ok, &[0, 100, 0])),
        ("a cookie of three octets", with_opt(plain.clone(), 1232, dnssec_ok, &[0, 10, 0, 3, 1, 2, 3])),
        ("two OPT records", opt(opt(plain.clone()))),
        ("an OPT record that is not the root's", named),
        ("an answer in a query", opt(with_answer(plain.clone()))),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = raw(&live, &packet, transport).unwrap();
            let said = read(&reply);
            assert_eq!((said.rcode, said.aa, said.opt), (1, false, true), "{what}");
            assert_eq!(reply[12..plain.len()], plain[12..], "{what}");
            assert_eq!(reply[plain.len()..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0], "{what}");
        }
    }
    let header = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let no_question = raw(&live, &opt(header), Transport::Udp).unwrap();
    assert_eq!((read(&no_question).rcode, read(&no_question).opt, no_question.len()), (1, true, 23));
    let without = raw(&live, &with_answer(plain), Transport::Udp).unwrap();
    assert_eq!((read(&without).rcode, without.len()), (1, 12), "who has sent no OPT record gets none");
}

/// RFC 8914 section 4: with REFUSED, to whom has sent an OPT record, and nowhere else.
#[test]
fn a_refusal_has_its_reason_rfc8914_4() {
    let live = live();
    put(&live, NAME, &["one"]);
    let chaos = |packet: Vec<u8>| [&packet[..packet.len() - 1], &[3]].concat();
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    for (packet, reason) in [
        (query("elsewhere.test", TXT), 20),
        (query(".", rtype::NS), 20),
        (query("auth.example.org", rtype::AXFR), 18),
        (query("elsewhere.test", rtype::IXFR), 18),
        (chaos(query("version.bind", TXT)), 21),
        (query("auth.example.org", 249), 21), // TKEY
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for options in [&[][..], &cookie] {
                let asked = with_opt(packet.clone(), 0, 0, options);
                let reply = raw(&live, &asked, transport).unwrap();
                let said = read(&reply);
                assert_eq!((said.rcode, said.opt, said.tc), (5, true, false));
                assert!(reply.windows(6).any(|option| option == [0, 15, 0, 2, 0, reason]), "{reply:?}");
                // sixteen octets of the server cookie and six of the extended error
                assert!(reply.len() <= asked.len() + 22, "{} octets for {}", reply.len(), asked.len());
            }
            let plain = raw(&live, &packet, transport).unwrap();
            assert_eq!((read(&plain).rcode, plain.len()), (5, packet.len()));
        }
    }
    for (qname, qtype) in [(NAME, TXT), (NAME, A), ("none.auth.example.org", A), ("sub.auth.example.org", A)] {
        let reply = raw(&live, &with_opt(query(qname, qtype), 1232, 0, &[]), Transport::Udp).unwrap();
        assert!(reply.ends_with(&[0, 0]), "no option: {reply:?}");
    }
}

#[test]
fn the_longest_refusal_fits_rfc1035_2_3_4() {
    let live = live();
    let long = [&"x".repeat(63), "y".repeat(63).as_str(), &"z".repeat(63), &"w".repeat(61)].join(".");
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let reply = raw(&live, &with_opt(query(&long, TXT), 0, 0x8000, &cookie), Transport::Udp).unwrap();
    assert_eq!((read(&reply).rcode, read(&reply).tc, reply.len()), (5, false, 12 + 259 + 11 + 28 + 6));
}

/// What the options of another version look like, nobody knows.
#[test]
fn the_version_is_looked_at_before_the_options_rfc6891_6_1_3() {
    let live = live();
    for options in [&[0, 100, 0, 9, 1][..], &[0, 10, 0, 3, 1, 2, 3], &[7]] {
        let reply = raw(&live, &with_opt(query(NAME, TXT), 1232, 0x0001_0000, options), Transport::Udp).unwrap();
        assert_eq!(Message::from_octets(&reply[..]).unwrap().opt_rcode().to_int(), 16, "BADVERS: {options:?}");
        assert_eq!(read(&reply).answer.len(), 0);
    }
}
