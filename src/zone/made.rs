//! Zones without a master file: challenge zones and hosts for CNAME targets made from the names of their name servers,
//! and shadow zones, made from an alias.

use super::record::{Located, Place, Record, ZoneProblem, rtype};
use super::zone::Made;
use super::{Name, Node, RrSet, Zone};

/// TTL of CAA records, seconds: who may issue can change at any time.
const CAA_TTL: u32 = 1;

impl Zone {
    /// Makes a zone that has only SOA, NS and CAA records at its apex.
    ///
    /// `nameservers` must not be empty. MNAME is the first of them; RNAME is `hostmaster` in the parent of the
    /// origin. The timers are the middle of what zone checkers ask for.
    ///
    /// CAA says `0 issue ";"` (RFC 8659 section 4.2): who holds a label can put values at `_acme-challenge` below it, and
    /// shall not get a certificate for a name of this zone by that. [`Zone::permitting`] makes exceptions.
    pub fn from_nameservers(origin: Name, nameservers: &[Name]) -> Result<Zone, Vec<ZoneProblem>> {
        let place = Place { line: 1, column: 1 };
        let located = |rtype, ttl, rdata: Vec<u8>| Located {
            record: Record { owner: origin.clone(), rtype, ttl, rdata: rdata.into() },
            place,
        };
        let mut records = Vec::new();
        if let Some(primary) = nameservers.first() {
            let mut rdata = primary.as_wire().to_vec();
            let domain = origin.parent().unwrap_or_else(Name::root);
            let rname = domain.child(b"hostmaster").unwrap_or_else(|_| domain.clone());
            rdata.extend_from_slice(rname.as_wire());
            for number in [1u32, 14_400, 3_600, 1_209_600, 300] {
                rdata.extend_from_slice(&number.to_be_bytes());
            }
            records.push(located(rtype::SOA, 300, rdata));
        }
        records.extend(nameservers.iter().map(|name| located(rtype::NS, 3_600, name.as_wire().to_vec())));
        records.push(located(rtype::CAA, CAA_TTL, issue(";")));
        Ok(Zone::from_records(origin.clone(), records)?.made_from(Made::Nameservers))
    }

    /// The zone of a challenge name elsewhere, whose values are those of `target`: for clients that do not follow the
    /// CNAME there, and for people who delegate by NS.
    pub fn shadow(origin: Name, nameservers: &[Name], target: Name) -> Result<Zone, Vec<ZoneProblem>> {
        Ok(Zone::from_nameservers(origin, nameservers)?.made_from(Made::Alias(target)))
    }

    /// The name that has the values at the apex, if this is a shadow zone.
    pub fn target(&self) -> Option<&Name> {
        match &self.made {
            Made::Alias(target) => Some(target),
            Made::File | Made::Nameservers => None,
        }
    }

    /// The host names of the zone's NS records.
    pub fn nameservers(&self) -> Vec<Name> {
        let apex = self.node(&self.origin().key());
        let rrset = apex.and_then(|node| node.rrset(rtype::NS));
        rrset.into_iter().flat_map(|rrset| &rrset.rdata).filter_map(|rdata| Name::from_wire(rdata).ok()).collect()
    }

    /// The zone with leave for an account at a CA to issue certificates for names in it (RFC 8659 section 4.2, RFC 8657
    /// section 3), beside those that have leave already: several CAs may go by one name. `None` if it is there already,
    /// or is not ours to give: a master file says itself what it wants, and no name of a shadow zone is certified.
    pub fn permitting(&self, identity: &str, account: &str) -> Option<Zone> {
        let wanted = issue(&format!("{identity}; accounturi={account}"));
        let before = self.own_caa()?;
        if before.iter().any(|rdata| **rdata == *wanted) {
            return None;
        }
        let kept = before.iter().filter(|rdata| ***rdata != *issue(";")).cloned();
        Some(self.with_caa(kept.chain([wanted.into()]).collect()))
    }

    /// The zone without that leave, when there is no such account any more. `None` if it has none.
    pub fn forbidding(&self, account: &str) -> Option<Zone> {
        let (issue_to, before) = (format!("; accounturi={account}"), self.own_caa()?);
        let kept: Vec<Box<[u8]>> =
            before.iter().filter(|rdata| !rdata.ends_with(issue_to.as_bytes())).cloned().collect();
        match kept.len() {
            len if len == before.len() => None,
            0 => Some(self.with_caa(vec![issue(";").into()])),
            _ => Some(self.with_caa(kept)),
        }
    }

    /// RDATA of the CAA records, if they are ours to make.
    fn own_caa(&self) -> Option<&[Box<[u8]>]> {
        let apex = self.node(&self.origin().key()).filter(|_| self.made == Made::Nameservers)?;
        Some(apex.rrset(rtype::CAA).map_or(&[][..], |rrset| &rrset.rdata))
    }

    fn with_caa(&self, rdata: Vec<Box<[u8]>>) -> Zone {
        let before = self.node(&self.origin().key()).map_or(&[][..], |apex| &apex.rrsets);
        let others = before.iter().filter(|rrset| rrset.rtype != rtype::CAA).cloned();
        self.with_apex(Node { rrsets: others.chain([RrSet { rtype: rtype::CAA, ttl: CAA_TTL, rdata }]).collect() })
    }
}

/// RDATA of a CAA record with the property `issue`.
fn issue(value: &str) -> Vec<u8> {
    [b"\0\x05issue", value.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::record::rdata_is_sound;
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn caa(zone: &Zone) -> Vec<String> {
        let rdata = &zone.node(&zone.origin().key()).unwrap().rrset(rtype::CAA).unwrap().rdata;
        rdata.iter().map(|rdata| String::from_utf8(rdata[7..].to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_zone_of_name_servers_alone() {
        let servers = [name("ns1.example.org"), name("ns2.example.org"), name("ns1.example.org")];
        let zone = Zone::from_nameservers(name("_acme-challenge.example.net"), &servers).unwrap();
        assert!(zone.is_challenge_zone());
        assert_eq!((zone.soa().serial(), zone.soa().minimum()), (1, 300));
        let names = [name("ns1.example.org"), name("hostmaster.example.net")];
        assert!(zone.soa().rdata.starts_with(&[names[0].as_wire(), names[1].as_wire()].concat()));
        let apex = zone.node(&zone.origin().key()).unwrap();
        assert_eq!(apex.rrset(rtype::NS).unwrap().rdata.len(), 2);
        assert_eq!(zone.nameservers(), [name("ns1.example.org"), name("ns2.example.org")]);
        assert_eq!(Zone::from_nameservers(name("example"), &[]).unwrap_err().len(), 2);
        assert!(!Zone::from_nameservers(Name::root(), &servers).unwrap().is_challenge_zone());
    }

    #[test]
    fn the_mailbox_of_a_long_parent_still_fits() {
        let long = Name::parse(&["x".repeat(63).as_str(); 3].join(".")).unwrap().child(&[b'y'; 59]).unwrap();
        let zone = Zone::from_nameservers(long.child(b"z").unwrap(), &[name("ns1.example.org")]).unwrap();
        assert!(rdata_is_sound(rtype::SOA, &zone.soa().rdata));
    }

    #[test]
    fn nobody_may_issue_for_names_of_a_made_zone_until_we_do_rfc8659_4_2() {
        let zone = Zone::from_nameservers(name("auth.test"), &[name("ns1.example.org")]).unwrap();
        assert_eq!(caa(&zone), [";"]);
        let one = zone.permitting("ca.test", "https://ca.test/acct/1").unwrap();
        assert_eq!(caa(&one), ["ca.test; accounturi=https://ca.test/acct/1"]);
        assert!(one.permitting("ca.test", "https://ca.test/acct/1").is_none(), "it is there");
        let other = one.permitting("other.test", "https://other.test/2").unwrap();
        // A CA for rehearsals goes by the same name.
        let again = other.permitting("ca.test", "https://staging.ca.test/acct/1").unwrap();
        let all = [
            "ca.test; accounturi=https://ca.test/acct/1",
            "other.test; accounturi=https://other.test/2",
            "ca.test; accounturi=https://staging.ca.test/acct/1",
        ];
        assert_eq!(caa(&again), all);
        let fewer = again.forbidding("https://ca.test/acct/1").unwrap();
        assert_eq!(caa(&fewer), all[1..]);
        assert!(fewer.forbidding("https://ca.test/acct/1").is_none(), "it is gone");
        assert_eq!(caa(&one.forbidding("https://ca.test/acct/1").unwrap()), [";"]);
        assert_eq!(again.nameservers(), zone.nameservers());
        assert_eq!(zone.target(), None);
    }

    #[test]
    fn a_shadow_zone_knows_whose_values_it_shows() {
        let servers = [name("ns1.example.org")];
        let zone = Zone::shadow(name("_acme-challenge.customer.test"), &servers, name("a.auth.test")).unwrap();
        assert_eq!((zone.target(), zone.is_challenge_zone()), (Some(&name("a.auth.test")), true));
        assert_eq!(caa(&zone), [";"]);
        assert!(zone.permitting("ca.test", "https://ca.test/acct/1").is_none());
    }
}
