//! May this CA issue? CAA records, as a CA will read them (RFC 8659, RFC 8657).
//!
//! A CA looks at them for every name of a certificate, beside the challenge; what it finds costs a failed validation.
//! So they are looked at before an order is made. Where a CA may be more lenient than another one, it is left to the CA.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use futures_util::future::join_all;

use super::attempt::Attempt;
use super::challenge::method;
use super::delegation::base_domain;
use super::failure::{AttemptError, Failure, failed, failure};
use crate::acme::ca::problem::Class;
use crate::acme::ca::session::Session;
use crate::config::Challenge;
use crate::resolve::{Answer, Caa, ResolveError, Resolver};
use crate::zone::Name;

/// What a failure of this check is called.
pub const STEP: &str = "CAA";
/// Questions that are put at the same time.
const AT_ONCE: usize = 16;
/// How long a resolver may have what CAA was before we changed it: a little more than its TTL in zones that we make.
const STALE: Duration = Duration::from_millis(1500);
/// Records that are shown of one name.
const SHOWN: usize = 5;

/// Who wants to issue, for whom and how.
#[derive(Clone, Copy, Debug)]
struct Issuer<'a> {
    /// Names of the CA (RFC 8555 section 9.7.6). At least one.
    identities: &'a [String],
    /// URL of our account; `None` if it is still to be made, so that no record can name it.
    account: Option<&'a str>,
    method: &'a str,
}

/// Why a property does not let the CA issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    Nobody,
    Malformed,
    OtherCa,
    OtherAccount,
    OtherMethod,
    UnknownCritical,
}

/// What stands in the way at one name: each record and why it does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    records: Vec<(Caa, Obstacle)>,
    /// The property that has to be there; `None` if it would not help.
    property: Option<&'static str>,
}

impl Attempt<'_> {
    /// Whether the CA may issue for all names, as the DNS says; if not, which records are in the way and which would do.
    pub async fn check_caa(&mut self, session: &Session) -> Result<(), AttemptError> {
        let identities = session.caa_identities();
        if identities.is_empty() {
            self.say("note: the CA does not tell its name in CAA records, so they are not looked at".into());
            return Ok(());
        }
        let method = method(self.request.challenge);
        let issuer = Issuer { identities, account: Some(session.account.id()), method };
        let mut refused = refusals(&self.request.names, self.resolver, issuer).await?;
        // We may have changed them just now, see `permit`.
        let is_ours = |(_, refusal): &(String, Refusal)| {
            refusal.records.iter().any(|(record, _)| self.writer.live().zones().find(record.owner.as_wire()).is_some())
        };
        if refused.iter().any(is_ours) {
            tokio::time::sleep(STALE).await;
            refused = refusals(&self.request.names, self.resolver, issuer).await?;
        }
        if refused.is_empty() {
            return Ok(());
        }
        self.withdraw().await?;
        let message = words(&self.authority.ca.name, &refused, issuer);
        // Somebody has to change a record, or another CA is allowed.
        Err(AttemptError::Failed(Failure { class: Class::Elsewhere, backs_off: false, ..failure(STEP, message) }))
    }
}

/// Why a CA that goes by these identities may not issue for these names, as the DNS says: nothing is changed or ordered.
/// `account` is `None` as long as there is none.
pub async fn look(
    ca: &str,
    names: &[String],
    challenge: Challenge,
    (identities, account): (&[String], Option<&str>),
    resolver: &Resolver,
) -> Result<(), String> {
    if identities.is_empty() {
        return Ok(());
    }
    let issuer = Issuer { identities, account, method: method(challenge) };
    match refusals(names, resolver, issuer).await {
        Ok(refused) if refused.is_empty() => Ok(()),
        Ok(refused) => Err(words(ca, &refused, issuer)),
        Err(AttemptError::Failed(failure)) => Err(failure.message),
        // No record is looked for that could be missing.
        Err(AttemptError::Waiting(_) | AttemptError::Held(_)) => Ok(()),
    }
}

/// The names that the CA may not issue for.
async fn refusals(
    names: &[String],
    resolver: &Resolver,
    issuer: Issuer<'_>,
) -> Result<Vec<(String, Refusal)>, AttemptError> {
    let mut domains = Vec::new();
    for name in names {
        domains.push((name, base_domain(name).map_err(|error| failed(STEP, error.to_string()))?));
    }
    let answers = look_up(domains.iter().map(|(_, domain)| domain), resolver).await;
    let mut refused = Vec::new();
    for (name, domain) in &domains {
        let records = relevant(domain, &answers).map_err(|error| {
            let message = format!("{error}; {}", without_answer(&error, name));
            AttemptError::Failed(Failure { backs_off: false, ..failure(STEP, message) })
        })?;
        if let Err(refusal) = permits(records, name.starts_with("*."), issuer) {
            refused.push(((*name).clone(), refusal));
        }
    }
    Ok(refused)
}

/// What it means that there is no answer, and what to do. A CA asks for the names above too, the top-level domain
/// included, and takes no answer for a no.
fn without_answer(error: &ResolveError, name: &str) -> String {
    match error {
        ResolveError::NoResolver(_) | ResolveError::NoAnswer { .. } => format!(
            "that is no word of the zone's servers, a CA's resolver may have an answer: see that ours runs and answers \
             for CAA at {name} and all names above, or name another one in `[resolver] nameservers`"
        ),
        ResolveError::Failed { name: top, .. } if top.parent().is_none_or(|parent| parent.is_root()) => format!(
            "CAs look for CAA up to the top-level domain, and no CA issues for {name} while that is so (RFC 8659 section \
             3): if {top} is in no public root, our resolver and the CA's have to have a zone of that name"
        ),
        _ => format!(
            "no CA issues for {name} while that is so (RFC 8659 section 3): the zone's servers have to answer for CAA, \
             with no records if there are none"
        ),
    }
}

/// A domain and all names above it but the root, nearest first.
fn climb(domain: &Name) -> impl Iterator<Item = Name> {
    std::iter::successors(Some(domain.clone()), Name::parent).take_while(|name| !name.is_root())
}

type Answers = BTreeMap<Name, Result<Answer<Caa>, ResolveError>>;

/// Asks for the CAA records of all of these domains and the names above them, each once.
async fn look_up(domains: impl Iterator<Item = &Name>, resolver: &Resolver) -> Answers {
    let names: Vec<Name> = domains.flat_map(climb).collect::<BTreeSet<Name>>().into_iter().collect();
    let mut answers = Answers::new();
    for some in names.chunks(AT_ONCE) {
        let asked = join_all(some.iter().map(|name| resolver.caa(name))).await;
        answers.extend(some.iter().cloned().zip(asked));
    }
    answers
}

/// The Relevant Resource Record Set (RFC 8659 section 3): that of the nearest name that has one. Where a nearer name
/// gives no answer there may be one, so that this is an error.
fn relevant<'a>(domain: &Name, answers: &'a Answers) -> Result<&'a [Caa], ResolveError> {
    for name in climb(domain) {
        match answers.get(&name) {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(answer)) if !answer.records.is_empty() => return Ok(&answer.records),
            _ => {}
        }
    }
    Ok(&[])
}

/// Whether these records let the CA issue (RFC 8659 section 4).
fn permits(records: &[Caa], wildcard: bool, issuer: Issuer<'_>) -> Result<(), Refusal> {
    let is = |tag: &'static str| move |record: &&Caa| record.tag.eq_ignore_ascii_case(tag);
    let known = ["issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"];
    // Bit 0 is the critical one, with the value 128; many people write 1, and CAs know.
    let is_critical = |record: &&Caa| record.flags & (128 | 1) != 0 && !known.iter().any(|tag| is(tag)(record));
    let critical: Vec<_> =
        records.iter().filter(is_critical).map(|record| (record.clone(), Obstacle::UnknownCritical)).collect();
    if !critical.is_empty() {
        return Err(Refusal { records: critical, property: None });
    }
    let property =
        if wildcard && records.iter().any(|record| is("issuewild")(&record)) { "issuewild" } else { "issue" };
    let mut in_the_way = Vec::new();
    for record in records.iter().filter(is(property)) {
        match allows(&record.value, issuer) {
            Ok(()) => return Ok(()),
            Err(obstacle) => in_the_way.push((record.clone(), obstacle)),
        }
    }
    if in_the_way.is_empty() { Ok(()) } else { Err(Refusal { records: in_the_way, property: Some(property) }) }
}

/// Whether a property `issue` or `issuewild` lets the CA issue (RFC 8659 section 4.2, RFC 8657 sections 3 and 4).
fn allows(value: &[u8], issuer: Issuer<'_>) -> Result<(), Obstacle> {
    let (domain, parameters) = parse(value).ok_or(Obstacle::Malformed)?;
    if domain.is_empty() {
        return Err(Obstacle::Nobody);
    }
    if !issuer.identities.iter().any(|identity| identity.eq_ignore_ascii_case(domain)) {
        return Err(Obstacle::OtherCa);
    }
    let all = |tag: &str| parameters.iter().filter(|(known, _)| *known == tag).map(|(_, value)| *value).collect();
    let (accounts, methods): (Vec<&str>, Vec<&str>) = (all("accounturi"), all("validationmethods"));
    // More than one of a kind: nobody can comply.
    match accounts.as_slice() {
        [] => {}
        [account] if Some(*account) == issuer.account => {}
        [_] => return Err(Obstacle::OtherAccount),
        _ => return Err(Obstacle::Malformed),
    }
    match methods.as_slice() {
        [] => Ok(()),
        [list] if !list.split(',').all(is_tag) => Err(Obstacle::Malformed),
        [list] if list.split(',').any(|method| method == issuer.method) => Ok(()),
        [_] => Err(Obstacle::OtherMethod),
        _ => Err(Obstacle::Malformed),
    }
}

/// The issuer's domain, which may be empty, and the parameters; `None` if that is not what the value is.
fn parse(value: &[u8]) -> Option<(&str, Vec<(&str, &str)>)> {
    let value = std::str::from_utf8(value).ok()?;
    let (domain, rest) = value.split_once(';').unwrap_or((value, ""));
    let domain = trimmed(domain);
    if !domain.is_empty() && !domain.split('.').all(is_tag) {
        return None;
    }
    let mut parameters = Vec::new();
    if !trimmed(rest).is_empty() {
        for parameter in rest.split(';') {
            let (tag, value) = parameter.split_once('=')?;
            let (tag, value) = (trimmed(tag), trimmed(value));
            if !is_tag(tag) || !value.bytes().all(|octet| octet.is_ascii_graphic()) {
                return None;
            }
            parameters.push((tag, value));
        }
    }
    Some((domain, parameters))
}

/// Without space and tab around it.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Letters, digits, and hyphens in between: a tag, and a label of a domain (RFC 8659 section 4.2).
fn is_tag(text: &str) -> bool {
    let is_end = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    let octets = text.as_bytes();
    is_end(octets.first())
        && is_end(octets.last())
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
}

/// Which records are in the way of which names, and which records to make.
fn words(ca: &str, refused: &[(String, Refusal)], issuer: Issuer<'_>) -> String {
    let mut text = String::new();
    let mut told: Vec<&Refusal> = Vec::new();
    for (_, refusal) in refused {
        if told.contains(&refusal) {
            continue;
        }
        told.push(refusal);
        let names: Vec<&str> =
            refused.iter().filter(|(_, other)| other == refusal).map(|(name, _)| name.as_str()).collect();
        let mut records: Vec<String> = refusal
            .records
            .iter()
            .take(SHOWN)
            .map(|(record, obstacle)| format!("`{}` ({obstacle})", line(record)))
            .collect();
        if refusal.records.len() > SHOWN {
            records.push(format!("{} more", refusal.records.len() - SHOWN));
        }
        let separator = if text.is_empty() { "" } else { "; " };
        let (names, records) = (names.join(", "), records.join(", "));
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{ca} may not issue for {names}: {records}; ");
        let _ = match (refusal.property, refusal.records.first(), issuer.identities.first()) {
            (Some(property), Some((record, _)), Some(identity)) => {
                let account = issuer.account.map_or(String::new(), |account| format!("; accounturi={account}"));
                let value = format!("{identity}; validationmethods={}{account}", issuer.method);
                write!(text, "add the record `{}. IN CAA 0 {property} {}`", record.owner, quoted(value.as_bytes()))
            }
            _ => write!(text, "remove what is critical there"),
        };
    }
    text
}

/// In master-file form.
fn line(record: &Caa) -> String {
    format!("{}. IN CAA {} {} {}", record.owner, record.flags, record.tag, quoted(&record.value))
}

/// A character-string in master-file form (RFC 1035 section 5.1).
fn quoted(value: &[u8]) -> String {
    let mut text = String::from("\"");
    for octet in value {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            other => text += &format!("\\{other:03}"),
        }
    }
    text + "\""
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Obstacle::Nobody => "lets nobody issue",
            Obstacle::Malformed => "is malformed, so that it lets nobody issue",
            Obstacle::OtherCa => "is for another CA",
            Obstacle::OtherAccount => "is for another account",
            Obstacle::OtherMethod => "is for other validation methods",
            Obstacle::UnknownCritical => "is critical, and CAs do not know its tag",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Code;

    const ACCOUNT: &str = "https://ca1.example.net/account/1234";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn record(text: &str) -> Caa {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().unwrap();
        let (flags, tag, value) = (next().parse().unwrap(), next().to_owned(), next().trim_matches('"').into());
        Caa { owner: name("example.com"), flags, tag, value }
    }

    /// Whether the CA ca1.example.net may issue for our account with dns-01, and if not why.
    fn judged(records: &[&str], wildcard: bool) -> Result<(), Obstacle> {
        let records: Vec<Caa> = records.iter().map(|text| record(text)).collect();
        let identities = ["ca1.example.net".to_owned()];
        let issuer = Issuer { identities: &identities, account: Some(ACCOUNT), method: "dns-01" };
        permits(&records, wildcard, issuer).map_err(|refusal| refusal.records[0].1)
    }

    #[test]
    fn issue_values_are_read_as_rfc8659_4_2_and_rfc8657_say() {
        use Obstacle::*;
        for (value, outcome) in [
            // RFC 8659 section 4.2.
            ("ca1.example.net", Ok(())),
            ("ca1.example.net; account=230123", Ok(())),
            ("ca1.example.net;", Ok(())),
            ("\t ca1.example.net \t; ", Ok(())),
            ("CA1.example.NET", Ok(())),
            ("ca2.example.org", Err(OtherCa)),
            ("example.net", Err(OtherCa)),
            (";", Err(Nobody)),
            ("", Err(Nobody)),
            ("; accounturi=https://ca1.example.net/account/1234", Err(Nobody)),
            ("%%%%%", Err(Malformed)),
            ("ca1.example.net.", Err(Malformed)),
            ("ca1.example.net account=1", Err(Malformed)),
            ("ca1.example.net; account", Err(Malformed)),
            ("ca1.example.net; account=1;", Err(Malformed)),
            ("ca1.example.net;; account=1", Err(Malformed)),
            ("ca1.example.net; =1", Err(Malformed)),
            ("ca1.example.net; -a=1", Err(Malformed)),
            ("ca1.example.net; a-b=1", Ok(())),
            ("ca1.example.net; a=1 2", Err(Malformed)),
            ("ca1.example.net; a=ü", Err(Malformed)),
            ("ca1.example.net; a=", Ok(())),
            ("ca1.example.net; a=b=c", Ok(())),
            // RFC 8657 sections 3 and 5.
            ("ca1.example.net; accounturi=https://ca1.example.net/account/1234", Ok(())),
            ("ca1.example.net;accounturi = https://ca1.example.net/account/1234", Ok(())),
            ("ca1.example.net; accounturi=https://ca1.example.net/account/123", Err(OtherAccount)),
            ("ca1.example.net; accounturi=https://ca1.example.net/account/1234/", Err(OtherAccount)),
            ("ca1.example.net; accounturi=", Err(OtherAccount)),
            (
                "ca1.example.net; accounturi=https://ca1.example.net/account/1234; \
                 accounturi=https://ca1.example.net/account/1234",
                Err(Malformed),
            ),
            // RFC 8657 section 4.
            ("ca1.example.net; validationmethods=dns-01", Ok(())),
            ("ca1.example.net; validationmethods=http-01,dns-01", Ok(())),
            ("ca1.example.net; validationmethods=http-01", Err(OtherMethod)),
            ("ca1.example.net; validationmethods=DNS-01", Err(OtherMethod)),
            ("ca1.example.net; validationmethods=", Err(Malformed)),
            ("ca1.example.net; validationmethods=dns-01,", Err(Malformed)),
            ("ca1.example.net; validationmethods=dns_01,dns-01", Err(Malformed)),
            ("ca1.example.net; validationmethods=dns-01; validationmethods=dns-01", Err(Malformed)),
            ("ca1.example.net; validationmethods=dns-01; accounturi=https://ca1.example.net/account/1234", Ok(())),
            (
                "ca1.example.net; validationmethods=dns-01; accounturi=https://ca1.example.net/account/9",
                Err(OtherAccount),
            ),
        ] {
            assert_eq!(judged(&[&format!("0 issue {value}")], false), outcome, "{value}");
        }
    }

    #[test]
    fn properties_are_chosen_as_rfc8659_4_1_and_4_3_say() {
        use Obstacle::*;
        let ours = "0 issue ca1.example.net";
        for (records, plain, wildcard) in [
            (&[][..], Ok(()), Ok(())),
            (&[ours], Ok(()), Ok(())),
            // One that allows is enough.
            (&["0 issue ca2.example.org", ours], Ok(()), Ok(())),
            (&["0 issue ;", ours], Ok(()), Ok(())),
            (&["0 iodef mailto:security@example.com"], Ok(()), Ok(())),
            // RFC 8659 section 4.3: `issuewild` is for wildcards, and for them in place of `issue`.
            (&["0 issuewild ;"], Ok(()), Err(Nobody)),
            (&[ours, "0 issuewild ;"], Ok(()), Err(Nobody)),
            (&["0 issuewild ca2.example.org", "0 issuewild ca1.example.net"], Ok(()), Ok(())),
            (&["0 issue ca2.example.org", "0 issuewild ca1.example.net"], Err(OtherCa), Ok(())),
            (&["0 ISSUE ca2.example.org"], Err(OtherCa), Err(OtherCa)),
            // RFC 8659 section 4.1: a tag that is critical and not known.
            (&[ours, "128 tbs Unknown"], Err(UnknownCritical), Err(UnknownCritical)),
            (&[ours, "1 tbs Unknown"], Err(UnknownCritical), Err(UnknownCritical)),
            (&[ours, "0 tbs Unknown"], Ok(()), Ok(())),
            (&[ours, "64 tbs Unknown"], Ok(()), Ok(())),
            (&["128 issue ca1.example.net", "128 iodef mailto:a@b.c"], Ok(()), Ok(())),
        ] {
            assert_eq!(judged(records, false), plain, "{records:?}");
            assert_eq!(judged(records, true), wildcard, "{records:?}");
        }
    }

    #[test]
    fn the_nearest_name_with_records_decides_and_an_error_below_it_too_rfc8659_3() {
        let found = |texts: &[&str]| {
            Ok(Answer { code: Code::NoError, records: texts.iter().map(|text| record(text)).collect() })
        };
        let broken = ResolveError::NoResolver("no".into());
        let domain = name("x.y.example.com");
        let mut answers = Answers::from([
            (name("x.y.example.com"), found(&[])),
            (name("y.example.com"), found(&["0 issue y"])),
            (name("example.com"), found(&["0 issue example"])),
            (name("com"), Err(broken.clone())),
        ]);
        assert_eq!(relevant(&domain, &answers), Ok(&[record("0 issue y")][..]));
        answers.insert(name("y.example.com"), found(&[]));
        assert_eq!(relevant(&domain, &answers), Ok(&[record("0 issue example")][..]));
        answers.insert(name("example.com"), found(&[]));
        assert_eq!(relevant(&domain, &answers), Err(broken.clone()));
        answers.insert(name("com"), found(&[]));
        assert_eq!(relevant(&domain, &answers), Ok(&[][..]));
        answers.insert(name("x.y.example.com"), Err(broken.clone()));
        answers.insert(name("y.example.com"), found(&["0 issue y"]));
        assert_eq!(relevant(&domain, &answers), Err(broken));
    }

    #[test]
    fn the_record_to_make_is_told() {
        let identities = ["ca1.example.net".to_owned()];
        let issuer = Issuer { identities: &identities, account: Some(ACCOUNT), method: "dns-01" };
        let refused = |names: &[&str], records: &[&str]| -> Vec<(String, Refusal)> {
            let records: Vec<Caa> = records.iter().map(|text| record(text)).collect();
            let refusal = |name: &&str| permits(&records, name.starts_with("*."), issuer).unwrap_err();
            names.iter().map(|name| ((*name).to_owned(), refusal(name))).collect()
        };
        assert_eq!(
            words("ca1", &refused(&["a.example.com", "*.a.example.com"], &["0 issue ca2.example.org"]), issuer),
            "ca1 may not issue for a.example.com, *.a.example.com: \
             `example.com. IN CAA 0 issue \"ca2.example.org\"` (is for another CA); \
             add the record `example.com. IN CAA 0 issue \"ca1.example.net; validationmethods=dns-01; \
             accounturi=https://ca1.example.net/account/1234\"`"
        );
        let wildcard =
            words("ca1", &refused(&["*.example.com"], &["0 issue ca1.example.net", "0 issuewild ;"]), issuer);
        assert!(wildcard.contains("add the record `example.com. IN CAA 0 issuewild \"ca1.example.net; "), "{wildcard}");
        let critical = words("ca1", &refused(&["example.com"], &["128 tbs Un\\kn\"own"]), issuer);
        let shown = "`example.com. IN CAA 128 tbs \"Un\\\\kn\\\"own\"` (is critical, and CAs do not know its tag)";
        assert!(critical.contains(shown) && critical.ends_with("remove what is critical there"), "{critical}");
    }
}
