//! The name servers of a zone of ours: those that its parent names, for every resolver begins there, and those that the
//! zone names itself. A CA's resolver may ask any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::FutureExt;
use futures_util::future::{join_all, select_ok};

use super::check::OwnListeners;
use crate::resolve::{AskError, Referral, Resolver, referral};
use crate::zone::Name;

const PORT: u16 = 53;
/// Servers of the parent that are asked at the same time; the first answer is taken.
const AT_PARENT: usize = 4;

/// A name server that is not one of our own listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: Name,
    pub at: SocketAddr,
    /// Which record sends resolvers there, for people.
    pub record: String,
}

/// What the parent of a zone has of it.
struct Delegation {
    parent: Name,
    referral: Referral,
}

/// All name servers of a zone with all their addresses but those of our own listeners; and what people should know:
/// who could not be found, and that parent and zone do not agree.
pub async fn of_zone(zone: &Name, own: &OwnListeners, resolver: &Resolver) -> (Vec<Server>, Vec<String>) {
    let (mut servers, mut notes): (Vec<Server>, Vec<String>) = (Vec::new(), Vec::new());
    let (itself, above) = tokio::join!(resolver.ns(zone), at_parent(zone, resolver));
    let itself = match itself {
        Ok(answer) if answer.records.is_empty() => {
            notes.push(format!("no NS records of {zone} are found ({})", answer.code));
            Vec::new()
        }
        Ok(answer) => answer.records,
        Err(error) => {
            notes.push(format!("the name servers of {zone} are not known: {error}"));
            Vec::new()
        }
    };
    let above = above.map_err(|note| notes.push(note)).ok();
    let (named_above, glue) = above.as_ref().map_or((&[][..], &[][..]), |above| above.named());
    notes.extend(above.as_ref().and_then(|above| above.differs(zone, &itself)));

    let mut hosts: Vec<&Name> = named_above.iter().chain(&itself).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let found = join_all(hosts.iter().map(|host| resolver.addresses(host))).await;
    for (host, found) in hosts.into_iter().zip(found) {
        let found = found.unwrap_or_else(|error| {
            notes.push(format!("the addresses of {host} are not known: {error}"));
            Vec::new()
        });
        let glue = glue.iter().filter(|(name, address)| name == host && !found.contains(address));
        let glue: Vec<IpAddr> = glue.map(|(_, address)| *address).collect();
        if found.is_empty() && glue.is_empty() {
            notes.push(format!("{host}, a name server of {zone}, has no address: nobody can ask it"));
        }
        let at_parent = above.as_ref().map_or(String::new(), |above| format!(" at the parent {}", above.parent));
        let place = match (named_above.contains(host), itself.contains(host)) {
            (true, false) => &at_parent,
            (false, true) if above.is_some() => " in the zone itself",
            _ => "",
        };
        let ns = format!("`{zone}. IN NS {host}.`{place}");
        let found = found.into_iter().map(|address| (address, ns.clone()));
        let glue = glue.into_iter().map(|address| {
            let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
            (address, format!("`{host}. IN {rtype} {address}`{at_parent}"))
        });
        for (address, record) in found.chain(glue) {
            let at = SocketAddr::new(address, PORT);
            if address.is_unspecified() {
                notes.push(format!("{host}, a name server of {zone}, has the address {address}: nobody can ask it"));
            } else if !own.dns.iter().any(|listener| reachable(*listener) == at) {
                servers.push(Server { host: host.clone(), at, record });
            }
        }
    }
    (servers, notes)
}

impl Delegation {
    fn named(&self) -> (&[Name], &[(Name, IpAddr)]) {
        (&self.referral.hosts, &self.referral.glue)
    }

    /// That the zone and its parent name different servers: resolvers may take either.
    fn differs(&self, zone: &Name, itself: &[Name]) -> Option<String> {
        let Delegation { parent, referral } = self;
        let sorted = |hosts: &[Name]| {
            let mut hosts: Vec<String> = hosts.iter().map(Name::to_string).collect();
            hosts.sort_unstable();
            hosts.dedup();
            hosts.join(", ")
        };
        let (above, here) = (sorted(&referral.hosts), sorted(itself));
        if above.is_empty() {
            return Some(format!("{parent}, the zone above {zone}, has no NS records of it"));
        }
        let differ = !here.is_empty() && above != here;
        differ.then(|| {
            format!(
                "the NS records of {zone} name {above} at the parent {parent}, but {here} in the zone itself: make them \
                 the same"
            )
        })
    }
}

/// What a server of the zone above has of this one; `Err` tells people why that is not known.
async fn at_parent(zone: &Name, resolver: &Resolver) -> Result<Delegation, String> {
    let unknown = |reason: String| format!("the NS records of {zone} at its parent are not known: {reason}");
    let mut above = zone.parent();
    let parent = loop {
        let Some(name) = above.filter(|name| !name.is_root()) else {
            return Err(unknown("no zone above it is found".into()));
        };
        let found = resolver.soa(&name).await.map_err(|error| unknown(error.to_string()))?;
        if !found.records.is_empty() {
            break name;
        }
        above = name.parent();
    };
    let hosts = resolver.ns(&parent).await.map_err(|error| unknown(error.to_string()))?.records;
    let addresses = join_all(hosts.iter().map(|host| resolver.addresses(host))).await;
    let servers = addresses.into_iter().flatten().flatten().take(AT_PARENT).map(|ip| SocketAddr::new(ip, PORT));
    let asked: Vec<_> = servers.map(|server| referral(server, zone).boxed()).collect();
    if asked.is_empty() {
        return Err(unknown(format!("no name server of {parent} has an address")));
    }
    let first: Result<_, AskError> = select_ok(asked).await;
    let (referral, _) = first.map_err(|error| unknown(error.to_string()))?;
    Ok(Delegation { parent, referral })
}

/// An address that we listen on, as one that we can ask.
pub fn reachable(mut listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listener.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listener.set_ip(Ipv6Addr::LOCALHOST.into()),
        // A link-local address keeps its scope.
        _ => {}
    }
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_on_all_addresses_are_asked_over_loopback() {
        assert_eq!(reachable("0.0.0.0:53".parse().unwrap()), "127.0.0.1:53".parse().unwrap());
        assert_eq!(reachable("[::]:53".parse().unwrap()), "[::1]:53".parse().unwrap());
        assert_eq!(reachable("192.0.2.1:53".parse().unwrap()), "192.0.2.1:53".parse().unwrap());
    }

    #[test]
    fn a_parent_that_names_other_servers_than_the_zone_is_told_rfc1034_4_2_2() {
        let name = |text: &str| Name::parse(text).unwrap();
        let (zone, a, b) = (name("acme.test"), name("a.test"), name("b.test"));
        let above = |hosts: &[&Name]| Delegation {
            parent: name("test"),
            referral: Referral { hosts: hosts.iter().copied().cloned().collect(), glue: Vec::new() },
        };
        assert_eq!(above(&[&b, &a, &b]).differs(&zone, &[a.clone(), b.clone()]), None);
        assert_eq!(above(&[&a]).differs(&zone, &[]), None);
        let told = above(&[&a, &b]).differs(&zone, std::slice::from_ref(&a)).unwrap();
        let words = "the NS records of acme.test name a.test, b.test at the parent test, but a.test in the zone itself";
        assert!(told.starts_with(words), "{told}");
        assert!(above(&[]).differs(&zone, &[a]).unwrap().contains("has no NS records of it"));
    }
}
