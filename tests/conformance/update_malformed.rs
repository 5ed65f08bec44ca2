//! UPDATE messages that no honest client sends: each with the RCODE that RFC 2136 names, nothing changed, and the server
//! answering on.

use crate::support::update::{ANY, IN, NONE, record, txt};
use crate::support::{Acmezone, Query, Rcode, Reply, Rtype, Stamp, TsigKey, Update, wire_name};
use crate::{BOTH, Via, ZONE, ask, dns, exchange, shipped, zone_table};

const BADVERS: u16 = 16;
/// Not in the domain crate's list of plain RCODEs.
const FORMERR: u16 = 1;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;
const NOTZONE: u16 = 10;

pub fn key() -> TsigKey {
    TsigKey::new("client")
}

pub fn server() -> Acmezone {
    let key = key().table(&format!("labels = [\"mine\"]\nbelow = [\"{ZONE}\"]"));
    let server = Acmezone::start(&(zone_table(ZONE, &shipped("auth.example.org.zone")) + &key));
    server.cli(&["account", "create", "--label", "mine"]).expect_success();
    server.cli(&["txt", "set", &mine(), "held"]).expect_success();
    server
}

pub fn mine() -> String {
    format!("mine.{ZONE}")
}

/// What must not change: the values, and the serial that every change moves.
pub fn state(server: &Acmezone) -> (Vec<Option<Vec<u8>>>, String) {
    let values = ask(server, Via::Tcp, &Query::new(&mine(), Rtype::TXT)).answer;
    let soa = ask(server, Via::Tcp, &Query::new(ZONE, Rtype::SOA)).answer.remove(0);
    (values.into_iter().map(|record| record.txt).collect(), soa.rdata)
}

/// An UPDATE that would be good.
pub fn good() -> Update {
    Update::new(ZONE).add(&mine(), "new")
}

/// Signed messages, what is wrong with each, and its RCODE.
fn signed_messages() -> Vec<(String, Update, u16)> {
    let mut list: Vec<(String, Update, u16)> = Vec::new();
    let mut case = |what: &str, update: Update, rcode: u16| list.push((what.to_owned(), update, rcode));
    let name = mine();
    let rdata_loop = [0xc0, 12 + wire_name(ZONE).len() as u8 + 4 + wire_name(&name).len() as u8 + 10];
    for zone_type in [0, 1, 2, 16, 255, 65535] {
        case(&format!("zone of type {zone_type}"), Update { zone_type, ..good() }, FORMERR);
    }
    for zone_class in [0, 2, 3, 4, NONE, ANY, 65535] {
        case(&format!("zone of class {zone_class}"), Update { zone_class, ..good() }, NOTAUTH);
    }
    for zone in ["", "org", "example.org", "auth.example.com", "mine.auth.example.org", "xauth.example.org"] {
        case(&format!("zone {zone}"), Update { zone: wire_name(zone), ..good() }, NOTAUTH);
    }

    let before = |record| good().prerequisite(record);
    for class in [0, 2, 3, 4, 253, 65535] {
        case(&format!("prerequisite of class {class}"), before(record(&name, 16, class, 0, b"")), FORMERR);
        case(&format!("update of class {class}"), good().update(record(&name, 16, class, 0, &txt("x"))), FORMERR);
    }
    for class in [IN, NONE, ANY] {
        let rdata = if class == IN { txt("held") } else { Vec::new() };
        case(&format!("TTL in a prerequisite of class {class}"), before(record(&name, 16, class, 1, &rdata)), FORMERR);
    }
    for class in [NONE, ANY] {
        let with_rdata = record(&name, 16, class, 0, &txt("held"));
        case(&format!("RDATA in a prerequisite of class {class}"), before(with_rdata), FORMERR);
    }
    let malformed: [(&str, u16, &[u8]); 16] = [
        ("TXT without a string", 16, b""),
        ("TXT with a string that ends too late", 16, b"\x02x"),
        ("TXT with a second string that ends too late", 16, b"\x01x\xff"),
        ("A of 3 octets", 1, &[1; 3]),
        ("A of 5 octets", 1, &[1; 5]),
        ("AAAA of 15 octets", 28, &[1; 15]),
        ("MX without a name", 15, &[0, 1]),
        ("SRV that is cut", 33, &[0; 5]),
        ("SOA that is cut", 6, &[0; 21]),
        ("SOA with something behind it", 6, &[0; 23]),
        ("NS with something behind it", 2, &[0, 0]),
        ("NS with a label that ends too late", 2, b"\x05ab"),
        ("NS with a label of a kind that is not known", 2, &[0x80, 1, 0]),
        ("CNAME whose name points to itself", 5, &rdata_loop),
        ("CNAME whose name points beyond the message", 5, &[0xff, 0xff]),
        ("CAA without a tag", 257, &[0]),
    ];
    for (what, rtype, rdata) in malformed {
        case(&format!("update: {what}"), Update::new(ZONE).update(record(&name, rtype, IN, 0, rdata)), FORMERR);
        case(&format!("prerequisite: {what}"), before(record(&name, rtype, IN, 0, rdata)), FORMERR);
        if rtype == 16 {
            case(&format!("deletion: {what}"), good().update(record(&name, rtype, NONE, 0, rdata)), FORMERR);
        }
    }
    for rtype in [0, 41, 128, 249, 251, 252, 253, 254, 255] {
        case(&format!("adding type {rtype}"), good().update(record(&name, rtype, IN, 0, &[0; 4])), FORMERR);
        case(
            &format!("deleting a record of type {rtype}"),
            good().update(record(&name, rtype, NONE, 0, &[0; 4])),
            FORMERR,
        );
        if rtype != 255 {
            case(
                &format!("deleting an RRset of type {rtype}"),
                good().update(record(&name, rtype, ANY, 0, b"")),
                FORMERR,
            );
        }
    }
    case("TTL in the deletion of an RRset", good().update(record(&name, 16, ANY, 1, b"")), FORMERR);
    case("TTL in the deletion of a name", good().update(record(&name, 255, ANY, 1, b"")), FORMERR);
    case("TTL in the deletion of a record", good().update(record(&name, 16, NONE, 1, &txt("held"))), FORMERR);
    case("RDATA in the deletion of an RRset", good().update(record(&name, 16, ANY, 0, &txt("held"))), FORMERR);
    case("RDATA in the deletion of a name", good().update(record(&name, 255, ANY, 0, b"\0")), FORMERR);
    for outside in ["", "org", "example.org", "mine.example.org", "xauth.example.org", "auth.example.org.test"] {
        case(&format!("update of {outside}"), good().add(outside, "x"), NOTZONE);
        case(&format!("prerequisite of {outside}"), before(record(outside, 16, NONE, 0, b"")), NOTZONE);
    }
    for (what, rtype, rdata) in [("A", 1, &[192, 0, 2, 1][..]), ("NULL", 10, b"x"), ("type 65535", 65535, b"x")] {
        case(&format!("adding {what}"), good().update(record(&name, rtype, IN, 60, rdata)), REFUSED);
    }
    case("a value of 4,097 octets", good().update(record(&name, 16, IN, 60, &[[255; 256]; 17].concat())), REFUSED);

    let opt = |version: u8, options: &[u8]| {
        let length = options.len() as u8;
        [&[0, 0, 41, 4, 208, 0, version, 0, 0, 0, length], options].concat()
    };
    let with = |additionals: Vec<Vec<u8>>| Update { additionals, ..good() };
    case("two OPT records", with(vec![opt(0, b""), opt(0, b"")]), FORMERR);
    case("OPT with options that are cut", with(vec![opt(0, &[0, 3, 0, 9])]), FORMERR);
    case("OPT that is not the root's", with(vec![record("opt.test", 41, 1232, 0, b"")]), FORMERR);
    case("an EDNS version that is not known", with(vec![opt(1, b"")]), BADVERS);
    list
}

#[test]
fn a_signed_update_is_refused_for_the_reason_of_the_rfc_and_changes_nothing_rfc2136_3() {
    let (server, key) = (server(), key());
    let before = state(&server);
    let cases = signed_messages();
    assert!(cases.len() >= 60, "{} messages", cases.len());
    for via in BOTH {
        for (what, update, rcode) in &cases {
            let message = key.sign(&update.bytes(), &Stamp::now());
            // No datagram of that length is taken.
            let via = if message.octets.len() > 4096 { Via::Tcp } else { via };
            let octets = exchange(&server, via, &message.octets);
            let signature = key.verify(&octets, &message);
            assert_eq!(signature.mac.len(), 32, "{what}: the refusal is signed");
            let reply = Reply::parse(&octets);
            assert_eq!(reply.rcode.to_int(), *rcode, "{what} over {via:?}");
            assert_eq!(reply.header.id().to_be_bytes(), message.octets[..2], "{what}");
        }
        assert_eq!(state(&server), before, "over {via:?}");
    }
    let message = key.sign(&good().bytes(), &Stamp::now());
    assert_eq!(Reply::parse(&exchange(&server, Via::Udp, &message.octets)).header_rcode(), Rcode::NOERROR);
    assert_ne!(state(&server), before, "and a good one is done");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Messages in which the signature cannot be found or read, or what stands before it.
fn broken_messages() -> Vec<(String, Vec<u8>)> {
    let key = key();
    let signed = key.sign(&good().bytes(), &Stamp::now()).octets;
    let plain = good().bytes();
    let tsig = signed[plain.len()..].to_vec();
    let question_end = 12 + wire_name(ZONE).len() + 4;
    let mut list: Vec<(String, Vec<u8>)> = Vec::new();
    let mut case = |what: &str, octets: Vec<u8>| list.push((what.to_owned(), octets));
    let set = |at: usize, octets: &[u8]| {
        let mut message = signed.clone();
        message[at..at + octets.len()].copy_from_slice(octets);
        message
    };
    for (index, section) in ["zones", "prerequisites", "updates", "additionals"].into_iter().enumerate() {
        for count in [2, 255, 65535u16] {
            case(&format!("{count} {section}"), set(4 + 2 * index, &count.to_be_bytes()));
        }
    }
    case("no zone", set(4, &[0, 0]));
    case("a zone whose name points to itself", set(12, &[0xc0, 12]));
    case("a zone with a label of a kind that is not known", set(12, &[0x40]));
    case("an owner that points to itself", set(question_end, &[0xc0, question_end as u8]));
    case("an owner that points beyond the message", set(question_end, &[0xff, 0xff]));
    case("an owner with a label of a kind that is not known", set(question_end, &[0x80]));
    let rdlength = question_end + wire_name(&mine()).len() + 8;
    case("RDATA that ends behind the message", set(rdlength, &[0xff, 0xff]));
    case("RDATA that ends before it ends", set(rdlength, &[0, 1]));
    let at = plain.len();
    let fixed = at + wire_name("client").len();
    case("a signature of class IN", set(fixed + 2, &[0, 1]));
    case("a signature with a TTL", set(fixed + 7, &[1]));
    case("a signature with a shorter RDLENGTH", set(fixed + 8, &[0, 10]));
    case("a signature without RDATA", set(fixed + 8, &[0, 0]));
    case("a signature with a longer RDLENGTH", set(fixed + 8, &[1, 0]));
    let mac = fixed + 10 + wire_name("hmac-sha256").len() + 8;
    case("a signature with a longer MAC than there is", set(mac, &[0, 200]));
    case("a signature with a shorter MAC than there is", set(mac, &[0, 20]));
    case("a signature with more other data than there is", set(signed.len() - 2, &[0, 1]));
    case("a signature by a key that points to itself", set(at, &[0xc0, at as u8]));
    let counted = |section: usize, parts: &[&[u8]]| {
        let mut message = parts.concat();
        message[5 + 2 * section] += 1;
        message
    };
    case("two signatures", counted(3, &[&signed, &tsig]));
    case("a record behind the signature", counted(3, &[&signed, &record("x.test", 16, 1, 0, &txt("x"))]));
    case("a signature among the updates", counted(2, &[&plain, &tsig]));
    let prerequisite = counted(1, &[&plain[..question_end], &tsig, &plain[question_end..]]);
    case("a signature among the prerequisites", prerequisite);
    for length in 12..plain.len() {
        case(&format!("{length} octets of it"), plain[..length].to_vec());
    }
    for length in plain.len() + 1..signed.len() {
        case(&format!("{length} octets of it, signed"), signed[..length].to_vec());
    }
    list
}

#[test]
fn an_update_that_cannot_be_read_is_formerr_and_not_signed_rfc2136_3_8_rfc8945_5_2() {
    let server = server();
    let before = state(&server);
    for via in BOTH {
        for (what, message) in broken_messages() {
            let octets = exchange(&server, via, &message);
            assert_eq!(octets.len(), 12, "{what} over {via:?}: {octets:02x?}");
            assert_eq!((&octets[..2], octets[2] & 0xf8, octets[3] & 0x0f), (&message[..2], 0x80 | 5 << 3, 1), "{what}");
        }
        assert_eq!(state(&server), before, "over {via:?}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn any_octet_of_an_update_may_be_another_one() {
    let (server, key) = (server(), key());
    let signed = key.sign(&good().bytes(), &Stamp::now()).octets;
    let before = state(&server);
    let socket = dns(&server).udp_socket();
    let mut reply = [0; 2048];
    let mac = signed.len() - 6 - 32;
    for at in 0..signed.len() {
        for octet in [0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff, signed[at] ^ 1] {
            let mut changed = signed.clone();
            changed[at] = octet;
            // The id is not signed, and letters of the key's names have no case.
            let is_same = changed == signed || at < 2 || changed[at].eq_ignore_ascii_case(&signed[at]);
            if is_same || changed[2] & 0x80 != 0 {
                continue;
            }
            socket.send(&changed).unwrap();
            let length = socket.recv(&mut reply).unwrap_or_else(|error| panic!("octet {at} as {octet:#x}: {error}"));
            assert_ne!(reply[3] & 0x0f, 0, "octet {at} of {length}, MAC at {mac}, as {octet:#x}");
        }
    }
    assert_eq!(state(&server), before);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
