//! What CAs write into failed validations and into rate limits, in words for the one who can do something about it.
//!
//! The patterns are those of Boulder, which Let's Encrypt runs; other CAs are understood by the type of the problem.

use super::problem::Class;

/// What is found in a CA's words.
#[derive(Debug, PartialEq, Eq)]
pub struct Explained {
    /// Any of these, in any letter case.
    patterns: &'static [&'static str],
    pub class: Class,
    pub means: &'static str,
    pub todo: &'static str,
}

const fn explained(
    patterns: &'static [&'static str],
    class: Class,
    means: &'static str,
    todo: &'static str,
) -> Explained {
    Explained { patterns, class, means, todo }
}

/// The first that fits counts.
const VALIDATIONS: &[Explained] = &[
    // Another CA may be the one that is permitted.
    explained(
        &["prevents issuance", "error:caa)"],
        Class::Elsewhere,
        "a CAA record of the domain does not let this CA issue, or not to this account or by this method.",
        "add a CAA record for this CA (`acmezone ca show` prints it), or take another CA.",
    ),
    // Every CA must validate DNSSEC.
    explained(
        &["dnssec: ", "dnssec bogus", "dnssec indeterminate"],
        Class::Person,
        "the signatures (DNSSEC) of the domain or of the challenge's zone are wrong, so that nobody who checks them \
         sees the records.",
        "look at the DS records at the parent: they must fit the zone's keys, and a zone without signatures must have \
         none.",
    ),
    // Other CAs look from other places.
    explained(
        &["during secondary validation"],
        Class::Elsewhere,
        "the CA saw the right value from one place of the Internet, and not from another.",
        "see that all name servers of the zone answer the same, and that no firewall keeps networks or countries out.",
    ),
    explained(
        &["response was truncated"],
        Class::Person,
        "an answer was too long for UDP and could not be had over TCP.",
        "open port 53 for TCP on all name servers of the domain, and keep its CAA records few.",
    ),
    explained(
        &["query timed out", "networking error", "connection refused", "i/o timeout"],
        Class::Elsewhere,
        "a name server of the domain or of the challenge's zone does not answer the CA.",
        "see that port 53 of all of them can be reached from everywhere, over UDP and TCP.",
    ),
    explained(
        &["server failure at resolver"],
        Class::Elsewhere,
        "the CA's own resolver fails.",
        "nothing, it is tried again by itself.",
    ),
    explained(
        &["looking up caa"],
        Class::Elsewhere,
        "the CA cannot look for CAA records, and may not issue without.",
        "see that the name servers of the domain, and of each domain above it, answer questions for the type CAA.",
    ),
    explained(
        &["nxdomain looking up"],
        Class::Person,
        "for the CA the name of the challenge does not exist, although it was seen from here.",
        "see that the CNAME or NS record for _acme-challenge is in the public zone, not in an internal one alone, and \
         on all of its name servers.",
    ),
    explained(
        &["servfail looking up"],
        Class::Elsewhere,
        "the CA's resolver gets no usable answer: a broken delegation, wrong signatures, or servers that fail.",
        "look at the NS and DS records of the domain and of the challenge's zone, e.g. with https://dnsviz.net.",
    ),
    explained(
        &["refused looking up", "notimp looking up", "notauth looking up"],
        Class::Person,
        "a server that the domain is delegated to does not know the zone.",
        "correct the NS records at the parent, or the server that refuses.",
    ),
    explained(
        &["no txt record", "error retrieving txt record"],
        Class::Person,
        "the CA found the name, but no TXT value at it: it asked other servers than were seen from here, or ones that \
         are behind.",
        "see that the CNAME or NS record for _acme-challenge leads to this server alone, on all name servers of the \
         domain, and that no secondary answers with old data.",
    ),
    explained(
        &["incorrect txt record", "correct value not found"],
        Class::Person,
        "the CA found other values: somebody else answers for the name, or a name server has old data.",
        "see that the CNAME or NS record for _acme-challenge leads to this server alone, and take out TXT records that \
         were left at the name by hand or by another ACME client.",
    ),
    explained(
        &["error:connection)", "error:tls)"],
        Class::Elsewhere,
        "the CA cannot reach a server.",
        "see that port 53 of all name servers can be reached from everywhere, over UDP and TCP.",
    ),
    explained(
        &["error:dns)"],
        Class::Elsewhere,
        "the CA's look-up in the DNS fails.",
        "see the CA's words, and look at the NS and DS records of the domain and of the challenge's zone.",
    ),
    explained(
        &["error:unauthorized)", "error:incorrectresponse)"],
        Class::Person,
        "the CA did not find the value that it asked for, although it was seen from here.",
        "see that the CNAME or NS record for _acme-challenge is the same on all name servers of the domain, for \
         everybody who asks.",
    ),
];

/// A validation that failed for reasons that the CA keeps for itself.
const OTHER: Explained =
    explained(&[], Class::Elsewhere, "the CA could not validate a name.", "see the CA's words; nothing else is known.");

/// Boulder's limits, <https://letsencrypt.org/docs/rate-limits/>.
const LIMITS: &[Explained] = &[
    explained(
        &["temporarily prevented"],
        Class::Elsewhere,
        "the CA has paused this name for this account, after failures without end.",
        "correct what made them fail, then open the page that the CA names and end the pause.",
    ),
    explained(
        &["exact set of identifiers", "exact set of domains"],
        Class::Elsewhere,
        "too many certificates for exactly these names in a week.",
        "look for what asks for them over and over, e.g. a server whose data folder gets lost; one name more or less \
         makes another set.",
    ),
    explained(
        &["failed authorizations", "failed validations"],
        Class::Later,
        "too many failed validations of a name in an hour.",
        "correct what the failures before said; it is tried again by itself.",
    ),
    explained(
        &["too many certificates", "registered domain"],
        Class::Elsewhere,
        "too many new certificates for the domain in a week, those of others included.",
        "put several names into one certificate, or ask the CA for a higher limit.",
    ),
    explained(
        &["too many new orders", "too many currently pending"],
        Class::Later,
        "this account has made too many orders in a short time.",
        "nothing, it is tried again by itself.",
    ),
    explained(
        &["too many new registrations", "too many registrations", "too many accounts"],
        Class::Later,
        "too many accounts were made from this network.",
        "nothing, it is tried again by itself; keep the data folder, so that the account stays.",
    ),
];

/// What a failed validation means.
pub fn of_validation(kind: &str, words: &str) -> &'static Explained {
    // The type may be missing in the words.
    let words = format!("{words} ({kind})");
    found(VALIDATIONS, &words).unwrap_or(&OTHER)
}

/// Which limit is reached, if the words say so.
pub fn of_limit(words: &str) -> Option<&'static Explained> {
    found(LIMITS, words)
}

fn found(all: &'static [Explained], words: &str) -> Option<&'static Explained> {
    let words = words.to_ascii_lowercase();
    all.iter().find(|one| one.patterns.iter().any(|pattern| words.contains(pattern)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sentences of Boulder (bdns/problem.go, va/dns.go, va/caa.go) and Pebble, and a word of what is said about each.
    #[test]
    fn what_boulder_says_of_a_failed_validation_is_understood() {
        use Class::{Elsewhere, Person};
        let name = "_acme-challenge.example.org";
        for (words, kind, class, word) in [
            ("CAA record for example.org prevents issuance", "caa", Elsewhere, "CAA record"),
            ("While processing CAA: something new", "caa", Elsewhere, "CAA record"),
            (
                "DNS problem: NXDOMAIN looking up TXT for {} - check that a DNS record exists",
                "dns",
                Person,
                "does not exist",
            ),
            (
                "DNS problem: SERVFAIL looking up TXT for {} - the domain's nameservers may be malfunctioning",
                "dns",
                Elsewhere,
                "no usable answer",
            ),
            ("DNS problem: SERVFAIL looking up CAA for example.org", "dns", Elsewhere, "look for CAA"),
            ("DNS problem: REFUSED looking up TXT for {}", "dns", Person, "does not know the zone"),
            ("DNS problem: query timed out looking up TXT for {}", "dns", Elsewhere, "does not answer"),
            ("DNS problem: query timed out looking up CAA for example.org", "dns", Elsewhere, "does not answer"),
            ("DNS problem: networking error looking up TXT for {}", "dns", Elsewhere, "does not answer"),
            ("DNS problem: server failure at resolver looking up TXT for {}", "dns", Elsewhere, "own resolver"),
            ("DNS problem: response was truncated looking up CAA for example.org", "dns", Person, "TCP"),
            ("DNS problem: looking up TXT for {}: DNSSEC: DNSKEY Missing", "dns", Person, "DNSSEC"),
            ("DNS problem: looking up A for x: DNSSEC Bogus: no signatures", "dns", Person, "DNSSEC"),
            (
                "During secondary validation: DNS problem: query timed out looking up TXT for {}",
                "dns",
                Elsewhere,
                "from another",
            ),
            ("During secondary validation: No TXT record found at {}", "unauthorized", Elsewhere, "from another"),
            ("No TXT record found at {}", "unauthorized", Person, "no TXT value"),
            ("Error retrieving TXT records for DNS challenge", "unauthorized", Person, "no TXT value"),
            ("Incorrect TXT record \"abc\" (and 2 more) found at {}", "unauthorized", Person, "other values"),
            ("Correct value not found for DNS challenge", "unauthorized", Person, "other values"),
            ("The key authorization was wrong", "incorrectResponse", Person, "did not find the value"),
            ("something new", "dns", Elsewhere, "look-up"),
            ("something new", "connection", Elsewhere, "cannot reach"),
            ("something new", "serverInternal", Elsewhere, "could not validate"),
        ] {
            let words = words.replace("{}", name);
            let found = of_validation(&format!("urn:ietf:params:acme:error:{kind}"), &words);
            let text = format!("{} {}", found.means, found.todo);
            assert!(found.class == class && text.contains(word), "{words}: {:?} {text}", found.class);
        }
    }

    /// Names that look like words of errors.
    #[test]
    fn names_are_not_taken_for_errors() {
        let words = "No TXT record found at _acme-challenge.dnssec.nxdomain.servfail.test";
        assert_eq!(of_validation("urn:ietf:params:acme:error:unauthorized", words).class, Class::Person);
        assert!(of_validation("", words).means.contains("no TXT value"));
    }

    #[test]
    fn the_limits_of_lets_encrypt_are_told_apart() {
        for (words, word) in [
            (
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
                "exactly",
            ),
            ("too many certificates (50) already issued for \"example.org\" in the last 168h0m0s", "for the domain"),
            ("too many failed authorizations (5) for \"example.org\" in the last 1h0m0s", "failed validations"),
            ("too many new orders (300) from this account in the last 3h0m0s", "too many orders"),
            ("too many new registrations (10) from this IP address in the last 3h0m0s", "accounts"),
            ("Your account is temporarily prevented from requesting certificates for example.org", "paused"),
        ] {
            let found = of_limit(words).unwrap();
            assert!(found.means.contains(word), "{words}: {}", found.means);
        }
        assert_eq!(of_limit("something new"), None);
    }
}
