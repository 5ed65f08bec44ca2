//! Cookies and the rate limit, as they show in answers.

use std::cell::Cell;

use super::*;

const CLIENT_COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const NAME: &str = "account.auth.example.org";

fn option(cookie: &[u8]) -> Vec<u8> {
    [&[0, 10, 0, cookie.len() as u8], cookie].concat()
}

fn with_cookie(packet: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    with_opt(packet, 1232, 0, &option(cookie))
}

/// The cookies at the end of an answer.
#[track_caller]
fn cookie_of(reply: &[u8]) -> [u8; 24] {
    let (before, cookie) = reply.split_last_chunk().unwrap();
    assert!(before.ends_with(&[0, 10, 0, 24]), "no COOKIE option: {reply:?}");
    *cookie
}

/// The response code with the bits of OPT.
fn extended_rcode(reply: &[u8]) -> u16 {
    Message::from_octets(reply).unwrap().opt_rcode().to_int()
}

#[test]
fn an_answer_tells_a_good_cookie_rfc7873_5_2_3() {
    let live = live();
    put(&live, NAME, &["one"]);
    for transport in [Transport::Udp, Transport::Tcp] {
        let first = raw(&live, &with_cookie(query(NAME, TXT), &CLIENT_COOKIE), transport).unwrap();
        let learned = cookie_of(&first);
        assert_eq!(learned[..8], CLIENT_COOKIE);
        assert_eq!(read(&first).answer.len(), 1);
        let again = raw(&live, &with_cookie(query(NAME, TXT), &learned), transport).unwrap();
        assert_eq!(cookie_of(&again), learned);
        let bad = [&CLIENT_COOKIE[..], &[9; 16]].concat();
        let reply = raw(&live, &with_cookie(query(NAME, TXT), &bad), transport).unwrap();
        assert_eq!((cookie_of(&reply), extended_rcode(&reply)), (learned, 0), "a bad cookie gets its answer");
        assert_eq!(read(&reply).answer.len(), 1);
    }
}

#[test]
fn every_answer_with_opt_has_the_cookie() {
    let live = live();
    for (qname, qtype, rcode) in [("none.auth.example.org", TXT, 3), ("example.com", A, 5), (NAME, rtype::AXFR, 5)] {
        let reply = raw(&live, &with_cookie(query(qname, qtype), &CLIENT_COOKIE), Transport::Udp).unwrap();
        assert_eq!((extended_rcode(&reply), &cookie_of(&reply)[..8]), (rcode, &CLIENT_COOKIE[..]));
        read(&reply);
    }
    let version_1 = with_opt(query(NAME, TXT), 1232, 0x0001_0000, &option(&CLIENT_COOKIE));
    assert_eq!(extended_rcode(&raw(&live, &version_1, Transport::Udp).unwrap()), 16);
    let without = raw(&live, &with_opt(query(NAME, TXT), 1232, 0, &[]), Transport::Udp).unwrap();
    assert!(without.ends_with(&[0, 0]), "who sends no cookie gets none: {without:?}");
}

#[test]
fn a_question_for_a_cookie_alone_rfc7873_5_4() {
    let live = live();
    let header = || vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let first = raw(&live, &with_cookie(header(), &CLIENT_COOKIE), Transport::Udp).unwrap();
    let learned = cookie_of(&first);
    assert_eq!((extended_rcode(&first), first.len()), (0, 12 + 11 + 28));
    let valid = raw(&live, &with_cookie(header(), &learned), Transport::Udp).unwrap();
    assert_eq!((extended_rcode(&valid), cookie_of(&valid)), (0, learned));
    let bad = [&CLIENT_COOKIE[..], &[9; 16]].concat();
    let bad = raw(&live, &with_cookie(header(), &bad), Transport::Udp).unwrap();
    assert_eq!((extended_rcode(&bad), cookie_of(&bad)), (23, learned), "BADCOOKIE");
}

#[test]
fn a_malformed_cookie_is_a_formerr_rfc7873_5_2_2() {
    let live = live();
    for len in [0, 1, 7, 9, 15, 41, 60] {
        let packet = query(NAME, TXT);
        let reply = raw(&live, &with_cookie(packet.clone(), &vec![1; len]), Transport::Udp).unwrap();
        // question and OPT, RFC 6891 section 7
        assert_eq!((reply[3], reply.len()), (1, packet.len() + 11), "{len} octets");
        assert!(read(&reply).opt);
    }
    // RFC 7873 section 5.2: the first counts, whatever the others are
    let two = [option(&CLIENT_COOKIE), option(&[1; 3])].concat();
    let reply = raw(&live, &with_opt(query(NAME, TXT), 1232, 0, &two), Transport::Udp).unwrap();
    assert_eq!((extended_rcode(&reply), &cookie_of(&reply)[..8]), (0, &CLIENT_COOKIE[..]));
}

#[test]
fn the_cookie_has_its_place_before_records_do() {
    let live = live();
    let values: Vec<String> = (0..64).map(|value| format!("{value:043}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut cut = [0, 0];
    for count in 1..=30 {
        put(&live, NAME, &values[..count]);
        let cookie = option(&CLIENT_COOKIE);
        for (cut, options) in cut.iter_mut().zip([&[][..], &cookie]) {
            let reply = raw(&live, &with_opt(query(NAME, TXT), 1232, 0, options), Transport::Udp).unwrap();
            let said = read(&reply);
            assert!(reply.len() <= 1232 && said.opt && said.tc == said.answer.is_empty());
            *cut += usize::from(!said.tc);
        }
    }
    assert_eq!(cut, [21, 20], "values of 56 octets that fit without and with 28 octets of cookie");
}

#[test]
fn a_limited_answer_is_an_empty_tc() {
    let live = live();
    put(&live, NAME, &["one"]);
    let asked = Cell::new(0);
    let limited = || {
        asked.set(asked.get() + 1);
        true
    };
    let limited = |packet: &[u8], transport| {
        let mut out = Vec::new();
        asked.set(0);
        assert_eq!(
            answer(&live, &Context { limited: &limited, ..context(transport) }, packet, &mut out),
            Verdict::Reply
        );
        (out, asked.get())
    };
    for qname in [NAME, "none.auth.example.org", "example.com"] {
        let plain = query(qname, TXT);
        let (reply, asked) = limited(&plain, Transport::Udp);
        assert_eq!((reply.len(), asked), (plain.len(), 1));
        let said = read(&reply);
        assert!(said.tc && said.rcode == 0 && said.answer.is_empty() && said.authority.is_empty());
        assert_eq!(reply[12..], plain[12..], "the question is there");
    }
    // the cookie it needs to be free of the limit comes with it
    let (reply, _) = limited(&with_cookie(query(NAME, TXT), &CLIENT_COOKIE), Transport::Udp);
    assert!(read(&reply).tc && read(&reply).opt);
    let (reply, asked) = limited(&with_cookie(query(NAME, TXT), &cookie_of(&reply)), Transport::Udp);
    assert_eq!((read(&reply).tc, read(&reply).answer.len(), asked), (false, 1, 0));
    // over TCP there is no limit, and there is none on what is as short as an empty TC
    let (reply, asked) = limited(&query(NAME, TXT), Transport::Tcp);
    assert_eq!((read(&reply).tc, read(&reply).answer.len(), asked), (false, 1, 0));
    let (reply, asked) = limited(&query(NAME, rtype::AXFR), Transport::Udp);
    assert_eq!((read(&reply).rcode, asked), (5, 0));
    let (reply, asked) = limited(&query(NAME, TXT)[..20], Transport::Udp);
    assert_eq!((reply[3], asked), (1, 0));
}
