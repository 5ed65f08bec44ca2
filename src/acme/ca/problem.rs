//! What an error of a CA means: who can do something about it, and in which words to say it. Pure.

use http::StatusCode;
use instant_acme::Problem;

use super::explanation;
use super::http::HttpError;
use crate::zone::Timestamp;

/// A limit that ends within this time is waited for, seconds; for one that lasts longer, or of which the CA does not
/// say how long, another CA is asked.
const SHORT_WAIT: u64 = 60 * 60;
/// The same for a CA that has too much to do, seconds.
const MOMENT: u64 = 60;
/// Characters of a CA's text that are shown and kept.
const LONGEST: usize = 4000;

/// Who can do something about a failure. In the order of how much it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The same request may succeed later.
    Later,
    /// This CA does not issue this certificate now, or cannot be reached: another one may.
    Elsewhere,
    /// Records or the configuration have to be changed, whichever CA is asked.
    Person,
}

/// What a CA refused, and why (RFC 8555 section 6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked when it came.
    pub about: About,
    /// The type, as the CA wrote it.
    pub kind: String,
    /// The types of the problems that single names have.
    pub parts: Vec<String>,
    pub status: Option<u16>,
    /// The CA's own words: for the detail, the type, and each name.
    pub words: String,
    pub retry_at: Option<Timestamp>,
    /// A page at which a person can do something about it: `instance` of the document, or the new terms.
    pub see: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// A request of ours.
    #[default]
    Request,
    /// A name, which the CA has looked at and did not find what it should.
    Validation,
}

/// What is known about a type of problem.
struct Rule {
    kind: &'static str,
    class: Class,
    /// Whether the order, or the request, is decided, so that the same again is of no use.
    over: bool,
    means: &'static str,
    todo: &'static str,
}

const fn rule(kind: &'static str, class: Class, over: bool, means: &'static str, todo: &'static str) -> Rule {
    Rule { kind, class, over, means, todo }
}

const WAIT: &str = "nothing, it is tried again by itself.";
const REPORT: &str = "report this as a bug of acmezone, with the log.";

/// The types of problems that answer requests: RFC 8555 section 6.7, RFC 8739, RFC 9115, RFC 9773, RFC 9799, and
/// draft-ietf-acme-profiles.
const RULES: &[Rule] = &[
    // The account is made anew before anybody hears of it; another CA knows its own.
    rule("accountDoesNotExist", Class::Later, true, "the CA does not know our account.", WAIT),
    // The next order is made without naming the certificate that it replaces.
    rule("alreadyReplaced", Class::Later, true, "the certificate has been replaced by another order before.", WAIT),
    rule("alreadyRevoked", Class::Later, true, "the certificate is revoked already.", "nothing."),
    // Another CA gets the same request.
    rule(
        "badCSR",
        Class::Person,
        true,
        "the CA does not take our certificate signing request: its names, or the kind of its key.",
        "look at `names` and `key_type` of the certificate.",
    ),
    // The server has not acted, and the next nonce is good.
    rule("badNonce", Class::Later, false, "the CA forgets the nonces that it gives out.", WAIT),
    rule(
        "badPublicKey",
        Class::Person,
        true,
        "the CA does not take our key: its kind, its size, or it is known to others.",
        "look at `key_type` and `reuse_key` of the certificate; a new key is made for the next attempt.",
    ),
    rule("badRevocationReason", Class::Person, true, "the CA does not take this reason.", "choose another one."),
    rule("badSignatureAlgorithm", Class::Elsewhere, true, "the CA does not take our signatures.", REPORT),
    // Another CA may be the one that is permitted.
    rule(
        "caa",
        Class::Elsewhere,
        true,
        "CAA records of the domain do not let this CA issue.",
        "add a CAA record for this CA (`acmezone ca show` prints it), or take another CA.",
    ),
    // Its parts are looked at.
    rule("compound", Class::Later, true, "there are several problems, see each name.", "see each name."),
    rule("conflict", Class::Later, false, "the CA is at work on something that this is in the way of.", WAIT),
    rule("connection", Class::Elsewhere, true, "the CA cannot reach a server of yours.", "look at its firewall."),
    rule("dns", Class::Elsewhere, true, "the CA's look-up in the DNS fails.", "look at the zone's name servers."),
    rule(
        "externalAccountRequired",
        Class::Elsewhere,
        true,
        "this CA makes accounts only for its customers.",
        "get a key ID and an HMAC key from the CA, and set `eab` in its [[ca]] table.",
    ),
    rule("incorrectResponse", Class::Elsewhere, true, "the CA did not find what it asked for.", WAIT),
    rule(
        "invalidContact",
        Class::Elsewhere,
        true,
        "the CA does not take a contact address.",
        "correct `contact` in the [[ca]] table, e.g. mailto:hostmaster@example.org.",
    ),
    rule(
        "invalidProfile",
        Class::Elsewhere,
        true,
        "the CA does not have this profile, or not for this account or these names.",
        "choose a `profile` that `acmezone ca show` lists.",
    ),
    // Another CA may read it in another way; a name that nobody takes is said by all.
    rule("malformed", Class::Elsewhere, true, "the CA does not take the request as it is.", "see the CA's words."),
    rule("onionCAARequired", Class::Elsewhere, true, "the CA wants CAA records for an onion name.", REPORT),
    // Said to the second of two requests for a certificate, if the answer to the first was lost.
    rule("orderNotReady", Class::Later, false, "the order is not where we took it to be.", WAIT),
    // How long it lasts decides, see `class`.
    rule("rateLimited", Class::Later, false, "a limit of the CA is reached.", WAIT),
    rule(
        "rejectedIdentifier",
        Class::Elsewhere,
        true,
        "this CA does not issue for one of the names, whatever is proven.",
        "take the name out, or take another CA.",
    ),
    // Something is broken there.
    rule("serverInternal", Class::Elsewhere, false, "the CA has an error of its own.", WAIT),
    rule("tls", Class::Elsewhere, true, "the CA cannot speak TLS with a server of yours.", REPORT),
    // Answers a request, not a challenge: what our account may not do, another CA's may.
    rule(
        "unauthorized",
        Class::Elsewhere,
        true,
        "the CA does not let our account do this: it may be deactivated, or not entitled to the name.",
        "see the CA's words, and its web site.",
    ),
    rule("unknownDelegation", Class::Elsewhere, true, "the CA does not know the delegation.", REPORT),
    rule(
        "unsupportedContact",
        Class::Elsewhere,
        true,
        "the CA does not take this kind of contact address.",
        "give `contact` in the [[ca]] table as mailto:hostmaster@example.org.",
    ),
    rule(
        "unsupportedIdentifier",
        Class::Elsewhere,
        true,
        "this CA does not issue for this kind of name.",
        "take the name out, or take another CA.",
    ),
    // The order can go on when a person has done it.
    rule(
        "userActionRequired",
        Class::Elsewhere,
        false,
        "the CA waits for you to do something: most often to agree to new terms of service.",
        "see the page that the CA names.",
    ),
    rule("autoRenewalCanceled", Class::Later, true, "the order was cancelled.", WAIT),
    rule("autoRenewalExpired", Class::Later, true, "the order has expired.", WAIT),
    rule("autoRenewalCancellationInvalid", Class::Later, true, "the order cannot be cancelled.", WAIT),
    rule("autoRenewalRevocationNotSupported", Class::Later, true, "such certificates are not revoked.", WAIT),
];

/// A type that nobody told us of is taken for a decision of this CA.
const UNKNOWN: Rule = rule(
    "",
    Class::Elsewhere,
    true,
    "the CA refuses, for a reason of its own.",
    "see the CA's words; if they say nothing, its web site.",
);

/// What a status says when the type says nothing (RFC 9110 section 15).
const BUSY: Rule = rule("", Class::Later, false, "the CA has too much to do.", WAIT);
const BROKEN: Rule = rule("", Class::Elsewhere, false, "the CA is broken or being worked on.", WAIT);
const LATE: Rule = rule("", Class::Later, false, "the request came too late or in between.", WAIT);

/// Said of an answer that is no ACME.
pub const NO_ACME: &str = "What this means: at this URL there is no CA that speaks ACME, or something before it \
     answers in its place. What to do: look at `directory` in the [[ca]] table, and open it in a browser.";

/// Who can do something about an answer that is no problem document, if asked now.
pub fn class_of_status(status: StatusCode, retry_at: Option<Timestamp>, now: Timestamp) -> Class {
    let patience = match status {
        StatusCode::TOO_MANY_REQUESTS => SHORT_WAIT,
        // What is asked of a CA in one second is limited too, and said in this way.
        StatusCode::SERVICE_UNAVAILABLE => MOMENT,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::CONFLICT => return Class::Later,
        _ => return Class::Elsewhere,
    };
    if retry_at.is_some_and(|at| at <= now + patience) { Class::Later } else { Class::Elsewhere }
}

/// What an error below ACME means, and what to do.
pub fn explanation_of(error: &HttpError) -> String {
    let (means, todo) = match error {
        HttpError::Unreachable { .. } => (
            "the CA or the way to it is down, or its certificate is not trusted here.",
            "it is tried again by itself; if it lasts, ask for the URL with curl from this machine. A proxy is set by \
             `proxy` in [acme] and avoided by `no_proxy`, the root of a private CA by `root` in its [[ca]].",
        ),
        HttpError::TooSlow { .. } => ("the CA or the way to it has too much to do.", WAIT),
        HttpError::Body { .. } => ("the answer broke off, or is far too long for a CA's.", WAIT),
        HttpError::Status { status, .. } => match status.as_u16() {
            429 => (BUSY.means, BUSY.todo),
            500.. => (BROKEN.means, BROKEN.todo),
            408 | 409 | 425 => (LATE.means, LATE.todo),
            _ => return NO_ACME.into(),
        },
    };
    explained(means, todo)
}

fn explained(means: &str, todo: &str) -> String {
    format!("What this means: {means} What to do: {todo}")
}

impl Refusal {
    /// The problem in the CA's own words.
    pub fn new(problem: &Problem, about: About) -> Refusal {
        let words = words(problem);
        Refusal {
            about,
            kind: problem.r#type.as_deref().map(plain).unwrap_or_default(),
            parts: problem.subproblems.iter().filter_map(|part| part.r#type.clone()).collect(),
            status: problem.status,
            retry_at: said_in_words(&words),
            words,
            see: None,
        }
    }

    /// The same, said of one of several names.
    pub fn of(self, name: &str) -> Refusal {
        Refusal { words: format!("{name}: {}", self.words), ..self }
    }

    /// The words of several, and the first of those that take most. `None` if there are none.
    pub fn all(refusals: Vec<Refusal>, now: Timestamp) -> Option<(String, Refusal)> {
        let words: Vec<&str> = refusals.iter().map(|refusal| refusal.words.as_str()).collect();
        let words = words.join("; ");
        let worst = refusals.into_iter().rev().max_by_key(|refusal| refusal.class(now))?;
        Some((words, worst))
    }

    /// Whether the type is this one of RFC 8555's.
    pub fn is(&self, kind: &str) -> bool {
        short(&self.kind) == Some(kind)
    }

    /// Who can do something about it, if asked now.
    pub fn class(&self, now: Timestamp) -> Class {
        if self.about == About::Validation {
            return explanation::of_validation(&self.kind, &self.words).class;
        }
        let rule = self.rule();
        let of_status = |status| class_of_status(status, self.retry_at, now);
        if self.is("rateLimited") {
            of_status(StatusCode::TOO_MANY_REQUESTS)
        } else if self.is("compound") {
            let parts = self.parts.iter().map(|part| known(part).map_or(UNKNOWN.class, |rule| rule.class));
            parts.max().unwrap_or(UNKNOWN.class)
        } else if rule.kind.is_empty() {
            self.status.and_then(|status| StatusCode::from_u16(status).ok()).map_or(rule.class, of_status)
        } else {
            rule.class
        }
    }

    /// Whether the CA has decided against what was asked, so that asking the same again is of no use.
    pub fn is_final(&self) -> bool {
        self.about == About::Validation || self.rule().over
    }

    /// Whether the CA does not do what a CA should.
    pub fn is_outage(&self) -> bool {
        self.is("serverInternal") || self.status.is_some_and(|status| status >= 500)
    }

    /// What it means, and what to do.
    pub fn explanation(&self) -> String {
        let (means, todo) = match self.about {
            About::Validation => {
                let found = explanation::of_validation(&self.kind, &self.words);
                (found.means, found.todo)
            }
            About::Request => match explanation::of_limit(&self.words).filter(|_| self.is("rateLimited")) {
                Some(found) => (found.means, found.todo),
                None => (self.rule().means, self.rule().todo),
            },
        };
        match &self.see {
            Some(page) => format!("What this means: {means} What to do: see {page} ({})", todo.trim_end_matches('.')),
            None => explained(means, todo),
        }
    }

    fn rule(&self) -> &'static Rule {
        match (self.status, known(&self.kind)) {
            // These can come with any type, from what stands before the CA.
            (Some(429), known) if known.is_none_or(|rule| rule.over) => &BUSY,
            (Some(500..), known) if known.is_none_or(|rule| rule.over) => &BROKEN,
            (Some(408 | 425), _) => &LATE,
            (_, Some(rule)) => rule,
            (Some(409), None) => &LATE,
            (_, None) => &UNKNOWN,
        }
    }
}

/// The name of a type that ACME knows, without what stands before it.
fn short(kind: &str) -> Option<&str> {
    kind.strip_prefix("urn:ietf:params:acme:error:")
}

fn known(kind: &str) -> Option<&'static Rule> {
    let kind = short(kind)?;
    RULES.iter().find(|rule| rule.kind == kind)
}

/// Text of a CA in one line and not endless: it goes into the log, and into what is kept.
pub fn plain(text: &str) -> String {
    let mut plain: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        plain.push('…');
    }
    plain
}

/// `detail (type)`, and the same for each name that has a problem of its own (RFC 8555 section 6.7.1).
pub fn words(problem: &Problem) -> String {
    let one = |detail: &Option<String>, kind: &Option<String>| match (detail, kind) {
        (Some(detail), Some(kind)) => format!("{detail} ({kind})"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => "the CA gave no reason".into(),
    };
    let mut text = one(&problem.detail, &problem.r#type);
    for sub in &problem.subproblems {
        let words = one(&sub.detail, &sub.r#type);
        match &sub.identifier {
            Some(identifier) => text.push_str(&format!("; {}: {words}", identifier.authorized(false))),
            None => text.push_str(&format!("; {words}")),
        }
    }
    plain(&text)
}

/// The moment that Let's Encrypt writes into its words, `retry after 2026-01-02 03:04:05 UTC`, should the header be
/// missing.
fn said_in_words(words: &str) -> Option<Timestamp> {
    let (_, after) = words.split_once("retry after ")?;
    let (date, _) = after.split_once(" UTC")?;
    let date: jiff::civil::DateTime = date.trim().parse().ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(at.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_800_000_000;

    fn read(json: &str) -> Refusal {
        Refusal::new(&serde_json::from_str(json).unwrap(), About::Request)
    }

    fn refusal(kind: &str, status: Option<u16>, wait: Option<u64>) -> Refusal {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Refusal { kind, status, retry_at: wait.map(|wait| NOW + wait), ..Refusal::default() }
    }

    #[test]
    fn the_ca_is_told_in_its_own_words_rfc8555_6_7_1() {
        let refusal = read(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"Not these","status":400,
                "subproblems":[{"type":"urn:t:caa","detail":"CAA forbids","identifier":{"type":"dns","value":"a.test"}}]}"#,
        );
        assert_eq!(
            refusal.words,
            "Not these (urn:ietf:params:acme:error:rejectedIdentifier); a.test: CAA forbids (urn:t:caa)"
        );
        assert!(refusal.is_final() && refusal.is("rejectedIdentifier"));
        assert_eq!(read("{}").words, "the CA gave no reason");
    }

    #[test]
    fn words_of_a_ca_make_no_lines_of_their_own_and_have_an_end() {
        let refusal = read(r#"{"type":"t","detail":"no\nERROR all is lost\u001b[31m"}"#);
        assert_eq!(refusal.words, "no ERROR all is lost [31m (t)");
        let long = read(&format!(r#"{{"type":"t","detail":"{}"}}"#, "ä".repeat(5000)));
        assert_eq!(long.words.chars().count(), LONGEST + 1);
    }

    #[test]
    fn every_type_is_classified_rfc8555_6_7() {
        use Class::{Elsewhere, Later, Person};
        let table = [
            ("accountDoesNotExist", Later, true),
            ("alreadyReplaced", Later, true),
            ("alreadyRevoked", Later, true),
            ("autoRenewalCanceled", Later, true),
            ("autoRenewalCancellationInvalid", Later, true),
            ("autoRenewalExpired", Later, true),
            ("autoRenewalRevocationNotSupported", Later, true),
            ("badCSR", Person, true),
            ("badNonce", Later, false),
            ("badPublicKey", Person, true),
            ("badRevocationReason", Person, true),
            ("badSignatureAlgorithm", Elsewhere, true),
            ("caa", Elsewhere, true),
            ("compound", Elsewhere, true),
            ("conflict", Later, false),
            ("connection", Elsewhere, true),
            ("dns", Elsewhere, true),
            ("externalAccountRequired", Elsewhere, true),
            ("incorrectResponse", Elsewhere, true),
            ("invalidContact", Elsewhere, true),
            ("invalidProfile", Elsewhere, true),
            ("malformed", Elsewhere, true),
            ("nobodyKnowsThis", Elsewhere, true),
            ("onionCAARequired", Elsewhere, true),
            ("orderNotReady", Later, false),
            ("rateLimited", Elsewhere, false),
            ("rejectedIdentifier", Elsewhere, true),
            ("serverInternal", Elsewhere, false),
            ("tls", Elsewhere, true),
            ("unauthorized", Elsewhere, true),
            ("unknownDelegation", Elsewhere, true),
            ("unsupportedContact", Elsewhere, true),
            ("unsupportedIdentifier", Elsewhere, true),
            ("userActionRequired", Elsewhere, false),
        ];
        for (kind, class, is_final) in table {
            let refusal = refusal(kind, Some(400), None);
            assert_eq!((refusal.class(NOW), refusal.is_final()), (class, is_final), "{kind}");
            let explanation = refusal.explanation();
            assert!(explanation.starts_with("What this means: ") && explanation.contains(" What to do: "), "{kind}");
        }
        assert!(RULES.iter().all(|rule| table.iter().any(|(kind, ..)| *kind == rule.kind)));
        // Of another registry, whatever its last word is.
        let foreign = Refusal { kind: "https://ca.test/rateLimited".into(), ..Refusal::default() };
        assert_eq!((foreign.class(NOW), foreign.is_final()), (Class::Elsewhere, true));
    }

    #[test]
    fn a_status_counts_whatever_the_type_is_rfc9110_15() {
        use Class::{Elsewhere, Later};
        for (kind, status, wait, class, is_final, is_outage) in [
            ("malformed", 429, Some(60), Later, false, false),
            ("malformed", 429, None, Elsewhere, false, false),
            ("rateLimited", 429, Some(60 * 60), Later, false, false),
            ("rateLimited", 429, Some(60 * 60 + 1), Elsewhere, false, false),
            ("rateLimited", 503, Some(5), Later, false, true),
            ("unauthorized", 503, Some(5), Later, false, true),
            ("unauthorized", 503, Some(600), Elsewhere, false, true),
            ("serverInternal", 500, None, Elsewhere, false, true),
            ("", 500, None, Elsewhere, false, true),
            ("", 409, None, Later, false, false),
            ("alreadyReplaced", 409, None, Later, true, false),
            ("malformed", 408, None, Later, false, false),
            ("", 404, None, Elsewhere, true, false),
        ] {
            let refusal = refusal(kind, Some(status), wait);
            let found = (refusal.class(NOW), refusal.is_final(), refusal.is_outage());
            assert_eq!(found, (class, is_final, is_outage), "{kind} {status} {wait:?}");
        }
    }

    #[test]
    fn answers_that_are_no_problem_documents_are_classified_and_explained() {
        let class = |status: u16, wait: Option<u64>| {
            class_of_status(StatusCode::from_u16(status).unwrap(), wait.map(|wait| NOW + wait), NOW)
        };
        assert_eq!(class(429, Some(600)), Class::Later);
        assert_eq!(class(429, None), Class::Elsewhere);
        assert_eq!(class(503, Some(60)), Class::Later);
        assert_eq!(class(503, Some(61)), Class::Elsewhere);
        assert_eq!(class(502, None), Class::Elsewhere);
        assert_eq!(class(404, Some(1)), Class::Elsewhere);
        assert_eq!(class(408, None), Class::Later);
        let explained = |status: StatusCode| {
            explanation_of(&HttpError::Status { url: "u".into(), status, body: String::new(), retry_at: None })
        };
        assert!(explained(StatusCode::BAD_GATEWAY).contains("broken"));
        assert!(explained(StatusCode::TOO_MANY_REQUESTS).contains("too much to do"));
        assert_eq!(explained(StatusCode::NOT_FOUND), NO_ACME);
    }

    #[test]
    fn of_several_names_the_one_that_takes_most_decides() {
        let of = |name: &str, words: &str| {
            let kind = "urn:ietf:params:acme:error:dns".into();
            let about = About::Validation;
            Refusal { about, kind, words: words.into(), ..Refusal::default() }.of(name)
        };
        let timeout = of("a.test", "DNS problem: query timed out looking up TXT for _acme-challenge.a.test");
        let missing = of("b.test", "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.b.test");
        let (words, worst) = Refusal::all(vec![timeout.clone(), missing.clone(), missing.clone()], NOW).unwrap();
        assert!(words.starts_with("a.test: DNS problem: query") && words.contains("; b.test: DNS problem: NXDOMAIN"));
        assert_eq!((worst.class(NOW), &worst), (Class::Person, &missing));
        assert_eq!(Refusal::all(vec![timeout.clone()], NOW).unwrap().1, timeout);
        assert_eq!(Refusal::all(Vec::new(), NOW), None);
        let kinds = ["urn:ietf:params:acme:error:caa", "urn:ietf:params:acme:error:badCSR"];
        let compound = Refusal { parts: kinds.map(str::to_owned).into(), ..refusal("compound", Some(403), None) };
        assert_eq!(compound.class(NOW), Class::Person);
    }

    #[test]
    fn the_end_of_a_limit_is_read_from_the_words_of_lets_encrypt() {
        let limited = read(concat!(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429,"#,
            r#""detail":"too many certificates (5) already issued for this exact set of identifiers in the last "#,
            r#"168h0m0s, retry after 2027-01-15 08:05:00 UTC: see https://letsencrypt.org/docs/rate-limits/"}"#,
        ));
        assert_eq!(limited.retry_at, Some(NOW + 5 * 60));
        assert_eq!(limited.class(NOW), Class::Later);
        assert!(limited.explanation().contains("exactly these names in a week"));
        for other in ["retry after lunch UTC", "retry after 2027-01-15 08:05:00", "2027-01-15 08:05:00 UTC"] {
            assert_eq!(said_in_words(other), None, "{other}");
        }
    }

    #[test]
    fn the_page_to_see_is_named_rfc8555_7_3_3() {
        let see = Some("https://ca.test/agree".to_owned());
        let waiting = Refusal { see, ..refusal("userActionRequired", Some(403), None) };
        assert!(waiting.explanation().contains("What to do: see https://ca.test/agree ("), "{}", waiting.explanation());
    }
}
