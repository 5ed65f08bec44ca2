//! One zone's static records: a tree of names, each with its RRsets, empty non-terminals included.

use std::collections::HashMap;

use hashbrown::HashTable;

use super::key::Lengths;
use super::record::{Located, Place, Record, ZoneProblem, rdata_is_sound, rtype};
use super::{Denial, Key, Label, Name};

/// All records of one owner and type (RFC 2181 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// RDATA of each record in wire form, names uncompressed.
    pub rdata: Vec<Box<[u8]>>,
}

/// A name that exists. Without RRsets it is an empty non-terminal (RFC 4592 section 2.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub rrsets: Vec<RrSet>,
}

impl Node {
    pub fn rrset(&self, rtype: u16) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }
}

/// The static part of a zone, complete and checked.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Name,
    nodes: HashTable<(Name, Node)>,
    lengths: Lengths,
    soa: Soa,
    denial: Denial,
    /// Whether any name below the origin has NS records.
    has_cuts: bool,
    pub(super) made: Made,
}

/// What a zone was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Made {
    /// A master file.
    #[default]
    File,
    /// The names of its name servers.
    Nameservers,
    /// An alias: the values at its apex are those of this name.
    Alias(Name),
}

/// The start of authority (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// Seconds.
    pub ttl: u32,
    /// Wire form; the last 20 octets are SERIAL, REFRESH, RETRY, EXPIRE, MINIMUM.
    pub rdata: Box<[u8]>,
}

impl Soa {
    /// `None` if `rdata` is not two names and 20 octets.
    pub fn new(ttl: u32, rdata: Box<[u8]>) -> Option<Soa> {
        rdata_is_sound(rtype::SOA, &rdata).then_some(Soa { ttl, rdata })
    }

    /// The number at `index` of the last five.
    fn number(&self, index: usize) -> u32 {
        let numbers = self.rdata.last_chunk::<20>().map_or(&[][..], |octets| octets.as_chunks::<4>().0);
        numbers.get(index).copied().map_or(0, u32::from_be_bytes)
    }

    /// SERIAL as written in the master file; what is served counts on from there with every change.
    pub fn serial(&self) -> u32 {
        self.number(0)
    }

    /// The SERIAL that is served after so many commits.
    pub fn served_serial(&self, revision: u32) -> u32 {
        self.serial().wrapping_add(revision)
    }

    /// RDATA with that SERIAL.
    pub fn served_rdata(&self, revision: u32) -> Vec<u8> {
        let mut rdata = self.rdata.to_vec();
        if let Some(numbers) = rdata.last_chunk_mut::<20>() {
            numbers[..4].copy_from_slice(&self.served_serial(revision).to_be_bytes());
        }
        rdata
    }

    /// MINIMUM: with the TTL, the upper bound of negative caching (RFC 2308 section 4). Seconds.
    pub fn minimum(&self) -> u32 {
        self.number(4)
    }
}

impl Zone {
    /// Builds a zone from the records of its master file. Every violation is reported, not only the first.
    pub fn from_records(origin: Name, records: Vec<Located>) -> Result<Zone, Vec<ZoneProblem>> {
        let mut problems = Vec::new();
        let mut nodes: HashMap<Name, Node> = HashMap::new();
        let mut places: HashMap<(Name, u16), Place> = HashMap::new();
        for Located { record, place } in records {
            let mut refuse = |message: String| problems.push(ZoneProblem { place, message });
            if !record.owner.is_at_or_below(&origin) {
                refuse(format!("{} is outside the zone {origin}", record.owner));
                continue;
            }
            if record.rtype == rtype::SOA && record.owner != origin {
                refuse(format!("an SOA record belongs at the origin {origin}, not at {}", record.owner));
                continue;
            }
            if !rdata_is_sound(record.rtype, &record.rdata) {
                refuse(format!("malformed RDATA at {}", record.owner));
                continue;
            }
            let node = nodes.entry(record.owner.clone()).or_default();
            places.entry((record.owner.clone(), record.rtype)).or_insert(place);
            if let Err(message) = add(node, record) {
                refuse(message);
            }
        }
        let start = Place { line: 1, column: 1 };
        for (owner, node) in &nodes {
            let place = |rtype| places.get(&(owner.clone(), rtype)).copied().unwrap_or(start);
            if node.rrset(rtype::CNAME).is_some() && node.rrsets.len() > 1 {
                problems.push(ZoneProblem {
                    place: place(rtype::CNAME),
                    message: format!("{owner} has a CNAME beside other records (RFC 1034 section 3.6.2)"),
                });
            }
            if node.rrset(rtype::DNAME).is_some() {
                problems.push(ZoneProblem {
                    place: place(rtype::DNAME),
                    message: "DNAME is not served: write the CNAMEs one by one".into(),
                });
            }
        }
        let apex = nodes.get(&origin);
        let soa =
            apex.and_then(|node| node.rrset(rtype::SOA)).and_then(|set| Soa::new(set.ttl, set.rdata.first()?.clone()));
        if soa.is_none() {
            problems.push(ZoneProblem { place: start, message: format!("no SOA record at the origin {origin}") });
        }
        if apex.and_then(|node| node.rrset(rtype::NS)).is_none() {
            problems.push(ZoneProblem { place: start, message: format!("no NS record at the origin {origin}") });
        }
        problems.sort_by(|a, b| (a.place, &a.message).cmp(&(b.place, &b.message)));
        match soa.and_then(|soa| Some((Denial::new(&origin, &soa.rdata)?, soa))) {
            Some((denial, soa)) if problems.is_empty() => {
                add_empty_non_terminals(&mut nodes, &origin);
                let has_cuts = nodes.iter().any(|(owner, node)| *owner != origin && node.rrset(rtype::NS).is_some());
                let hash = |(name, _): &(Name, Node)| name.key().hash();
                let mut table = HashTable::with_capacity(nodes.len());
                let mut lengths = Lengths::default();
                for node in nodes {
                    lengths.insert(node.0.as_wire());
                    table.insert_unique(hash(&node), node, hash);
                }
                Ok(Zone { origin, nodes: table, lengths, soa, denial, has_cuts, made: Made::File })
            }
            _ => Err(problems),
        }
    }

    pub(super) fn made_from(self, made: Made) -> Zone {
        Zone { made, ..self }
    }

    /// The zone with another node at its origin.
    pub(super) fn with_apex(&self, apex: Node) -> Zone {
        let mut zone = self.clone();
        if let Some((_, node)) = zone.nodes.find_mut(zone.origin.key().hash(), |(name, _)| *name == zone.origin) {
            *node = apex;
        }
        zone
    }

    pub fn origin(&self) -> &Name {
        &self.origin
    }

    pub fn soa(&self) -> &Soa {
        &self.soa
    }

    /// The SOA record of negative answers.
    pub fn denial(&self) -> &Denial {
        &self.denial
    }

    /// The node of exactly this name; `None` if no static record makes it exist.
    pub fn node(&self, key: &Key<'_>) -> Option<&Node> {
        self.named_node(key).map(|(_, node)| node)
    }

    fn named_node(&self, key: &Key<'_>) -> Option<&(Name, Node)> {
        let possible = self.lengths.contains(key.name()).then_some(&self.nodes)?;
        possible.find(key.hash(), |(name, _)| name.as_wire() == key.name())
    }

    /// All static names with their RRsets, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter().map(|(name, node)| (name, node))
    }

    /// The cut at or above `name` (lower-case wire form) and below the origin, nearest to the origin: names there
    /// belong to another zone (RFC 1034 section 4.2.1). With its NS RRset.
    pub fn cut_above(&self, name: &[u8]) -> Option<(&Name, &RrSet)> {
        if !self.has_cuts {
            return None;
        }
        let mut found = None;
        let mut at = name;
        while at != self.origin.as_wire() {
            if self.lengths.contains(at)
                && let Some((owner, node)) = self.named_node(&Key::new(at))
                && let Some(nameservers) = node.rrset(rtype::NS)
            {
                found = Some((owner, nameservers));
            }
            let len = usize::from(*at.first()?);
            if len == 0 {
                return found;
            }
            at = at.get(1 + len..)?;
        }
        found
    }

    /// Whether this zone is a challenge name of one domain (`_acme-challenge.<domain>`, and as in
    /// [`super::proven_domain`]), delegated by NS, with its values at the apex.
    pub fn is_challenge_zone(&self) -> bool {
        super::proven_domain(&self.origin).is_some()
    }

    /// The name of a label in this zone.
    pub fn name_of(&self, label: &Label) -> Result<Name, super::NameError> {
        self.origin.child(label.as_str().as_bytes())
    }
}

/// Adds one record to its node; the reason if it does not fit.
fn add(node: &mut Node, record: Record) -> Result<(), String> {
    let Record { owner, rtype, ttl, rdata } = record;
    let Some(set) = node.rrsets.iter_mut().find(|set| set.rtype == rtype) else {
        node.rrsets.push(RrSet { rtype, ttl, rdata: vec![rdata] });
        return Ok(());
    };
    let same = |held: &[u8]| match rtype {
        // RFC 4343: names are equal without regard to case; a length octet is no letter
        rtype::NS | rtype::CNAME | rtype::PTR => held.eq_ignore_ascii_case(&rdata),
        _ => *held == *rdata,
    };
    if set.rdata.iter().any(|held| same(held)) {
        set.ttl = set.ttl.min(ttl);
        return Ok(()); // RFC 2181 section 5: duplicates are one record
    }
    if rtype == rtype::SOA {
        return Err(format!("{owner} has a second SOA record"));
    }
    if rtype == rtype::CNAME {
        return Err(format!("{owner} has a second CNAME record (RFC 2181 section 10.1)"));
    }
    // RFC 2181 section 5.2: one TTL for the set; the lowest is the safe one
    set.ttl = set.ttl.min(ttl);
    set.rdata.push(rdata);
    Ok(())
}

fn add_empty_non_terminals(nodes: &mut HashMap<Name, Node>, origin: &Name) {
    let owners: Vec<Name> = nodes.keys().cloned().collect();
    for owner in owners {
        let mut at = owner;
        while let Some(parent) = at.parent() {
            if at == *origin || nodes.contains_key(&parent) {
                break;
            }
            nodes.insert(parent.clone(), Node::default());
            at = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::master;

    const APEX: &str = "$TTL 60\n@ SOA ns h 7 2 3 4 300\n@ NS ns\n";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// The zone `example` with an apex on lines 1 to 3 and these lines from line 4 on.
    fn zone(lines: &str) -> Result<Zone, Vec<ZoneProblem>> {
        from_text(&format!("{APEX}{lines}"))
    }

    fn from_text(text: &str) -> Result<Zone, Vec<ZoneProblem>> {
        Zone::from_records(name("example"), master::read(text, &name("example")).unwrap())
    }

    /// Line and message of the one problem.
    #[track_caller]
    fn problem(zone: Result<Zone, Vec<ZoneProblem>>, line: usize, part: &str) {
        let problems = zone.expect_err("the zone was taken");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].place.line, line, "{problems:?}");
        assert!(problems[0].message.contains(part), "{problems:?}");
    }

    fn located(owner: &str, rtype: u16, rdata: &[u8]) -> Located {
        let record = Record { owner: name(owner), rtype, ttl: 60, rdata: rdata.into() };
        Located { record, place: Place { line: 1, column: 1 } }
    }

    #[test]
    fn an_alias_has_no_other_data_rfc1034_3_6_2() {
        problem(zone("a CNAME b\na TXT c\n"), 4, "beside other records");
        problem(zone("a TXT c\na CNAME b\n"), 5, "beside other records");
        problem(zone("@ CNAME b\n"), 4, "beside other records");
        problem(zone("a CNAME b\na CNAME c\n"), 5, "second CNAME");
        zone("a CNAME b\na CNAME B\n*.c CNAME b\n").unwrap();
    }

    #[test]
    fn one_soa_at_the_origin_rfc1035_5_2() {
        problem(zone("@ SOA ns2 h 7 2 3 4 300\n"), 4, "second SOA");
        problem(zone("a SOA ns h 7 2 3 4 300\n"), 4, "belongs at the origin");
        zone("@ SOA ns h 7 2 3 4 300\n").unwrap();
        problem(from_text("@ 60 NS ns\n"), 1, "no SOA");
        problem(from_text("@ 60 SOA ns h 7 2 3 4 300\n"), 1, "no NS");
        let problems = from_text("a 60 SOA ns h 7 2 3 4 5\n").unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn all_owners_lie_in_the_zone_rfc1035_5_2() {
        problem(zone("a.example. A 192.0.2.1\nexample.org. A 192.0.2.1\n"), 5, "outside the zone");
        problem(zone("badexample. A 192.0.2.1\n"), 4, "outside the zone");
        problem(zone(". A 192.0.2.1\n"), 4, "outside the zone");
    }

    #[test]
    fn every_violation_is_reported_in_the_order_of_the_file() {
        let problems = zone("b DNAME c\nc CNAME d\nx. A 192.0.2.1\nc A 192.0.2.1\nd SOA . . 1 1 1 1 1\n").unwrap_err();
        let lines: Vec<_> = problems.iter().map(|problem| problem.place.line).collect();
        assert_eq!(lines, [4, 5, 6, 8], "{problems:?}");
    }

    #[test]
    fn malformed_rdata_is_no_panic() {
        for rdata in [&[0; 3][..], &[], &[0; 21], &[0; 23], b"\x3f\0\0"] {
            let records = vec![located("example", rtype::SOA, rdata), located("example", rtype::NS, b"\0")];
            assert!(Zone::from_records(name("example"), records).is_err());
            assert_eq!(Soa::new(60, rdata.into()), None);
            let soa = Soa { ttl: 60, rdata: rdata.into() };
            assert!(soa.serial() == 0 && soa.minimum() == 0);
        }
        let records = vec![located("example", rtype::SOA, &[0; 22]), located("example", rtype::NS, b"\xc0\x0c")];
        assert!(Zone::from_records(name("example"), records).is_err());
    }

    #[test]
    fn the_numbers_of_the_soa_rfc1035_3_3_13() {
        let zone = zone("").unwrap();
        assert_eq!((zone.soa().serial(), zone.soa().minimum(), zone.soa().ttl), (7, 300, 60));
    }

    #[test]
    fn an_rrset_has_no_duplicates_and_one_ttl_rfc2181_5() {
        let zone = zone("@ 50 NS NS\n@ NS other\na 9 TXT x\na 8 TXT X\na 7 TXT x\n").unwrap();
        let apex = zone.node(&name("example").key()).unwrap();
        assert_eq!((apex.rrset(rtype::NS).unwrap().rdata.len(), apex.rrset(rtype::NS).unwrap().ttl), (2, 50));
        let texts = zone.node(&name("a.example").key()).unwrap().rrset(rtype::TXT).unwrap();
        assert_eq!((texts.rdata.len(), texts.ttl), (2, 7), "texts differ in case");
    }

    #[test]
    fn empty_non_terminals_exist_rfc4592_2_2_2() {
        let zone = zone("a.b.c TXT x\nd.b.c TXT x\nc.x TXT x\nx TXT x\n*.w.v TXT x\n").unwrap();
        for empty in ["b.c.example", "c.example", "w.v.example", "v.example"] {
            assert!(zone.node(&name(empty).key()).unwrap().rrsets.is_empty(), "{empty}");
        }
        assert_eq!(zone.nodes().count(), 1 + 5 + 4);
        assert!(zone.node(&name("y.example").key()).is_none());
        assert!(zone.node(&Key::new(b"\0")).is_none(), "nothing above the origin");
    }

    #[test]
    fn a_cut_hides_what_is_at_and_below_it_rfc1034_4_2_1() {
        let zone = zone("sub NS ns.sub\nns.sub A 192.0.2.1\ndeep.sub NS ns\na.b NS ns\n").unwrap();
        for (below, cut) in [
            ("sub.example", Some("sub.example")),
            ("ns.sub.example", Some("sub.example")),
            ("x.deep.sub.example", Some("sub.example")),
            ("x.a.b.example", Some("a.b.example")),
            ("b.example", None),
            ("example", None),
            ("x.example", None),
            ("ssub.example", None),
            ("elsewhere.org", None),
        ] {
            assert_eq!(zone.cut_above(name(below).as_wire()).map(|(cut, _)| cut), cut.map(name).as_ref(), "{below}");
        }
        assert_eq!(zone.cut_above(Name::root().as_wire()), None);
    }

    #[test]
    fn a_label_has_its_name_in_the_zone() {
        let zone = zone("").unwrap();
        assert_eq!(zone.name_of(&Label::parse("a-b").unwrap()), Ok(name("a-b.example")));
    }
}
