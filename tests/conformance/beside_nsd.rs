//! The same zone served by NSD and by acmezone, and the same questions put to both: what differs is written down here.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use crate::support::{Meaning, Nsd, Query, RawDns, Reply, Rtype};
use crate::{lines, serving};

/// All that makes look-ups hard, once; no record that NSD would refuse.
const ZONE: &str = "\
$TTL 1h
@             900 SOA ns1 hostmaster 7 4h 1h 2w 300
@             NS    ns1
@             NS    ns.elsewhere.example.
@             MX    10 mail
@             CAA   0 issue \"ca.example\"
@             TXT   \"apex\"
ns1           A     192.0.2.1
ns1           AAAA  2001:db8::1
mail          A     192.0.2.2
www           A     192.0.2.3
www           A     192.0.2.4
www           TXT   \"one\" \"two\"
www           HTTPS 1 . alpn=h2
leaf.b.a      A     192.0.2.5
_sip._tcp     SRV   0 5 5060 www
_443._tcp.www TLSA  3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
one           CNAME two
two           60 CNAME three
three         CNAME www
out           CNAME www.elsewhere.example.
gone          CNAME nothing
deepgone      CNAME x.y.www
tocut         CNAME sub
below         CNAME host.sub
wildalias     CNAME any.w
toent         CNAME a
*.w           TXT   \"wild\"
*.w           A     192.0.2.6
x.w           A     192.0.2.7
y.e.w         A     192.0.2.8
sub.*.w       TXT   \"below the asterisk\"
*.alias       CNAME www
*.outside     CNAME www.elsewhere.example.
*.nowhere     CNAME nothing
*.tosub       CNAME host.sub
z.alias       TXT   \"exists\"
sub           NS    ns.sub
sub           NS    ns.sister
sub           DS    12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC1234
ns.sub        A     192.0.2.53
ns.sub        AAAA  2001:db8::53
deep.sub      TXT   \"below the cut\"
sister        NS    ns.sister
ns.sister     A     192.0.2.54
bare          NS    ns.elsewhere.example.
cut.below.ent NS    ns1
new           TYPE65280 \\# 4 0a000001
\\000\\255       A     192.0.2.9
a\\.b          A     192.0.2.10
";

const ORIGIN: &str = "beside.example";

/// Not NSEC3: NSD looks for it among the owners of NSEC3 records alone (RFC 5155 section 7.2.8), and follows no CNAME.
fn types() -> Vec<Rtype> {
    let numbers =
        [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 39, 43, 44, 46, 47, 48, 52, 64, 65, 99, 255, 257, 1000, 65280, 65534];
    numbers.into_iter().map(Rtype::from_int).collect()
}

/// Every owner, every name above one, and beside and below each names that are not there.
fn names() -> BTreeSet<String> {
    let owners = ZONE.lines().skip(1).map(|line| line.split_whitespace().next().unwrap());
    let mut names = BTreeSet::new();
    for owner in owners.filter(|owner| *owner != "@") {
        let mut part = owner;
        loop {
            names.insert(format!("{part}.{ORIGIN}"));
            for other in ["x", "*", "www", "sub", "zzz", "a.b", "x.*", "_acme-challenge"] {
                names.insert(format!("{other}.{part}.{ORIGIN}"));
            }
            names.insert(format!("{}.{ORIGIN}", part.to_ascii_uppercase()));
            names.insert(format!("y{part}.{ORIGIN}"));
            let Some((_, above)) = part.split_once('.').filter(|_| !part.contains('\\')) else { break };
            part = above;
        }
    }
    names.extend([ORIGIN.to_owned(), format!("*.{ORIGIN}"), "example".into(), "xbeside.example".into(), ".".into()]);
    names
}

fn ask(socket: &UdpSocket, query: &Query) -> Reply {
    socket.send(&query.bytes()).unwrap();
    let mut octets = [0; 4096];
    let length = socket.recv(&mut octets).unwrap_or_else(|error| panic!("no answer to {query:?}: {error}"));
    let reply = Reply::parse(&octets[..length]);
    assert_eq!(reply.header.id(), query.id);
    reply
}

fn socket(server: SocketAddr) -> UdpSocket {
    RawDns::new(server).udp_socket()
}

/// Puts all questions to both; panics with those whose answers differ after `level` has removed what may differ.
#[track_caller]
fn compare(ours: SocketAddr, theirs: SocketAddr, level: impl Fn(&Query, &mut Meaning, &mut Meaning)) {
    let (mut compared, mut differing) = (0, Vec::new());
    let (ours, theirs) = (socket(ours), socket(theirs));
    for name in names() {
        for rtype in types() {
            let query = Query::new(&name, rtype);
            // half of them with EDNS: the answers must not differ by that
            let query = if compared % 2 == 0 { query.edns(1232) } else { query };
            let replies = [&ours, &theirs].map(|socket| ask(socket, &query));
            let [mut ours, mut theirs] = replies.each_ref().map(Meaning::of);
            level(&query, &mut ours, &mut theirs);
            compared += 1;
            if ours != theirs {
                let [ours, theirs] = replies.map(|reply| {
                    let sections = [&reply.answer, &reply.authority, &reply.additional];
                    format!("{} aa={} {:?}", reply.rcode, reply.header.aa(), sections.map(|section| lines(section)))
                });
                differing.push(format!("{name} {rtype}\n  acmezone: {ours}\n  NSD:      {theirs}"));
            }
        }
    }
    println!("{compared} questions");
    let some = differing[..differing.len().min(12)].join("\n");
    assert!(differing.is_empty(), "{} of {compared} differ:\n{some}", differing.len());
    assert!(compared > 10_000);
}

/// NSD says no more than it must, as acmezone does.
fn nsd() -> Nsd {
    Nsd::start_with("    minimal-responses: yes", &[(ORIGIN, ZONE)])
}

/// Removes what differs on purpose.
fn on_purpose(query: &Query, ours: &mut Meaning, theirs: &mut Meaning) {
    // Of an SOA record's names NSD takes from the question what it finds there, in the case of the question; acmezone
    // the origin's labels alone, and the rest as the zone file has it. Both are right (RFC 4343 section 4.1).
    for meaning in [&mut *ours, &mut *theirs] {
        for (_, _, _, rdata) in meaning.sections[1].iter_mut().filter(|record| record.2 == Rtype::SOA.to_int()) {
            let names = rdata.len() - 20;
            rdata[..names].make_ascii_lowercase();
        }
    }
    // RFC 8482 section 4: where NSD sends every RRset of the name, acmezone sends a HINFO record that says why not.
    if query.rtype == Rtype::ANY && ours.sections[0].iter().all(|record| record.2 == Rtype::HINFO.to_int()) {
        let [ours, theirs] = [ours, theirs].map(|meaning| meaning.sections[0].drain(..).count());
        assert_eq!(ours > 0, theirs > 0, "{query:?}");
    } else if query.rtype == Rtype::NS && theirs.aa && theirs.sections[1].is_empty() {
        // Of addresses that nobody needs, NSD adds those of the zone's own name servers; whoever asks has them.
        theirs.sections[2].clear();
    }
}

#[test]
fn nsd_and_acmezone_mean_the_same() {
    // So long a `negative_ttl` that the zone's own bounds count.
    let server = serving("negative_ttl = \"1d\"", &[(ORIGIN, ZONE)]);
    compare(server.dns, nsd().addr(), on_purpose);
}

#[test]
fn a_zone_with_live_names_differs_in_serial_and_negative_ttl_alone() {
    let server = serving("", &[(ORIGIN, ZONE)]);
    server.cli(&["account", "create", "--label", "chosen"]).expect_success();
    server.cli(&["txt", "add", &format!("chosen.{ORIGIN}"), "value"]).expect_success();
    compare(server.dns, nsd().addr(), |query, ours, theirs| {
        on_purpose(query, ours, theirs);
        for meaning in [ours, theirs] {
            for (section, records) in meaning.sections.iter_mut().enumerate() {
                for (_, ttl, rtype, rdata) in records.iter_mut().filter(|record| record.2 == Rtype::SOA.to_int()) {
                    assert_eq!(*rtype, 6);
                    // The serial moves with every change of a value (RFC 1035 section 3.3.13).
                    let serial = rdata.len() - 20;
                    rdata[serial..serial + 4].fill(0);
                    // RFC 2308 section 5: `negative_ttl`, 1 s unless set, is a bound of its own.
                    *ttl = if section == 1 { (*ttl).min(1) } else { *ttl };
                }
            }
        }
    });
}
