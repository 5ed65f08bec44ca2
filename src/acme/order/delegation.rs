//! Where the challenge of a domain goes, and which record is missing if it does not reach us.
//!
//! A challenge name is ours if it lies in one of our zones; else its CNAMEs must lead to a name in one. Either way the
//! resolver must find that zone at us: its SOA is compared with ours. All of this is looked at before an order is made,
//! so that a delegation which is not there yet costs no order.
//!
//! A CNAME may lead to any name that takes challenge values, also to a label that was not reserved for the domain: who
//! can write the domain's CNAME decides. But the holder of an account's label can get certificates for the domain too;
//! that is told in the log.
//!
//! A name that is not ours may have a dns-persist-01 record of its own, made once by hand: then nothing is missing.

use super::challenge::{Method, Standing};
use crate::resolve::{Answer, Code, ResolveError, Resolver};
use crate::store::{Holder, UpdateError, Writer, now};
use crate::zone::{Label, Live, Name, Zone, rtype, wire_len};

/// A domain whose control is to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Without `*.`.
    pub domain: Name,
    /// Whether the certificate is for its wildcard, too or alone.
    pub wildcard: bool,
}

/// How a domain's control is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Place(Place),
    /// By a record that is there already, for people.
    Standing(String),
}

/// Where the values for one domain go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Without `*.`.
    pub domain: Name,
    /// What the CA asks for: with dns-01 `_acme-challenge.<domain>`.
    pub challenge: Name,
    /// What `challenge` leads to in our zone; the same if it lies there itself.
    pub target: Name,
    /// Where the values are kept.
    pub kept_at: Name,
    /// Origin of our zone.
    pub zone: Name,
    /// The way there, for people.
    pub way: String,
}

/// What is to be done before the domain's challenges reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// In master-file form.
    pub records: Vec<String>,
    /// What was seen instead.
    pub seen: String,
}

/// Why it cannot be known where the challenge goes.
#[derive(Debug, thiserror::Error)]
pub enum DelegationError {
    #[error("`{domain}` cannot have a challenge name: {reason}")]
    BadName { domain: String, reason: String },
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{challenge} is in no zone of this server, and no label can be reserved for it: {reason}")]
    NoLabel { challenge: Name, reason: UpdateError },
    /// Validating resolvers, a CA's among them, then believe nothing that we say.
    #[error(
        "this server does not sign its zones, but the parent of {zone} says that this one is signed: remove there {}",
        records.join(", ")
    )]
    Signed { zone: Name, records: Vec<String> },
    #[error("the zone of {0} was taken away meanwhile")]
    NoZone(Name),
}

/// The domain that a certificate name is proven by (RFC 8555 section 8.4): without `*.`.
pub fn base_domain(name: &str) -> Result<Name, DelegationError> {
    let domain = name.strip_prefix("*.").unwrap_or(name);
    Name::parse(domain).map_err(|error| DelegationError::BadName { domain: domain.into(), reason: error.to_string() })
}

/// The domains that these names are proven by, each once.
pub fn domains(names: &[String]) -> Result<Vec<Wanted>, DelegationError> {
    let mut all: Vec<Wanted> = Vec::new();
    for name in names {
        let (domain, wildcard) = (base_domain(name)?, name.starts_with("*."));
        match all.iter_mut().find(|wanted| wanted.domain == domain) {
            Some(wanted) => wanted.wildcard |= wildcard,
            None => all.push(Wanted { domain, wildcard }),
        }
    }
    Ok(all)
}

/// Finds the place for a domain's challenges, or what is missing; tells what could not be looked at.
pub async fn locate(
    wanted: &Wanted,
    method: &Method,
    writer: &Writer,
    resolver: &Resolver,
    tell: &(dyn Fn(String) + Sync),
) -> Result<Result<Found, Missing>, DelegationError> {
    let (live, domain) = (writer.live(), &wanted.domain);
    let challenge = method
        .challenge_name(domain)
        .map_err(|error| DelegationError::BadName { domain: domain.to_string(), reason: error.to_string() })?;
    let standing = method.standing(domain, wanted.wildcard);
    let arrived = |name: &Name| live.challenge_name(name).is_ok();
    let chain = match resolver.follow_cname(&challenge, arrived).await {
        Ok(chain) if arrived(chain.last()) => chain,
        Ok(chain) => {
            let seen = if chain.is_empty() {
                format!("{challenge} is no CNAME")
            } else {
                format!("{chain}, where this server takes no challenge values")
            };
            return without_place(domain, &challenge, standing, seen, writer, resolver).await;
        }
        Err(error @ (ResolveError::Loop(_) | ResolveError::ChainTooLong(_))) => {
            return missing_cname(domain, &challenge, error.to_string(), writer).await.map(Err);
        }
        Err(error) => return Err(error.into()),
    };
    let target = chain.last().clone();
    let kept_at = live.challenge_name(&target).map_err(|_| DelegationError::NoZone(target.clone()))?;
    let zone = zone_of(live, &target)?;
    unsigned(zone.origin(), resolver, tell).await?;
    if let Some(seen) = elsewhere(&zone, resolver.soa(zone.origin()).await?) {
        return Ok(Err(Missing { records: delegation_records(&zone), seen }));
    }
    if !chain.is_empty() {
        tell_foreign_label(domain, &kept_at, &zone, writer).await;
    }
    let place = Place {
        domain: domain.clone(),
        challenge,
        target,
        kept_at,
        zone: zone.origin().clone(),
        way: if chain.is_empty() { format!("{chain} (in a zone of this server)") } else { chain.to_string() },
    };
    Ok(Ok(Found::Place(place)))
}

/// What there is, or may be made, at a challenge name that does not lead to us.
async fn without_place(
    domain: &Name,
    challenge: &Name,
    standing: Option<Standing>,
    seen: String,
    writer: &Writer,
    resolver: &Resolver,
) -> Result<Result<Found, Missing>, DelegationError> {
    let Some(standing) = standing else { return missing_cname(domain, challenge, seen, writer).await.map(Err) };
    let values = resolver.txt(challenge).await?.records;
    if let Some(value) = values.iter().find(|value| standing.is_met_by(value.octets(), now())) {
        return Ok(Ok(Found::Standing(format!("{challenge} has the record already: {value:?}"))));
    }
    let Missing { records: cname, seen } = missing_cname(domain, challenge, seen, writer).await?;
    // One record to make, not two: what comes after it is a comment in master files.
    let record = format!("{} ; or in its place {}", standing.record(challenge), cname.join(" "));
    let seen = match values.as_slice() {
        [] => seen,
        values => format!("{seen}, and has {values:?}"),
    };
    Ok(Err(Missing { records: vec![record], seen }))
}

fn zone_of(live: &Live, name: &Name) -> Result<std::sync::Arc<Zone>, DelegationError> {
    live.zones().find(name.as_wire()).cloned().ok_or_else(|| DelegationError::NoZone(name.clone()))
}

/// That the parent has no DS records of our zone. A resolver that validates answers nothing else about such a zone.
/// One that cannot answer for DS is not a CA's, which may find all well.
async fn unsigned(zone: &Name, resolver: &Resolver, tell: &(dyn Fn(String) + Sync)) -> Result<(), DelegationError> {
    let records = match resolver.ds(zone).await {
        Ok(answer) => answer.records,
        Err(error @ ResolveError::Bogus { .. }) => return Err(error.into()),
        Err(error) => {
            tell(format!("note: whether the parent of {zone} says that it is signed is not known: {error}"));
            return Ok(());
        }
    };
    if records.is_empty() {
        return Ok(());
    }
    let records = records.into_iter().map(|ds| format!("`{zone}. IN DS {ds}`")).collect();
    Err(DelegationError::Signed { zone: zone.clone(), records })
}

async fn missing_cname(
    domain: &Name,
    challenge: &Name,
    seen: String,
    writer: &Writer,
) -> Result<Missing, DelegationError> {
    let no_label = |reason| DelegationError::NoLabel { challenge: challenge.clone(), reason };
    let grant = writer.reserve(domain.clone()).await.map_err(no_label)?;
    let target = grant
        .name()
        .map_err(|error| DelegationError::BadName { domain: domain.to_string(), reason: error.to_string() })?;
    Ok(Missing { records: vec![format!("{challenge}. IN CNAME {target}.")], seen })
}

/// What the resolver finds instead of our zone; `None` if it finds ours.
fn elsewhere(zone: &Zone, answer: Answer<crate::resolve::Authority>) -> Option<String> {
    let origin = zone.origin();
    let rdata = &zone.soa().rdata;
    let split = wire_len(rdata)?;
    let (own_mname, own_rname) = (Name::from_wire(&rdata[..split]).ok()?, rdata.get(split..)?);
    let own_rname = Name::from_wire(own_rname.get(..wire_len(own_rname)?)?).ok()?;
    match (answer.code, answer.records.first()) {
        (_, Some(found)) if found.mname == own_mname && found.rname == own_rname => None,
        (_, Some(found)) => Some(format!("the zone {origin} is served by somebody else ({})", found.mname)),
        (Code::NoSuchName, None) => Some(format!("{origin} does not exist")),
        (code, None) => Some(format!("{origin} is not delegated ({code}, no SOA record)")),
    }
}

/// What the parent of our zone must hold: the NS records, and addresses for the servers inside the zone (glue).
fn delegation_records(zone: &Zone) -> Vec<String> {
    let mut records = Vec::new();
    let apex = zone.node(&zone.origin().key());
    let servers = apex.and_then(|node| node.rrset(rtype::NS)).map_or(&[][..], |set| &set.rdata);
    let mut glue = Vec::new();
    for server in servers.iter().filter_map(|rdata| Name::from_wire(rdata).ok()) {
        records.push(format!("{}. IN NS {server}.", zone.origin()));
        let Some(node) = zone.node(&server.key()) else { continue };
        for set in &node.rrsets {
            for rdata in &set.rdata {
                if let Ok(octets) = <[u8; 4]>::try_from(&rdata[..])
                    && set.rtype == rtype::A
                {
                    glue.push(format!("{server}. IN A {}", std::net::Ipv4Addr::from(octets)));
                } else if let Ok(octets) = <[u8; 16]>::try_from(&rdata[..])
                    && set.rtype == rtype::AAAA
                {
                    glue.push(format!("{server}. IN AAAA {}", std::net::Ipv6Addr::from(octets)));
                }
            }
        }
    }
    records.append(&mut glue);
    records
}

/// Says in the log if the label belongs to somebody else, who could then get certificates for the domain too.
async fn tell_foreign_label(domain: &Name, kept_at: &Name, zone: &Zone, writer: &Writer) {
    let label = kept_at.labels().next().and_then(|label| std::str::from_utf8(label).ok());
    let Some(label) = label.and_then(|label| Label::parse(label).ok()) else { return };
    if kept_at.parent().as_ref() != Some(zone.origin()) {
        return;
    }
    let Ok(Some(record)) = writer.label(label).await else { return };
    match record.holder {
        Holder::Domain(holder) if holder == *domain => {}
        Holder::Domain(holder) => {
            tracing::info!(%domain, label = %kept_at, reserved_for = %holder, "the CNAME uses the label of another domain");
        }
        Holder::Account(account) => tracing::info!(
            %domain, label = %kept_at, %account,
            "the CNAME uses the label of an account, which can therefore get certificates for this domain too"
        ),
        Holder::Nobody => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Authority;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn zone() -> Zone {
        Zone::from_nameservers(name("auth.acme.test"), &[name("ns1.acme.test"), name("ns2.acme.test")]).unwrap()
    }

    #[test]
    fn apex_and_wildcard_have_one_challenge_name() {
        assert_eq!(base_domain("*.example.test").unwrap(), base_domain("example.test").unwrap());
        assert!(base_domain("*.").is_err());
    }

    #[test]
    fn a_domain_is_proven_once_for_all_its_names() {
        let names = ["a.test", "*.b.test", "*.a.test", "b.test", "c.test"].map(str::to_owned);
        let wanted = |domain, wildcard| Wanted { domain: name(domain), wildcard };
        let all = [wanted("a.test", true), wanted("b.test", true), wanted("c.test", false)];
        assert_eq!(domains(&names).unwrap(), all);
        assert!(domains(&["*.".to_owned()]).is_err());
    }

    #[test]
    fn the_parent_needs_the_ns_records() {
        assert_eq!(
            delegation_records(&zone()),
            ["auth.acme.test. IN NS ns1.acme.test.", "auth.acme.test. IN NS ns2.acme.test."]
        );
    }

    #[test]
    fn our_zone_is_known_by_its_soa() {
        let found = |mname: &str, rname: &str| Answer {
            code: Code::NoError,
            records: vec![Authority { mname: name(mname), rname: name(rname) }],
        };
        assert_eq!(elsewhere(&zone(), found("ns1.acme.test", "hostmaster.acme.test")), None);
        let other = elsewhere(&zone(), found("ns.other.test", "hostmaster.acme.test")).unwrap();
        assert!(other.contains("ns.other.test"), "{other}");
        let none = Answer { code: Code::NoSuchName, records: Vec::new() };
        assert_eq!(elsewhere(&zone(), none).unwrap(), "auth.acme.test does not exist");
    }
}
