//! Messages that no honest client sends, and the rare ones: UPDATE, NOTIFY, TSIG, transfers.

use std::time::{Duration, Instant};

use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, dig};
use crate::{BOTH, Via, ZONE, ask, dns, exchange, quick_start};

/// A header with these counts and nothing or something behind it.
fn message(opcode: u8, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, opcode << 3, 0];
    octets.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    octets.extend(rest);
    octets
}

/// A resource record with an owner in wire form.
fn record(owner: &[u8], rtype: u16, class: u16, rdata: &[u8]) -> Vec<u8> {
    let length = (rdata.len() as u16).to_be_bytes();
    [owner, &rtype.to_be_bytes(), &class.to_be_bytes(), &[0; 4], &length, rdata].concat()
}

#[track_caller]
fn assert_formerr(octets: &[u8], what: &str) {
    assert_eq!(octets.len(), 12, "{what}: {octets:02x?}");
    assert_eq!(octets[..2], [0x12, 0x34], "{what}");
    assert_eq!((octets[2] & 0x80, octets[3] & 0x0f), (0x80, 1), "{what}");
}

/// RFC 6891 section 7: question and OPT, nothing else.
#[track_caller]
fn assert_formerr_with_opt(octets: &[u8], what: &str) {
    let reply = Reply::parse(octets);
    assert_eq!((reply.header.id(), reply.header_rcode(), reply.header.aa()), (0x1234, Rcode::FORMERR, false), "{what}");
    assert_eq!(reply.counts, [1, 0, 0, 1], "{what}");
    assert_eq!(reply.edns.expect(what).version, 0, "{what}");
}

/// The most memory that the process ever had resident, kB.
fn high_water(server: &mut Acmezone) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_count_that_the_message_cannot_hold_is_formerr_and_costs_no_memory_rfc9619_4() {
    let mut server = quick_start();
    let question = Query::new(ZONE, Rtype::SOA).question_bytes();
    let mut bombs = Vec::new();
    for opcode in [0, 4, 5] {
        bombs.push(message(opcode, [65535, 0, 0, 0], b""));
        for section in 1..4 {
            let mut counts = [1, 0, 0, 0];
            counts[section] = 65535;
            bombs.push(message(opcode, counts, &question));
        }
    }
    // Everything that has to be allocated once, by any thread, is allocated by harmless messages.
    server.register();
    let harmless = [0, 4, 5].map(|opcode| Query::new(ZONE, Rtype::SOA).opcode(opcode).bytes());
    for message in harmless.iter().cycle().take(300) {
        for via in BOTH {
            exchange(&server, via, message);
        }
    }
    let before = high_water(&mut server);
    for bomb in &bombs {
        let socket = dns(&server).udp_socket();
        let mut connection = dns(&server).connect().unwrap();
        let mut reply = [0; 512];
        for _ in 0..1_000 {
            socket.send(bomb).unwrap();
            let length = socket.recv(&mut reply).expect("an answer over UDP");
            assert_formerr(&reply[..length], &format!("{bomb:02x?}"));
            connection.send(bomb);
            assert_formerr(&connection.receive().expect("an answer over TCP"), &format!("{bomb:02x?}"));
        }
    }
    let grown = high_water(&mut server) - before;
    println!("{} messages with counts of 65,535: {grown} kB", 2_000 * bombs.len());
    assert!(grown < 2_048, "the process grew by {grown} kB");
    assert!(ask(&server, Via::Udp, &Query::new(ZONE, Rtype::SOA)).header.aa());
}

#[test]
fn more_or_fewer_questions_than_one_are_formerr_rfc9619_4() {
    let server = quick_start();
    let question = Query::new(ZONE, Rtype::SOA).question_bytes();
    for via in BOTH {
        for opcode in [0, 4, 5] {
            assert_formerr(&exchange(&server, via, &message(opcode, [0; 4], b"")), "no question");
            let two = message(opcode, [2, 0, 0, 0], &question.repeat(2));
            assert_formerr(&exchange(&server, via, &two), "two questions");
        }
        let answer = record(&[0], 1, 1, &[192, 0, 2, 1]);
        let with_answer = message(0, [1, 1, 0, 0], &[question.clone(), answer].concat());
        assert_formerr(&exchange(&server, via, &with_answer), "a query with an answer");
    }
}

#[test]
fn compression_loops_are_formerr_and_end_rfc1035_4_1_4() {
    let server = quick_start();
    let itself = [0xc0, 12];
    let name_and_itself = [3, b'w', b'w', b'w', 0xc0, 12];
    let past_the_end = [0xc3, 0xff];
    let question = Query::new(ZONE, Rtype::SOA).question_bytes();
    let at = 12 + question.len() as u8;
    for via in BOTH {
        for opcode in [0, 4, 5] {
            for name in [&itself[..], &name_and_itself, &past_the_end] {
                let looped = message(opcode, [1, 0, 0, 0], &[name, &[0, 16, 0, 1]].concat());
                assert_formerr(&exchange(&server, via, &looped), &format!("opcode {opcode}, QNAME {name:02x?}"));
            }
        }
        // An OPT record belongs to the root, a key has a name; neither is found in a circle.
        let looped = |rtype| message(0, [1, 0, 0, 1], &[&question[..], &record(&[0xc0, at], rtype, 255, b"")].concat());
        assert_formerr_with_opt(&exchange(&server, via, &looped(41)), "owner of OPT");
        assert_formerr(&exchange(&server, via, &looped(250)), "owner of TSIG");
        // Of a record that has no meaning here, the name is not looked at.
        let looped = message(0, [1, 0, 0, 1], &[&question[..], &record(&[0xc0, at], 1, 1, &[0; 4])].concat());
        let reply = Reply::parse(&exchange(&server, via, &looped));
        assert_eq!((reply.header_rcode(), reply.answer.len()), (Rcode::NOERROR, 1));
        let looped = message(5, [1, 0, 0, 1], &[&question[..], &record(&[0xc0, at], 1, 1, &[0; 4])].concat());
        assert_formerr(&exchange(&server, via, &looped), "UPDATE");
    }
}

#[test]
fn a_truncated_query_is_formerr_and_less_than_a_header_is_dropped_rfc1035_4_1() {
    let server = quick_start();
    let mut query = Query::new(ZONE, Rtype::SOA).id(0x1234).edns(1232).edns_option(10, &[7; 8]);
    let whole = query.bytes();
    let socket = dns(&server).udp_socket();
    let mut buffer = [0; 1500];
    let mut udp = |octets: &[u8]| {
        socket.send(octets).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    for length in 12..whole.len() {
        assert_formerr(&udp(&whole[..length]), &format!("UDP, {length} octets"));
        assert_formerr(&exchange(&server, Via::Tcp, &whole[..length]), &format!("TCP, {length} octets"));
    }
    // Had any of these an answer, it would come before the answer to the whole query.
    for length in 0..12 {
        socket.send(&whole[..length]).unwrap();
        assert_eq!(dns(&server).tcp(&whole[..length]), None, "{length} octets over TCP");
    }
    query.id = 0x4321;
    assert_eq!(Reply::parse(&udp(&query.bytes())).header.id(), 0x4321);
}

#[test]
fn answers_are_never_answered_rfc1035_7_3() {
    let server = quick_start();
    let socket = dns(&server).udp_socket();
    for opcode in 0..16 {
        let mut query = Query::new(ZONE, Rtype::SOA).id(1).opcode(opcode);
        query.flags |= 0x8000;
        socket.send(&query.bytes()).unwrap();
        let asked = Instant::now();
        assert_eq!(dns(&server).tcp(&query.bytes()), None);
        assert!(asked.elapsed() < Duration::from_secs(1), "the connection is closed, not left waiting");
    }
    socket.send(&Query::new(ZONE, Rtype::SOA).id(2).bytes()).unwrap();
    let mut reply = [0; 1500];
    let length = socket.recv(&mut reply).unwrap();
    assert_eq!(Reply::parse(&reply[..length]).header.id(), 2);
}

#[test]
fn any_octets_at_all_leave_the_server_answering() {
    let server = quick_start();
    let socket = dns(&server).udp_socket();
    let whole = Query::new(ZONE, Rtype::SOA).edns(1232).bytes();
    for at in 0..whole.len() {
        for octet in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff] {
            let mut changed = whole.clone();
            changed[at] = octet;
            socket.send(&changed).unwrap();
        }
    }
    for length in [0, 1, 511, 512, 513, 4096, 4097, 65_000] {
        socket.send(&vec![0xff; length]).unwrap();
        socket.send(&vec![0; length]).unwrap();
    }
    for via in BOTH {
        assert!(ask(&server, via, &Query::new(ZONE, Rtype::SOA)).header.aa());
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn a_signature_by_an_unknown_key_is_notauth_badkey_rfc8945_5_2_1() {
    let server = quick_start();
    let owner = b"\x07unknown\x03key\x00";
    let algorithm = b"\x0bhmac-sha256\x00";
    let time = [0, 0, 0x68, 0, 0, 0, 1, 44];
    let mac = [&[0, 32][..], &[0xaa; 32]].concat();
    let rest = [0x12, 0x34, 0, 0, 0, 0];
    let tsig = record(owner, 250, 255, &[&algorithm[..], &time, &mac, &rest].concat());
    for via in BOTH {
        for (opcode, rtype) in [(0, Rtype::SOA), (0, Rtype::AXFR), (4, Rtype::SOA), (5, Rtype::SOA)] {
            let question = Query::new(ZONE, rtype).question_bytes();
            let signed = message(opcode, [1, 0, 0, 1], &[&question[..], &tsig].concat());
            let octets = exchange(&server, via, &signed);
            let reply = Reply::parse(&octets);
            assert_eq!(reply.header_rcode(), Rcode::NOTAUTH, "opcode {opcode} {rtype} over {via:?}");
            assert_eq!((reply.answer.len(), reply.authority.len()), (0, 0));
            let [tsig] = &reply.additional[..] else { panic!("{:?}", reply.additional) };
            assert_eq!((tsig.rtype, tsig.name.as_str(), tsig.ttl), (Rtype::TSIG, "unknown.key.", 0));
            // No MAC, the id of the query, BADKEY, no other data.
            assert!(octets.ends_with(&[0, 0, 0x12, 0x34, 0, 17, 0, 0]), "{octets:02x?}");
        }
    }
}

#[test]
fn a_signature_that_is_not_the_last_record_is_formerr_rfc8945_5_1() {
    let server = quick_start();
    let question = Query::new(ZONE, Rtype::SOA).question_bytes();
    let tsig = record(&[0], 250, 255, b"");
    let opt = record(&[0], 41, 1232, b"");
    for via in BOTH {
        let early = message(0, [1, 0, 0, 2], &[&question[..], &tsig, &opt].concat());
        assert_formerr_with_opt(&exchange(&server, via, &early), "TSIG before OPT");
        let two = message(0, [1, 0, 0, 2], &[&question[..], &opt, &opt].concat());
        assert_formerr_with_opt(&exchange(&server, via, &two), "two OPT records, RFC 6891 section 6.1.1");
    }
}

#[test]
fn nobody_gets_a_transfer_rfc5936_2_2_1_rfc1995() {
    let server = quick_start();
    let soa_rdata = [&[0; 2][..], &[0; 20]].concat();
    for via in BOTH {
        for name in [ZONE, "elsewhere.test", "."] {
            for rtype in [Rtype::AXFR, Rtype::IXFR] {
                let reply = ask(&server, via, &Query::new(name, rtype));
                assert_eq!(reply.header_rcode(), Rcode::REFUSED, "{name} {rtype} over {via:?}");
                assert_eq!(reply.counts, [1, 0, 0, 0]);
            }
        }
        let question = Query::new(ZONE, Rtype::IXFR).question_bytes();
        let known = message(0, [1, 0, 1, 0], &[question, record(&[0xc0, 12], 6, 1, &soa_rdata)].concat());
        assert_eq!(Reply::parse(&exchange(&server, via, &known)).header_rcode(), Rcode::REFUSED);
    }
}

#[test]
fn notify_is_refused_rfc1996_3_11_and_unsigned_updates_do_nothing_rfc2136() {
    let server = quick_start();
    let question = Query::new(ZONE, Rtype::SOA).question_bytes();
    let owner = [&b"\x03new"[..], &[0xc0, 12]].concat();
    let insert = message(5, [1, 0, 1, 0], &[question, record(&owner, 16, 1, b"\x01x")].concat());
    for via in BOTH {
        assert_eq!(ask(&server, via, &Query::new(ZONE, Rtype::SOA).opcode(4)).header_rcode(), Rcode::REFUSED);
        assert_eq!(Reply::parse(&exchange(&server, via, &insert)).header_rcode(), Rcode::REFUSED);
        let name = format!("new.{ZONE}");
        assert_eq!(ask(&server, via, &Query::new(&name, Rtype::TXT)).header_rcode(), Rcode::NXDOMAIN);
    }
}

#[test]
fn nothing_is_told_in_other_classes_rfc1035_3_2_4_rfc4892() {
    let server = quick_start();
    let [chaos, hesiod, none, any] = [3, 4, 254, 255];
    for via in BOTH {
        for (name, rtype) in [
            ("version.bind", Rtype::TXT),
            ("version.server", Rtype::TXT),
            ("hostname.bind", Rtype::TXT),
            ("id.server", Rtype::TXT),
            ("authors.bind", Rtype::TXT),
            (ZONE, Rtype::SOA),
            ("nope.auth.example.org", Rtype::A),
        ] {
            for class in [0, 2, chaos, hesiod, none, any, 65535] {
                let query = Query::new(name, rtype).class(class);
                for query in [query.clone(), query.edns(1232).edns_option(3, b"")] {
                    let reply = ask(&server, via, &query);
                    assert_eq!((reply.header_rcode(), reply.header.aa()), (Rcode::REFUSED, false), "{name} {class}");
                    assert_eq!(reply.counts, [1, 0, 0, u16::from(query.edns.is_some())], "{name} {class}");
                }
            }
        }
    }
    for name in ["version.bind", "id.server"] {
        let text = dig(server.dns, &["+norecurse", name, "CH", "TXT"]);
        assert!(text.contains("status: REFUSED") && text.contains("ANSWER: 0"), "{text}");
    }
}
