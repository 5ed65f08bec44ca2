//! Bytes in, bytes out: the one place that decides what the DNS says. Pure: no socket, no clock, no store, no await.
//!
//! TCP and every later transport call [`answer`]; UDP, which has many messages at a time, has them read ahead by
//! [`ReadAhead`]. Both end in the same function, so answers cannot differ but in length.

mod ahead;
mod cookie;
mod encode;
mod lookup;
mod query;

pub use ahead::{Asked, BATCH, ReadAhead};
pub use cookie::{Cookie, CookieState, Cookies, REPLY as COOKIE_REPLY, SECRET as COOKIE_SECRET};
pub use encode::{ExtendedError, UDP_PAYLOAD, UDP_PLAIN};
pub use query::{COOKIE_OPTION, Frame, HEADER, Rcode};

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use encode::{Encoder, Full, Offset, Opt, QUESTION, Section};
use lookup::{Found, lookup};
use query::{Edns, LowerName, Message, Query};

use crate::zone::{Live, RrSet, Timestamp, View, Zone, rtype};

/// Longest chain of CNAMEs followed inside our zones; resolvers give up at about that many.
const MAX_CNAMES: usize = 8;
/// RFC 8482 section 4.2: CPU `RFC8482`, no OS.
const ANY_HINFO: &[u8] = b"\x07RFC8482\x00";

/// TTLs that the configuration sets, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttls {
    pub txt: u32,
    /// Upper bound for negative answers (RFC 2308 section 5).
    pub negative: u32,
}

/// How the query came: it bounds the length of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    /// A stream with two octets of length before each message (RFC 7766).
    Tcp,
}

/// What an answer depends on besides the message and what is served.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub ttls: Ttls,
    pub cookies: &'a Cookies,
    /// Where the message came from.
    pub client: IpAddr,
    pub transport: Transport,
    pub now: Timestamp,
    /// Whether the client has had enough answers for now, so that it gets nothing but TC. Asked at most once for a
    /// message: over UDP, if there is no valid cookie, and before anything is looked up. Never asked about what is
    /// hardly longer than that empty answer anyway: by an extended error.
    pub limited: &'a dyn Fn() -> bool,
}

impl Context<'_> {
    /// The OPT record of the answer, and what the query's cookie is worth.
    fn opt(&self, edns: Edns<'_>) -> (Opt, Option<CookieState>) {
        let checked = edns.cookie.map(|cookie| self.cookies.check(self.client, cookie, self.now));
        let opt = Opt { dnssec_ok: edns.dnssec_ok, cookie: checked.map(|(_, reply)| reply) };
        (opt, checked.map(|(state, _)| state))
    }
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send what is in `out`.
    Reply,
    /// Send nothing.
    Silence,
    /// Not answered here: UPDATE, NOTIFY, TSIG. The header has exactly one question, or none but a cookie.
    Rare,
}

/// Answers one message of a stranger. `out` is overwritten.
pub fn answer(live: &Live, context: &Context<'_>, packet: &[u8], out: &mut Vec<u8>) -> Verdict {
    let mut name = LowerName::new();
    reply(&live.view(), context, packet, &query::read(packet, &mut name), out)
}

fn reply(view: &View<'_>, context: &Context<'_>, packet: &[u8], message: &Message<'_>, out: &mut Vec<u8>) -> Verdict {
    match *message {
        Message::Query(ref query) => answer_query(view, context, packet, query, out),
        Message::CookieOnly(edns) => answer_cookie(context, packet, edns, out),
        Message::Malformed { question, dnssec_ok } => {
            let opt = Opt { dnssec_ok, cookie: None };
            Encoder::new(out, packet, question, Some(opt), usize::from(UDP_PLAIN)).end(Rcode::FORMERR);
        }
        Message::Refuse(rcode) => refuse(packet, rcode, out),
        Message::Silence => return Verdict::Silence,
        Message::Rare => return Verdict::Rare,
    }
    Verdict::Reply
}

/// An error answer of the header alone. `packet` must have a whole header.
pub fn refuse(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    Encoder::new(out, packet, &[], None, HEADER).end(rcode);
}

impl Frame<'_> {
    /// Octets that the reply may have.
    pub fn limit(&self, transport: Transport) -> usize {
        limit(transport, self.edns)
    }

    /// The COOKIE option of the reply, if the message has one (RFC 7873 section 5.2).
    pub fn cookie(&self, cookies: &Cookies, client: IpAddr, now: Timestamp) -> Option<[u8; COOKIE_REPLY]> {
        self.edns.and_then(|edns| edns.cookie).map(|cookie| cookies.check(client, cookie, now).1)
    }

    /// A reply without records: header, question, and OPT if there was one. `packet` is what was read. An EDNS version
    /// that is not known is all that is told about it (RFC 6891 section 6.1.3).
    pub fn reply(&self, packet: &[u8], rcode: Rcode, cookie: Option<[u8; COOKIE_REPLY]>, out: &mut Vec<u8>) {
        let opt = self.edns.map(|edns| Opt { dnssec_ok: edns.dnssec_ok, cookie });
        let mut encoder = Encoder::new(out, packet, self.question, opt, usize::from(u16::MAX));
        match rcode {
            _ if self.has_unknown_version() => encoder.end(Rcode::BADVERS),
            Rcode::REFUSED => encoder.refuse(ExtendedError::PROHIBITED),
            rcode => encoder.end(rcode),
        }
    }

    pub fn has_unknown_version(&self) -> bool {
        self.edns.is_some_and(|edns| edns.version != 0)
    }
}

/// Answers the question for a server cookie (RFC 7873 section 5.4).
fn answer_cookie(context: &Context<'_>, packet: &[u8], edns: Edns<'_>, out: &mut Vec<u8>) {
    let (opt, cookie) = context.opt(edns);
    Encoder::new(out, packet, &[], Some(opt), limit(context.transport, Some(edns))).end(match cookie {
        _ if edns.version != 0 => Rcode::BADVERS,
        Some(CookieState::Invalid) => Rcode::BADCOOKIE,
        _ => Rcode::NOERROR,
    });
}

/// Octets that the answer may have: what the requestor takes, between 512 and 1232 over UDP (RFC 6891 section 6.2.5).
fn limit(transport: Transport, edns: Option<Edns<'_>>) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(edns.map_or(UDP_PLAIN, |edns| edns.payload.clamp(UDP_PLAIN, UDP_PAYLOAD))),
    }
}

fn answer_query(view: &View<'_>, context: &Context<'_>, packet: &[u8], query: &Query<'_>, out: &mut Vec<u8>) {
    let (opt, cookie) = query.edns.map(|edns| context.opt(edns)).unzip();
    let mut encoder = Encoder::new(out, packet, query.question, opt, limit(context.transport, query.edns));
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return encoder.end(Rcode::BADVERS);
    }
    const IN: u16 = 1;
    const TKEY: u16 = 249;
    match query.qtype {
        _ if query.qclass != IN => return encoder.refuse(ExtendedError::NOT_SUPPORTED),
        rtype::AXFR | rtype::IXFR => return encoder.refuse(ExtendedError::PROHIBITED),
        rtype::TSIG | TKEY => return encoder.refuse(ExtendedError::NOT_SUPPORTED),
        rtype::OPT => return encoder.end(Rcode::FORMERR), // RFC 6891 section 6.1.1
        _ => {}
    }
    let known = cookie.flatten() == Some(CookieState::Valid);
    if context.transport == Transport::Udp && !known && (context.limited)() {
        encoder.truncate();
        return encoder.end(Rcode::NOERROR);
    }
    let Context { ttls, now, .. } = *context;
    let mut answering = Answering { view, ttls, now, encoder: &mut encoder };
    let rcode = answering.follow(query).unwrap_or_else(|Full| {
        answering.encoder.truncate();
        Rcode::NOERROR
    });
    match rcode {
        Rcode::REFUSED => encoder.refuse(ExtendedError::NOT_AUTHORITATIVE),
        _ => encoder.end(rcode),
    }
}

struct Answering<'e, 'o, 'v> {
    view: &'v View<'v>,
    ttls: Ttls,
    now: Timestamp,
    encoder: &'e mut Encoder<'o>,
}

impl<'v> Answering<'_, '_, 'v> {
    /// Writes what there is at the name asked for, and at the end of the CNAMEs that begin there.
    fn follow(&mut self, query: &Query<'_>) -> Result<Rcode, Full> {
        let found = lookup(self.view, &query.key, query.qtype, self.now);
        if !matches!(found, Found::OutOfZone | Found::Referral { .. }) {
            self.encoder.authoritative();
        }
        match found {
            Found::Cname { zone, cname } => self.chase(query, zone, cname),
            Found::OutOfZone => Ok(Rcode::REFUSED),
            found => self.last(found, QUESTION),
        }
    }

    /// Writes a CNAME and what follows it, as long as that is ours.
    fn chase(&mut self, query: &Query<'_>, mut zone: &'v Zone, mut cname: &'v RrSet) -> Result<Rcode, Full> {
        let mut owner = QUESTION;
        let mut seen: [&[u8]; MAX_CNAMES] = [&[]; MAX_CNAMES];
        for hop in 0..=MAX_CNAMES {
            // A CNAME RRset has exactly one record: `Zone::from_records` saw to it.
            let target: &'v [u8] = &cname.rdata[0];
            owner = self.write(zone, owner, cname)?;
            let mut next = LowerName::new();
            let next = next.set(target);
            let been_there = next.name() == query.key.name()
                || seen[..hop].iter().any(|earlier| earlier.eq_ignore_ascii_case(target));
            if hop == MAX_CNAMES || been_there {
                break;
            }
            seen[hop] = target;
            match lookup(self.view, &next, query.qtype, self.now) {
                Found::Cname { zone: its, cname: another } => (zone, cname) = (its, another),
                found => return self.last(found, owner),
            }
        }
        Ok(Rcode::NOERROR)
    }

    /// Writes what is there at the end.
    fn last(&mut self, found: Found<'v>, owner: Offset) -> Result<Rcode, Full> {
        match found {
            // Somebody else's name: the resolver goes on by itself.
            Found::OutOfZone | Found::Cname { .. } => {}
            Found::Referral { zone, cut, nameservers } => self.refer(zone, cut.as_wire(), nameservers)?,
            Found::RrSet { zone, rrset } => {
                self.write(zone, owner, rrset)?;
            }
            Found::Txt { values, rrset } => {
                let written = rrset.map_or(&[][..], |rrset| &rrset.rdata);
                for rdata in written {
                    self.encoder.record(Section::Answer, owner, rtype::TXT, self.ttls.txt, rdata)?;
                }
                // RFC 2181 section 5: no record twice
                for rdata in values.live(self.now).filter(|rdata| !written.iter().any(|held| **held == **rdata)) {
                    self.encoder.record(Section::Answer, owner, rtype::TXT, self.ttls.txt, rdata)?;
                }
            }
            Found::Any => {
                self.encoder.record(Section::Answer, owner, rtype::HINFO, self.ttls.txt, ANY_HINFO)?;
            }
            Found::NoData { zone } => self.deny(zone, owner)?,
            Found::NxDomain { zone } => {
                self.deny(zone, owner)?;
                return Ok(Rcode::NXDOMAIN);
            }
        }
        Ok(Rcode::NOERROR)
    }

    /// Writes an RRset into the answer section; where the RDATA of its last record is.
    fn write(&mut self, zone: &Zone, owner: Offset, rrset: &RrSet) -> Result<Offset, Full> {
        if rrset.rtype == rtype::SOA {
            return self.soa(zone, Section::Answer, zone.soa().ttl);
        }
        let mut at = owner;
        for rdata in &rrset.rdata {
            at = self.encoder.record(Section::Answer, owner, rrset.rtype, rrset.ttl, rdata)?;
        }
        Ok(at)
    }

    /// Writes the SOA of a negative answer, with the TTL that resolvers cache it for (RFC 2308 sections 3 and 5).
    fn deny(&mut self, zone: &Zone, owner: Offset) -> Result<(), Full> {
        let soa = zone.soa();
        let ttl = soa.ttl.min(soa.minimum()).min(self.ttls.negative);
        if owner != QUESTION {
            return self.soa(zone, Section::Authority, ttl).map(|_| ()); // at the end of CNAMEs, maybe of another zone
        }
        let serial = soa.served_serial(self.view.revision());
        self.encoder.denial(zone.origin().as_wire(), zone.denial(), ttl, serial)
    }

    /// Writes the SOA with the serial of this moment.
    fn soa(&mut self, zone: &Zone, section: Section, ttl: u32) -> Result<Offset, Full> {
        let soa = zone.soa();
        let mut rdata = [0u8; 2 * crate::zone::MAX_NAME + 20];
        let Some(served) = rdata.get_mut(..soa.rdata.len()) else { return Err(Full) };
        served.copy_from_slice(&soa.rdata);
        let at = served.len() - 20;
        served[at..at + 4].copy_from_slice(&soa.served_serial(self.view.revision()).to_be_bytes());
        self.encoder.named_record(section, zone.origin().as_wire(), rtype::SOA, ttl, served)
    }

    /// Writes a referral: NS in authority, without AA, and the addresses that the zone has of the name servers. Those
    /// below the cut are glue that must not be missing (RFC 9471).
    fn refer(&mut self, zone: &Zone, cut: &[u8], nameservers: &RrSet) -> Result<(), Full> {
        for rdata in &nameservers.rdata {
            self.encoder.named_record(Section::Authority, cut, rtype::NS, nameservers.ttl, rdata)?;
        }
        for must_fit in [true, false] {
            for target in &nameservers.rdata {
                let mut name = LowerName::new();
                let name = name.set(target);
                if name.name().ends_with(cut) != must_fit {
                    continue;
                }
                let Some(node) = zone.node(&name) else { continue };
                for glue in [rtype::A, rtype::AAAA].into_iter().filter_map(|address| node.rrset(address)) {
                    let mark = self.encoder.mark();
                    for rdata in &glue.rdata {
                        let written =
                            self.encoder.named_record(Section::Additional, target, glue.rtype, glue.ttl, rdata);
                        if written.is_err() && must_fit {
                            return Err(Full);
                        }
                        if written.is_err() {
                            self.encoder.rewind(mark);
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
