//! The rules of the DNS, on octets. The `domain` crate, which encodes nothing here, reads the answers.

mod cookies;
mod edns;

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName, UnknownRecordData};

use super::*;
use crate::zone::{Change, Name, TxtSet, TxtValue, Zone, Zones, master};

const ZONE: &str = r#"
$TTL 1h
@         SOA   ns1 hostmaster.example.org. 7 4h 1h 2w 300
@         NS    ns1
@         NS    ns.elsewhere.net.
ns1       A     192.0.2.1
ns1       AAAA  2001:db8::1
a.b.c     A     192.0.2.2
*.wild    TXT   "from the wildcard"
x.wild    A     192.0.2.3
*.wildc   CNAME www.example.net.
alias     CNAME ns1
out       CNAME www.example.net.
dangling  CNAME nowhere
toward    CNAME account
below     CNAME www.sub
loop1     CNAME loop2
loop2     CNAME loop1
sub       NS    ns.sub
sub       NS    ns.sister
ns.sub    A     192.0.2.4
ns.sister A     192.0.2.5
mixed     TXT   "Case Stays" "and so do strings"
empty     TXT   ""
both      TXT   "one"
mail      MX    10 Ns1
"#;

const NOW: Timestamp = 1_000_000;
static COOKIES: LazyLock<Cookies> = LazyLock::new(|| Cookies::new(&[7; 16], &[[8; 16]]));

fn context(transport: Transport) -> Context<'static> {
    Context {
        ttls: Ttls { txt: 1, negative: 1 },
        cookies: &COOKIES,
        client: Ipv4Addr::new(192, 0, 2, 99).into(),
        transport,
        now: NOW,
        limited: &|| false,
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn live() -> Live {
    let origin = name("auth.example.org");
    let zone = Zone::from_records(origin.clone(), master::read(ZONE, &origin).unwrap()).unwrap();
    let challenge =
        Zone::from_nameservers(name("_acme-challenge.example.net"), &[name("ns1.auth.example.org")]).unwrap();
    let persist =
        Zone::from_nameservers(name("_validation-persist.example.net"), &[name("ns1.auth.example.org")]).unwrap();
    let live = Live::new(Zones::new([zone, challenge, persist]));
    live.publish([Change::Registered { name: name("account.auth.example.org") }], 0);
    live
}

fn put(live: &Live, at: &str, values: &[&str]) {
    let mut set = TxtSet::default();
    for value in values {
        set.add(TxtValue::new(value.as_bytes()).unwrap(), NOW + 60);
    }
    live.publish([Change::Txt { name: name(at), set }], live.revision() + 1);
}

/// A query as dig +norecurse +noedns sends it.
fn query(qname: &str, qtype: u16) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in qname.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

fn with_opt(mut packet: Vec<u8>, payload: u16, ttl: u32, options: &[u8]) -> Vec<u8> {
    packet[11] += 1;
    packet.extend_from_slice(&[0, 0, 41]);
    packet.extend_from_slice(&payload.to_be_bytes());
    packet.extend_from_slice(&ttl.to_be_bytes());
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

fn raw(live: &Live, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match answer(live, &context(transport), packet, &mut out) {
        Verdict::Reply => Some(out),
        Verdict::Silence => None,
        Verdict::Rare => panic!("given to the handler"),
    }
}

/// What an answer says, read by another implementation: records as `owner ttl TYPE rdata-as-hex-or-text`.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    rcode: u8,
    aa: bool,
    tc: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
    opt: bool,
}

fn read(reply: &[u8]) -> Said {
    let message = Message::from_octets(reply).unwrap();
    assert!(message.header().qr() && !message.header().ra() && !message.header().z() && !message.header().ad());
    let (_, answer, authority, additional) = message.sections().unwrap();
    let section = |section: domain::base::message::RecordSection<'_, _>| -> Vec<String> {
        section
            .filter_map(|record| {
                let record = record.unwrap();
                if record.rtype() == Rtype::OPT {
                    return None;
                }
                type Data<'a> = domain::rdata::AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
                let parsed = record.to_record::<Data<'_>>().ok().flatten();
                let data = match parsed {
                    Some(parsed) => parsed.data().to_string(),
                    None => format!("{:?}", record.to_record::<UnknownRecordData<_>>()),
                };
                let data: Vec<&str> = data.split(' ').map(|word| word.strip_suffix('.').unwrap_or(word)).collect();
                let data = data.join(" ");
                Some(format!("{} {} {} {}", record.owner(), record.ttl().as_secs(), record.rtype(), data))
            })
            .collect()
    };
    Said {
        rcode: message.header().rcode().to_int(),
        aa: message.header().aa(),
        tc: message.header().tc(),
        answer: section(answer),
        authority: section(authority),
        additional: section(additional),
        opt: message.opt().is_some(),
    }
}

fn ask(live: &Live, qname: &str, qtype: u16) -> Said {
    let packet = query(qname, qtype);
    let reply = raw(live, &packet, Transport::Udp).unwrap();
    assert_eq!(reply[..2], packet[..2]);
    assert_eq!(reply[12..packet.len()], packet[12..], "the question is echoed octet for octet");
    read(&reply)
}

fn soa(origin: &str, serial: u32) -> String {
    format!("{origin} 1 SOA ns1.{origin} hostmaster.example.org {serial} 14400 3600 1209600 300")
}

const A: u16 = rtype::A;
const TXT: u16 = rtype::TXT;

#[track_caller]
fn is_nodata(said: &Said) {
    assert_eq!((said.rcode, said.aa, said.answer.len()), (0, true, 0), "{said:?}");
    assert!(said.authority.len() == 1 && said.authority[0].contains(" 1 SOA "), "{said:?}");
}

#[track_caller]
fn is_nxdomain(said: &Said) {
    assert_eq!((said.rcode, said.aa, said.answer.len()), (3, true, 0), "{said:?}");
    assert!(said.authority.len() == 1 && said.authority[0].contains(" 1 SOA "), "{said:?}");
}

#[test]
fn a_registered_label_is_never_nxdomain() {
    let live = live();
    for qtype in [TXT, A, rtype::NS, rtype::SOA, rtype::CNAME, rtype::AAAA, 257, 65, 1000, rtype::ANY, rtype::DS] {
        is_nodata(&ask(&live, "account.auth.example.org", qtype));
        is_nodata(&ask(&live, "_acme-challenge.account.auth.example.org", qtype));
    }
    is_nxdomain(&ask(&live, "other.auth.example.org", TXT));
    is_nxdomain(&ask(&live, "below.account.auth.example.org", TXT));
}

#[test]
fn values_are_answered_with_a_ttl_of_one_second() {
    let live = live();
    put(&live, "account.auth.example.org", &["one", "two"]);
    for spelling in ["account.auth.example.org", "AcCoUnT.AUTH.example.org", "_acme-challenge.account.auth.example.org"]
    {
        let said = ask(&live, spelling, TXT);
        assert_eq!((said.rcode, said.aa), (0, true));
        assert_eq!(said.answer, [format!("{spelling} 1 TXT \"one\""), format!("{spelling} 1 TXT \"two\"")]);
    }
    is_nodata(&ask(&live, "account.auth.example.org", A));
}

#[test]
fn an_expired_value_is_not_answered() {
    let live = live();
    put(&live, "account.auth.example.org", &["one"]);
    let mut out = Vec::new();
    let packet = query("account.auth.example.org", TXT);
    answer(&live, &Context { now: NOW + 60, ..context(Transport::Udp) }, &packet, &mut out);
    is_nodata(&read(&out));
}

#[test]
fn the_ready_denial_is_what_the_encoder_writes_rfc1035_4_1_4() {
    let origins = ["auth.example.org", "org", "."];
    let names = ["ns1.auth.example.org.", "Host.example.org.", "org.", ".", "auth.example.org.", "ns.elsewhere.net."];
    let pairs: Vec<_> = names.iter().flat_map(|mname| names.map(|rname| (*mname, rname))).collect();
    for (origin, (mname, rname)) in origins.iter().flat_map(|origin| pairs.iter().map(move |pair| (*origin, *pair))) {
        let file = format!("$TTL 60\n@ SOA {mname} {rname} 7 2 3 4 300\n@ NS ns1\n");
        let origin = name(origin);
        let zone = Zone::from_records(origin.clone(), master::read(&file, &origin).unwrap()).unwrap();
        let longest = "a.".repeat(118) + "auth.example.org";
        for qname in ["x.y.auth.example.org", &origin.to_string(), &longest] {
            let packet = query(qname, 16);
            let mut ready = Vec::new();
            let mut encoder = Encoder::new(&mut ready, &packet, &packet[HEADER..], None, 512);
            encoder.denial(origin.as_wire(), zone.denial(), 60, 7).unwrap();
            encoder.end(Rcode::NXDOMAIN);
            let mut plain = Vec::new();
            let mut encoder = Encoder::new(&mut plain, &packet, &packet[HEADER..], None, 512);
            encoder.named_record(Section::Authority, origin.as_wire(), 6, 60, &zone.soa().rdata).unwrap();
            encoder.end(Rcode::NXDOMAIN);
            assert_eq!(read(&ready), read(&plain), "{qname} {origin} {mname} {rname}");
            // The encoder also knows what is above the origin, and what the two names have in common.
            if origin == name("auth.example.org") && mname != rname {
                assert!(ready.len() <= plain.len(), "{qname} {mname} {rname}");
            }
        }
    }
}

#[test]
fn the_serial_moves_with_every_change_rfc1035_3_3_13() {
    let live = live();
    assert_eq!(ask(&live, "none.auth.example.org", TXT).authority, [soa("auth.example.org", 7)]);
    put(&live, "account.auth.example.org", &["one"]);
    assert_eq!(ask(&live, "none.auth.example.org", TXT).authority, [soa("auth.example.org", 8)]);
    let at_apex = ask(&live, "auth.example.org", rtype::SOA);
    assert_eq!(at_apex.answer, [soa("auth.example.org", 8).replace(" 1 SOA", " 3600 SOA")]);
}

#[test]
fn a_challenge_zone_has_its_values_at_its_apex() {
    let live = live();
    is_nodata(&ask(&live, "_acme-challenge.example.net", TXT));
    put(&live, "_acme-challenge.example.net", &["one"]);
    assert_eq!(ask(&live, "_acme-challenge.example.net", TXT).answer, ["_acme-challenge.example.net 1 TXT \"one\""]);
    let ns = ask(&live, "_acme-challenge.example.net", rtype::NS);
    assert_eq!(ns.answer, ["_acme-challenge.example.net 3600 NS ns1.auth.example.org"]);
    is_nodata(&ask(&live, "_acme-challenge.example.net", rtype::MX));
    is_nxdomain(&ask(&live, "x._acme-challenge.example.net", TXT));
}

/// dns-account-01 and dns-persist-01 beside dns-01; the empty non-terminals of RFC 4592 section 2.2.2 in between.
#[test]
fn every_name_that_cas_look_at_takes_values_rfc8020_2() {
    let live = live();
    let values = [
        ("_ujmmovf2vn55tgye._acme-challenge.example.net", "in a challenge zone"),
        ("_ujmmovf2vn55tgye._acme-challenge.www.shop.auth.example.org", "a host's"),
        ("_validation-persist.www.shop.auth.example.org", "a host's too"),
        ("_ujmmovf2vn55tgye._acme-challenge.account.auth.example.org", "below a label"),
    ];
    for (at, value) in values {
        let at = name(at);
        assert_eq!(live.challenge_name(&at), Ok(at.clone()));
        is_nxdomain(&ask(&live, &at.to_string(), TXT));
        put(&live, &at.to_string(), &[value]);
    }
    put(&live, "account.auth.example.org", &["the label's"]);
    for (at, value) in values {
        assert_eq!(ask(&live, at, TXT).answer, [format!("{at} 1 TXT \"{value}\"")]);
        is_nodata(&ask(&live, at, rtype::CAA));
    }
    is_nodata(&ask(&live, "_acme-challenge.example.net", TXT));
    is_nodata(&ask(&live, "_acme-challenge.www.shop.auth.example.org", TXT));
    let label = ask(&live, "_acme-challenge.account.auth.example.org", TXT);
    assert_eq!(label.answer, ["_acme-challenge.account.auth.example.org 1 TXT \"the label's\""]);
    for (at, _) in values {
        put(&live, at, &[]);
        is_nxdomain(&ask(&live, at, TXT));
    }
    is_nodata(&ask(&live, "_acme-challenge.example.net", TXT));
    is_nxdomain(&ask(&live, "_acme-challenge.www.shop.auth.example.org", TXT));
    // A zone of its own.
    let at = "_validation-persist.example.net";
    assert_eq!(live.challenge_name(&name(at)), Ok(name(at)));
    is_nodata(&ask(&live, at, TXT));
    put(&live, at, &["one"]);
    assert_eq!(ask(&live, at, TXT).answer, [format!("{at} 1 TXT \"one\"")]);
    for other in ["x._acme-challenge.example.net", "x._validation-persist.example.net", "x.shop.auth.example.org"] {
        assert!(live.challenge_name(&name(other)).is_err(), "{other}");
    }
}

#[test]
fn a_challenge_name_of_a_host_in_the_zone_exists_while_it_has_values() {
    let live = live();
    is_nxdomain(&ask(&live, "_acme-challenge.www.shop.auth.example.org", TXT));
    put(&live, "_acme-challenge.www.shop.auth.example.org", &["one"]);
    assert_eq!(ask(&live, "_acme-challenge.www.shop.auth.example.org", TXT).answer.len(), 1);
    // empty non-terminals, RFC 4592 section 2.2.2
    is_nodata(&ask(&live, "www.shop.auth.example.org", TXT));
    is_nodata(&ask(&live, "shop.auth.example.org", A));
    put(&live, "_acme-challenge.www.shop.auth.example.org", &[]);
    is_nxdomain(&ask(&live, "_acme-challenge.www.shop.auth.example.org", TXT));
    is_nxdomain(&ask(&live, "shop.auth.example.org", A));
}

#[test]
fn out_of_zone_is_refused_with_empty_sections() {
    let live = live();
    for qname in ["example.org", "example.com", "xauth.example.org", ".", "account.auth.example.org.evil.test"] {
        let said = ask(&live, qname, TXT);
        assert_eq!((said.rcode, said.aa), (5, false), "{qname}");
        assert_eq!(said.answer.len() + said.authority.len() + said.additional.len(), 0);
    }
}

#[test]
fn an_empty_non_terminal_is_nodata_rfc4592_2_2_2() {
    let live = live();
    is_nodata(&ask(&live, "c.auth.example.org", A));
    is_nodata(&ask(&live, "b.c.auth.example.org", A));
    is_nxdomain(&ask(&live, "x.b.c.auth.example.org", A));
}

#[test]
fn wildcards_are_expanded_from_the_closest_encloser_rfc4592_3_3() {
    let live = live();
    let said = ask(&live, "Some.Thing.wild.auth.example.org", TXT);
    assert_eq!(said.answer, ["Some.Thing.wild.auth.example.org 3600 TXT \"from the wildcard\""]);
    is_nodata(&ask(&live, "other.wild.auth.example.org", A)); // the wildcard has no A
    is_nodata(&ask(&live, "x.wild.auth.example.org", TXT)); // an existing name is no match
    is_nxdomain(&ask(&live, "y.x.wild.auth.example.org", TXT)); // below an existing name neither
    is_nodata(&ask(&live, "wild.auth.example.org", TXT)); // the encloser itself
    let cname = ask(&live, "any.wildc.auth.example.org", A);
    assert_eq!(cname.answer, ["any.wildc.auth.example.org 3600 CNAME www.example.net"]);
}

#[test]
fn a_cname_is_followed_inside_our_zones_rfc1034_4_3_2() {
    let live = live();
    let said = ask(&live, "alias.auth.example.org", A);
    assert_eq!(
        said.answer,
        ["alias.auth.example.org 3600 CNAME ns1.auth.example.org", "ns1.auth.example.org 3600 A 192.0.2.1"]
    );
    let out = ask(&live, "out.auth.example.org", A);
    assert_eq!((out.rcode, out.aa, out.answer.len(), out.authority.len()), (0, true, 1, 0));
    let cname = ask(&live, "alias.auth.example.org", rtype::CNAME);
    assert_eq!(cname.answer.len(), 1);
    // RFC 2308 section 2.1: the RCODE is that of the last name
    let dangling = ask(&live, "dangling.auth.example.org", A);
    assert_eq!((dangling.rcode, dangling.answer.len(), dangling.authority.len()), (3, 1, 1));
    let nodata = ask(&live, "alias.auth.example.org", TXT);
    assert_eq!((nodata.rcode, nodata.answer.len(), nodata.authority.len()), (0, 1, 1));
    put(&live, "account.auth.example.org", &["one"]);
    assert_eq!(
        ask(&live, "toward.auth.example.org", TXT).answer,
        ["toward.auth.example.org 3600 CNAME account.auth.example.org", "account.auth.example.org 1 TXT \"one\""]
    );
    assert_eq!(ask(&live, "loop1.auth.example.org", A).answer.len(), 2);
}

#[test]
fn below_a_cut_there_is_a_referral_with_glue_rfc1034_4_2_1() {
    let live = live();
    for (qname, qtype) in
        [("sub.auth.example.org", A), ("deep.sub.auth.example.org", TXT), ("sub.auth.example.org", TXT)]
    {
        let said = ask(&live, qname, qtype);
        assert_eq!((said.rcode, said.aa, said.answer.len()), (0, false, 0));
        assert_eq!(
            said.authority,
            [
                "sub.auth.example.org 3600 NS ns.sub.auth.example.org",
                "sub.auth.example.org 3600 NS ns.sister.auth.example.org"
            ]
        );
        assert_eq!(
            said.additional,
            ["ns.sub.auth.example.org 3600 A 192.0.2.4", "ns.sister.auth.example.org 3600 A 192.0.2.5"]
        );
    }
    // RFC 1034 section 4.3.2 step 3b, also for a name that a CNAME led to; AA is for the first name (RFC 1035 4.1.1)
    let referral = ask(&live, "sub.auth.example.org", A);
    let alias = ask(&live, "below.auth.example.org", A);
    assert_eq!((alias.rcode, alias.aa), (0, true));
    assert_eq!(alias.answer, ["below.auth.example.org 3600 CNAME www.sub.auth.example.org"]);
    assert_eq!((alias.authority, alias.additional), (referral.authority, referral.additional));
    is_nodata(&ask(&live, "sub.auth.example.org", rtype::DS)); // RFC 4035 section 3.1.4.1
}

#[test]
fn any_is_answered_minimally_rfc8482_4_2() {
    let live = live();
    let said = ask(&live, "auth.example.org", rtype::ANY);
    assert_eq!(said.answer, ["auth.example.org 1 HINFO \"RFC8482\" \"\""]);
    let alias = ask(&live, "alias.auth.example.org", rtype::ANY);
    assert_eq!(alias.answer, ["alias.auth.example.org 3600 CNAME ns1.auth.example.org"]);
    is_nodata(&ask(&live, "c.auth.example.org", rtype::ANY));
    is_nxdomain(&ask(&live, "none.auth.example.org", rtype::ANY));
}

#[test]
fn other_classes_and_transfers_are_refused() {
    let live = live();
    let mut chaos = query("version.bind", TXT);
    let len = chaos.len();
    chaos[len - 1] = 3;
    assert_eq!(read(&raw(&live, &chaos, Transport::Udp).unwrap()).rcode, 5);
    for qtype in [rtype::AXFR, rtype::IXFR] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = raw(&live, &query("auth.example.org", qtype), transport).unwrap();
            assert_eq!(read(&reply).rcode, 5);
        }
    }
}

#[test]
fn a_text_that_is_in_the_zone_file_and_a_value_is_one_record_rfc2181_5() {
    let live = live();
    put(&live, "both.auth.example.org", &["one", "two"]);
    let said = ask(&live, "both.auth.example.org", TXT);
    assert_eq!(said.answer, ["both.auth.example.org 1 TXT \"one\"", "both.auth.example.org 1 TXT \"two\""]);
}

#[test]
fn text_and_strings_stay_as_written() {
    let live = live();
    let said = ask(&live, "mixed.auth.example.org", TXT);
    assert_eq!(said.answer, ["mixed.auth.example.org 3600 TXT \"Case Stays\" \"and so do strings\""]);
    assert_eq!(ask(&live, "empty.auth.example.org", TXT).answer, ["empty.auth.example.org 3600 TXT \"\""]);
}

#[test]
fn flags_rd_and_cd_come_back_rfc1035_4_1_1() {
    let live = live();
    let mut packet = query("account.auth.example.org", TXT);
    packet[2] |= 0x01;
    packet[3] |= 0x10 | 0x40 | 0x20; // CD, Z, AD
    let reply = raw(&live, &packet, Transport::Udp).unwrap();
    assert_eq!((reply[2], reply[3]), (0x85, 0x10));
}

#[test]
fn edns_is_answered_rfc6891_6_1() {
    let live = live();
    let plain = query("account.auth.example.org", TXT);
    let option = [0, 100, 0, 2, 1, 2];
    let reply = raw(&live, &with_opt(plain.clone(), 4096, 0x0000_ffff, &option), Transport::Udp).unwrap();
    // OPT last: root, 41, 1232, extended RCODE 0, version 0, DO alone, no options
    assert_eq!(reply[reply.len() - 11..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    assert!(!read(&raw(&live, &plain, Transport::Udp).unwrap()).opt);
    let badvers = raw(&live, &with_opt(plain.clone(), 4096, 0x0001_0000, &[]), Transport::Udp).unwrap();
    assert_eq!(badvers[badvers.len() - 11..], [0, 0, 41, 0x04, 0xd0, 1, 0, 0, 0, 0, 0]);
    assert_eq!((badvers[3] & 0x0f, read(&badvers).authority.len()), (0, 0));
    let two = with_opt(with_opt(plain.clone(), 4096, 0, &[]), 4096, 0, &[]);
    assert_eq!(raw(&live, &two, Transport::Udp).unwrap()[3] & 0x0f, 1);
    let malformed = with_opt(plain, 4096, 0, &[0, 100, 0, 9, 1]);
    assert_eq!(raw(&live, &malformed, Transport::Udp).unwrap()[3] & 0x0f, 1);
}

#[test]
fn udp_is_cut_at_512_without_edns_and_at_1232_with_it_rfc9715() {
    let live = live();
    let values: Vec<String> = (0..64).map(|n| format!("{n:043}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let lengths = |count: usize, packet: &[u8]| {
        put(&live, "account.auth.example.org", &values[..count]);
        let reply = raw(&live, packet, Transport::Udp).unwrap();
        (read(&reply), reply.len())
    };
    let plain = query("account.auth.example.org", TXT);
    let edns = with_opt(plain.clone(), 65535, 0, &[]);
    let (said, len) = lengths(8, &plain);
    assert!(!said.tc && said.answer.len() == 8 && len <= 512, "{len}");
    let (said, len) = lengths(9, &plain);
    assert!(said.tc && said.aa && said.answer.is_empty() && len == plain.len());
    let (said, len) = lengths(20, &edns);
    assert!(!said.tc && said.answer.len() == 20 && len <= 1232, "{len}");
    let (said, len) = lengths(32, &edns);
    assert!(said.tc && said.answer.is_empty() && said.opt && len <= 1232);
    let tiny = with_opt(plain.clone(), 100, 0, &[]);
    let (said, _) = lengths(8, &tiny); // less than 512 counts as 512, RFC 6891 section 6.2.3
    assert!(!said.tc);
    put(&live, "account.auth.example.org", &values);
    let tcp = read(&raw(&live, &plain, Transport::Tcp).unwrap());
    assert!(!tcp.tc && tcp.answer.len() == 64);
}

#[test]
fn the_opcode_is_looked_at_first_rfc9619() {
    let live = live();
    for opcode in [1u8, 2, 3, 6, 7, 15] {
        let packet = [1, 2, opcode << 3 | 1, 0, 0xff, 0xff, 0, 9, 0, 9, 0, 9];
        let reply = raw(&live, &packet, Transport::Udp).unwrap();
        assert_eq!(reply, [1, 2, 0x81 | opcode << 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    for opcode in [4u8, 5] {
        let packet = [1, 2, opcode << 3, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        assert_eq!(raw(&live, &packet, Transport::Udp).unwrap()[3], 1, "no bomb reaches the parser");
    }
}

#[test]
fn questions_other_than_one_are_formerr_rfc9619() {
    let live = live();
    for count in [0u16, 2, 65535] {
        let mut packet = query("account.auth.example.org", TXT);
        packet[4..6].copy_from_slice(&count.to_be_bytes());
        let reply = raw(&live, &packet, Transport::Udp).unwrap();
        assert_eq!((reply.len(), reply[3]), (12, 1));
    }
    let header = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(raw(&live, &with_opt(header, 1232, 0, &[]), Transport::Udp).unwrap()[3] & 0x0f, 1);
}

#[test]
fn what_is_no_query_gets_silence_or_formerr() {
    let live = live();
    let good = with_opt(query("account.auth.example.org", TXT), 1232, 0, &[]);
    for len in 0..12 {
        assert_eq!(raw(&live, &good[..len], Transport::Udp), None);
    }
    for len in 12..good.len() {
        assert_eq!(raw(&live, &good[..len], Transport::Udp).unwrap()[3] & 0x0f, 1, "cut at {len}");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(raw(&live, &response, Transport::Udp), None);
    let pointer = [1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 16, 0, 1];
    assert_eq!(raw(&live, &pointer, Transport::Udp).unwrap()[3] & 0x0f, 1);
}

/// No input may panic, get an answer that does not parse, or one longer than allowed.
#[test]
fn mutated_packets_get_sound_answers() {
    let live = live();
    put(&live, "account.auth.example.org", &["one"; 1]);
    let seeds = [
        query("account.auth.example.org", TXT),
        with_opt(query("Some.Thing.wild.auth.example.org", TXT), 4096, 0x8000, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        query("deep.sub.auth.example.org", A),
        query("loop1.auth.example.org", A),
        with_opt(query("mail.auth.example.org", 15), 1232, 0, &[]),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut out = Vec::new();
    for round in 0..60_000 {
        let mut packet = seeds[round % seeds.len()].clone();
        for _ in 0..=random() % 4 {
            let at = random() % packet.len();
            match random() % 4 {
                0 => packet[at] = random() as u8,
                1 => packet[at] ^= 1 << (random() % 8),
                2 => packet.truncate(at.max(1)),
                _ => packet.insert(at, random() as u8),
            }
        }
        let transport = if random() % 2 == 0 { Transport::Udp } else { Transport::Tcp };
        if answer(&live, &context(transport), &packet, &mut out) == Verdict::Reply {
            assert!(out.len() <= 1232 || transport == Transport::Tcp);
            let said = Message::from_octets(&out[..]).unwrap();
            for section in [said.answer().unwrap(), said.authority().unwrap(), said.additional().unwrap()] {
                for record in section {
                    record.unwrap();
                }
            }
        }
    }
}
