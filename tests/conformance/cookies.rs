//! DNS cookies: RFC 7873, RFC 9018. Another SipHash and NSD judge them.

use std::hash::Hasher;
#[expect(deprecated, reason = "SipHash-2-4 of the standard library: not the one that the server uses")]
use std::hash::SipHasher;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Acmezone, Nsd, Query, RawDns, Rcode, Reply, Rtype, Stamp, TsigKey, debian, dig, poll, run};
use crate::{BOTH, Via, ZONE, ask, exchange, quick_start, serving, shipped, zone_table};

const COOKIE: u16 = 10;
const BADCOOKIE: u16 = 23;

const CLIENT: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
const SECRET: u128 = 0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf;
const OTHER_SECRET: u128 = 0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const TEXT: &str = "$TTL 1h\n@ SOA ns1 hostmaster 7 4h 1h 2w 300\n@ NS ns1\nns1 A 192.0.2.1\n";

fn sharing(secrets: &[u128]) -> Acmezone {
    let secrets: Vec<_> = secrets.iter().map(|secret| format!("\"{secret:032x}\"")).collect();
    serving(&format!("cookie_secret = [{}]", secrets.join(", ")), &[(ZONE, TEXT)])
}

/// RFC 9018 section 4: client and server cookie, by the book.
#[expect(deprecated, reason = "see above")]
fn cookie(secret: u128, client: [u8; 8], address: IpAddr, time: u32) -> Vec<u8> {
    let [high, low] = [(secret >> 64) as u64, secret as u64].map(u64::swap_bytes);
    let head = [&client[..], &[1, 0, 0, 0], &time.to_be_bytes()].concat();
    let mut hasher = SipHasher::new_with_keys(high, low);
    hasher.write(&head);
    match address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    [&head[..], &hasher.finish().to_le_bytes()].concat()
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// A query with no question but a cookie (RFC 7873 section 5.4).
fn only(cookie: &[u8]) -> Vec<u8> {
    let length = cookie.len() as u8;
    let opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, length + 4, 0, COOKIE as u8, 0, length];
    [&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &opt[..], cookie].concat()
}

/// The COOKIE option of an answer.
#[track_caller]
fn told(reply: &Reply) -> Vec<u8> {
    let options = &reply.edns.as_ref().expect("an OPT record").options;
    let [(COOKIE, cookie)] = &options[..] else { panic!("{options:?}") };
    assert_eq!((cookie.len(), &cookie[..8]), (24, &CLIENT[..]));
    cookie.clone()
}

/// What a server says to a cookie: whether it is good, and the one to use from now on.
#[track_caller]
fn verdict(server: &Acmezone, via: Via, cookie: &[u8]) -> (bool, Vec<u8>) {
    let reply = Reply::parse(&exchange(server, via, &only(cookie)));
    assert_eq!((reply.counts, reply.header.aa()), ([0, 0, 0, 1], false));
    assert!([0, BADCOOKIE].contains(&reply.rcode.to_int()), "{}", reply.rcode);
    (reply.rcode.to_int() == 0, told(&reply))
}

#[test]
fn the_judge_agrees_with_the_test_vectors_of_rfc9018_appendix_a() {
    let hex = |cookie: Vec<u8>| cookie.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let v4 = "198.51.100.100".parse().unwrap();
    assert_eq!(hex(cookie(SECRET, CLIENT, v4, 1_559_731_985)), "2464c4abcf10c957010000005cf79f111f8130c3eee29480");
    assert_eq!(hex(cookie(SECRET, CLIENT, v4, 1_559_734_385)), "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
    let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
    let client = 0x2268_1ab9_7d52_c298_u64.to_be_bytes();
    assert_eq!(
        hex(cookie(OTHER_SECRET, client, v6, 1_559_741_817)),
        "22681ab97d52c298010000005cf7c57926556bd0934c72f8"
    );
}

#[test]
fn a_server_cookie_is_made_as_rfc9018_4_says() {
    let server = sharing(&[SECRET]);
    for via in BOTH {
        let before = now();
        let reply = ask(&server, via, &Query::new(ZONE, Rtype::SOA).edns(1232).edns_option(COOKIE, &CLIENT));
        let told = told(&reply);
        assert_eq!(reply.answer.len(), 1);
        let time = u32::from_be_bytes(*told[12..].first_chunk().unwrap());
        assert!((before..=now()).contains(&time), "{time}");
        assert_eq!(told, cookie(SECRET, CLIENT, LOCALHOST, time));
        assert_eq!(verdict(&server, via, &told), (true, told));
    }
}

#[test]
fn a_cookie_has_its_time_rfc9018_4_3() {
    let server = sharing(&[SECRET]);
    for via in BOTH {
        // seconds of age; whether it is good, and good enough to be kept
        for (age, good, kept) in [
            (-100_000, false, false),
            (-310, false, false),
            (-290, true, true),
            (0, true, true),
            (1_790, true, true),
            (1_810, true, false),
            (3_590, true, false),
            (3_610, false, false),
            (1_000_000_000, false, false),
        ] {
            let sent = cookie(SECRET, CLIENT, LOCALHOST, now().wrapping_sub(age as u32));
            let (was_good, told) = verdict(&server, via, &sent);
            assert_eq!((was_good, told == sent), (good, kept || age == 0), "{age} s old");
            let time = u32::from_be_bytes(*told[12..].first_chunk().unwrap());
            assert!(kept || now() - time < 3, "a new one is of this moment");
        }
    }
}

#[test]
fn servers_of_one_secret_take_the_cookies_of_each_other_rfc9018_5() {
    let [first, second] = [(), ()].map(|()| sharing(&[SECRET]));
    let rolled = sharing(&[OTHER_SECRET, SECRET]);
    let stranger = sharing(&[OTHER_SECRET]);
    for via in BOTH {
        let (_, made) = verdict(&first, via, &CLIENT);
        assert_eq!(verdict(&second, via, &made), (true, made.clone()));
        let (good, renewed) = verdict(&rolled, via, &made);
        assert!(good && renewed != made, "the old secret is good, and a cookie of the new one is told");
        assert!(verdict(&stranger, via, &renewed).0);
        assert!(!verdict(&stranger, via, &made).0);
        assert!(!verdict(&first, via, &renewed).0, "a secret that it does not have");
    }
}

#[test]
fn without_a_secret_in_the_configuration_each_start_has_its_own_rfc7873_4_2() {
    let mut server = quick_start();
    let (_, made) = verdict(&server, Via::Udp, &CLIENT);
    assert!(verdict(&server, Via::Tcp, &made).0);
    server.restart();
    assert!(!verdict(&server, Via::Udp, &made).0);
}

/// The cookie that NSD tells.
fn of_nsd(nsd: &Nsd, sent: &[u8]) -> Vec<u8> {
    let query = Query::new(ZONE, Rtype::SOA).edns(1232).edns_option(COOKIE, sent);
    let reply = Reply::parse(&RawDns::new(nsd.addr()).udp(&query.bytes()).expect("NSD answers"));
    assert_eq!(reply.answer.len(), 1);
    told(&reply)
}

#[test]
fn nsd_takes_our_cookies_and_we_take_those_of_nsd_rfc9018_1() {
    let server = sharing(&[SECRET]);
    let settings = format!("    answer-cookie: yes\n    cookie-secret: \"{SECRET:032x}\"");
    let nsd = Nsd::start_with(&settings, &[(ZONE, TEXT)]);
    // some minutes old: what is not good would be replaced by a new one
    for age in [100, 1_000, 1_700] {
        let sent = cookie(SECRET, CLIENT, LOCALHOST, now() - age);
        assert_eq!(of_nsd(&nsd, &sent), sent);
        assert_eq!(verdict(&server, Via::Udp, &sent), (true, sent));
    }
    let ours = verdict(&server, Via::Udp, &CLIENT).1;
    let theirs = of_nsd(&nsd, &CLIENT);
    // In another second a new cookie would be another one: these are sent back because they are good.
    let made = now();
    poll(Duration::from_secs(5), "the next second", || (now() > made).then_some(()));
    assert_eq!(of_nsd(&nsd, &ours), ours);
    assert_eq!(verdict(&server, Via::Tcp, &theirs), (true, theirs));
}

#[test]
fn a_cookie_is_good_for_one_address_and_one_client_rfc9018_4_4() {
    let server = sharing(&[SECRET]);
    let other = "127.0.0.2".parse().unwrap();
    let socket = UdpSocket::bind((other, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let from_other = |sent: &[u8]| {
        socket.send_to(&only(sent), server.dns).unwrap();
        let mut octets = [0; 512];
        let length = socket.recv(&mut octets).unwrap();
        Reply::parse(&octets[..length]).rcode.to_int()
    };
    let mine = cookie(SECRET, CLIENT, LOCALHOST, now());
    assert!(verdict(&server, Via::Udp, &mine).0 && verdict(&server, Via::Tcp, &mine).0);
    assert_eq!(from_other(&mine), BADCOOKIE);
    let theirs = cookie(SECRET, CLIENT, other, now());
    assert_eq!(from_other(&theirs), 0);
    for via in BOTH {
        assert!(!verdict(&server, via, &theirs).0);
        // any bit of the hash and of what is hashed counts
        for at in 8..24 {
            let mut changed = mine.clone();
            changed[at] ^= 1 << (at % 8);
            // One second more or less is as good for the time, but not for the hash.
            assert!(!verdict(&server, via, &changed).0, "octet {at}");
        }
        // and so does every octet of the client's part
        let mut changed = mine.clone();
        changed[0] ^= 1;
        let reply = Reply::parse(&exchange(&server, via, &only(&changed)));
        assert_eq!(reply.rcode.to_int(), BADCOOKIE);
    }
}

#[test]
fn who_has_no_good_cookie_is_answered_and_told_one_rfc7873_5_2_3_and_5_2_4() {
    let server = sharing(&[SECRET]);
    let stale = cookie(SECRET, CLIENT, LOCALHOST, now() - 10_000);
    for via in BOTH {
        for sent in [&CLIENT[..], &stale, &[&CLIENT[..], &[7; 8]].concat(), &[&CLIENT[..], &[7; 32]].concat()] {
            for (name, rtype, rcode) in [
                (ZONE, Rtype::SOA, Rcode::NOERROR),
                (ZONE, Rtype::MX, Rcode::NOERROR),
                ("nope.auth.example.org", Rtype::A, Rcode::NXDOMAIN),
            ] {
                let query = Query::new(name, rtype).edns(1232);
                let reply = ask(&server, via, &query.clone().edns_option(COOKIE, sent));
                assert_eq!((reply.rcode.to_int(), reply.header.aa()), (rcode.to_int().into(), true), "never BADCOOKIE");
                let plain = ask(&server, via, &query);
                assert_eq!((&reply.answer, &reply.authority), (&plain.answer, &plain.authority));
                assert!(verdict(&server, via, &told(&reply)).0);
                assert_eq!(plain.edns.unwrap().options, [], "who sends no cookie gets none");
            }
        }
    }
}

#[test]
fn a_cookie_of_another_length_is_formerr_with_opt_rfc7873_5_2_2_rfc6891_7() {
    let server = sharing(&[SECRET]);
    for via in BOTH {
        for length in 0..=64 {
            let sent = &[&CLIENT[..], &[7; 56]].concat()[..length];
            let good = length == 8 || (16..=40).contains(&length);
            let query = Query::new(ZONE, Rtype::SOA).edns(1232).edns_option(COOKIE, sent);
            let reply = ask(&server, via, &query);
            let expected = if good { (Rcode::NOERROR, 1) } else { (Rcode::FORMERR, 0) };
            assert_eq!((reply.header_rcode(), reply.answer.len()), expected, "{length} octets");
            assert!(reply.edns.is_some() && reply.question.len() == 1, "{length} octets");
            let alone = Reply::parse(&exchange(&server, via, &only(sent)));
            let rcode = if good && length > 8 { BADCOOKIE } else { u16::from(!good) };
            assert_eq!((alone.rcode.to_int(), alone.counts), (rcode, [0, 0, 0, 1]), "{length} octets, no question");
        }
        // the first of several counts
        let first_good = Query::new(ZONE, Rtype::SOA).edns(1232).edns_option(COOKIE, &CLIENT).edns_option(COOKIE, b"x");
        assert_eq!(told(&ask(&server, via, &first_good)).len(), 24);
        let first_bad = Query::new(ZONE, Rtype::SOA).edns(1232).edns_option(COOKIE, b"x").edns_option(COOKIE, &CLIENT);
        assert_eq!(ask(&server, via, &first_bad).header_rcode(), Rcode::FORMERR);
    }
}

#[test]
fn dig_and_kdig_find_their_cookies_good_rfc7873_5_3() {
    let server = quick_start();
    for transport in ["+notcp", "+tcp"] {
        let text = dig(server.dns, &["+norecurse", "+cookie", transport, ZONE, "SOA"]);
        assert!(text.contains("status: NOERROR") && text.contains("(good)"), "{text}");
        // dig asks again with the cookie it was told, if it sent a bad one without a question
        let text = dig(server.dns, &["+norecurse", "+header-only", "+cookie", transport, ZONE, "SOA"]);
        assert!(text.contains("status: NOERROR") && text.contains("(good)"), "{text}");
        let mut command = std::process::Command::new(debian("/usr/bin/kdig"));
        command.arg(format!("@{}", server.dns.ip())).args(["-p", &server.dns.port().to_string()]);
        command.args(["+norecurse", "+cookie=2464c4abcf10c957", transport, ZONE, "SOA"]);
        let text = run("kdig", command, Duration::from_secs(20)).expect_success().output();
        assert!(text.contains("COOKIE: 2464C4ABCF10C95701000000") && !text.contains("WARNING"), "{text}");
    }
}

/// UPDATE, NOTIFY, and what is signed, take another way than a plain query.
#[test]
fn a_cookie_is_answered_in_every_kind_of_message_rfc7873_5_2() {
    let key = TsigKey::new("client");
    let server = Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + &key.table(&below())));
    let stranger = TsigKey::new("stranger");
    for via in BOTH {
        for opcode in [0, 4, 5] {
            let query = Query::new(ZONE, Rtype::SOA).opcode(opcode).edns(1232).edns_option(COOKIE, &CLIENT);
            let plain = query.bytes();
            let octets = exchange(&server, via, &plain);
            let good = server_cookie(&Reply::parse(&octets));
            for (key, rcode) in [(&key, None), (&stranger, Some(Rcode::NOTAUTH))] {
                let message = key.sign(&plain, &Stamp::now());
                let octets = exchange(&server, via, &message.octets);
                key.verify(&octets, &message);
                let reply = Reply::parse(&octets);
                assert!(rcode.is_none_or(|rcode| reply.header_rcode() == rcode));
                assert_eq!(server_cookie(&reply).len(), good.len(), "opcode {opcode} over {via:?}");
            }
            assert!(verdict(&server, via, &good).0, "opcode {opcode}: it is a good one");
        }
    }
}

#[test]
fn a_signed_question_for_a_cookie_gets_a_signed_answer_rfc7873_5_4_rfc8945_5_3() {
    let key = TsigKey::new("client");
    let server = Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + &key.table(&below())));
    let (wrong, stranger) = (TsigKey { secret: vec![9; 32], ..key.clone() }, TsigKey::new("stranger"));
    for via in BOTH {
        for (key, rcode, error, mac) in
            [(&key, Rcode::NOERROR, 0, 32), (&wrong, Rcode::NOTAUTH, 16, 0), (&stranger, Rcode::NOTAUTH, 17, 0)]
        {
            let message = key.sign(&only(&CLIENT), &Stamp::now());
            let octets = exchange(&server, via, &message.octets);
            let signature = key.verify(&octets, &message);
            let reply = Reply::parse(&octets);
            assert_eq!((reply.header_rcode(), reply.counts), (rcode, [0, 0, 0, 2]), "{} over {via:?}", key.name);
            assert_eq!((signature.error, signature.mac.len()), (error, mac));
            assert_eq!(server_cookie(&reply).len(), 24);
        }
    }
}

fn below() -> String {
    format!("below = [\"{ZONE}\"]")
}

/// The COOKIE option of an answer that may have others.
#[track_caller]
fn server_cookie(reply: &Reply) -> Vec<u8> {
    let options = &reply.edns.as_ref().expect("an OPT record").options;
    let cookies: Vec<_> = options.iter().filter(|(code, _)| *code == COOKIE).collect();
    let [(_, cookie)] = &cookies[..] else { panic!("{options:?}") };
    assert_eq!(cookie[..8], CLIENT);
    cookie.clone()
}
