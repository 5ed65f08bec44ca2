//! What a CA's own rate limits leave us, as far as we know: asked before each order, so that we never run into them.
//!
//! The figures are Let's Encrypt's, each counted in a window that slides: a little stricter than its token buckets. What
//! counts is kept in the store (`Document::CaLedger`), so that a restart forgets nothing. One count for each directory,
//! whatever its `[[ca]]` are called and however many there are: most limits hold for all accounts together, and the
//! others are kept to a little more strictly. Pure but for [`Budget`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Ca, Limits};
use crate::store::{Body, Document, UpdateError, Writer};
use crate::zone::Timestamp;

const HOUR: u64 = 3_600;
const WEEK: u64 = 7 * 24 * HOUR;
/// What was noted further in the future than this was noted under a wrong clock, seconds.
const CLOCK_SKEW: u64 = HOUR;

/// So many in so many seconds.
struct Limit {
    most: usize,
    within: u64,
    what: &'static str,
}

const ORDERS: Limit = Limit { most: 300, within: 3 * HOUR, what: "orders of our account in 3 hours" };
const PER_DOMAIN: Limit = Limit { most: 50, within: WEEK, what: "certificates in 7 days for the registered domain" };
const PER_SET: Limit = Limit { most: 5, within: WEEK, what: "certificates in 7 days for exactly the names" };
const FAILURES: Limit = Limit { most: 5, within: HOUR, what: "failed authorizations in an hour for" };

/// How a new order relates to the certificate in use: renewals are exempt from some limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renews {
    Nothing,
    /// The same names: no limit of orders, none per domain.
    SameNames,
    /// Names the certificate that it replaces, in the window that the CA suggests for that (RFC 9773 section 5): no
    /// limit at all.
    Replaces,
}

/// A limit that an order would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    what: &'static str,
    most: usize,
    subject: String,
    /// When the order may be made.
    pub until: Timestamp,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exceeded { what, most, subject, .. } = self;
        write!(f, "not ordered, to stay within the CA's limit of {most} {what} {subject}", subject = subject.trim())
    }
}

/// What was asked of a CA that its limits count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Ledger {
    orders: Vec<Timestamp>,
    issued: Vec<Issued>,
    failures: Vec<FailedAuthorization>,
}

/// A certificate, or an order that may still become one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Issued {
    at: Timestamp,
    names: Vec<String>,
    /// Registered domains; none for a renewal, which they do not count.
    domains: Vec<String>,
    under_way: bool,
    /// Name of the configured certificate: it has one order under way at most.
    #[serde(default)]
    certificate: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FailedAuthorization {
    at: Timestamp,
    /// Without `*.`.
    name: String,
}

impl Ledger {
    fn add(&mut self, other: Ledger) {
        self.orders.extend(other.orders);
        self.issued.extend(other.issued);
        self.failures.extend(other.failures);
    }

    /// The limit that keeps an order for these names away longest. One that is under way for the same certificate, or
    /// was about to be made when the server was stopped, becomes none any more.
    fn exceeded(&self, certificate: &str, names: &[String], renews: Renews, now: Timestamp) -> Option<Exceeded> {
        let mut found: Vec<Exceeded> = Vec::new();
        let mut hold = |limit: &Limit, subject: String, times: &mut dyn Iterator<Item = Timestamp>| {
            found.extend(limit.exceeded(times, now).map(|until| Exceeded {
                what: limit.what,
                most: limit.most,
                subject,
                until,
            }));
        };
        if renews == Renews::Replaces {
            return None;
        }
        let issued = || self.issued.iter().filter(|issued| !issued.is_under_way(certificate));
        if renews == Renews::Nothing {
            hold(&ORDERS, String::new(), &mut self.orders.iter().copied());
            for domain in domains(names) {
                let of_domain = issued().filter(|issued| issued.domains.contains(&domain));
                hold(&PER_DOMAIN, domain.clone(), &mut of_domain.map(|issued| issued.at));
            }
        }
        let same = issued().filter(|issued| issued.names == names);
        hold(&PER_SET, names.join(", "), &mut same.map(|issued| issued.at));
        for name in bases(names) {
            let failed = self.failures.iter().filter(|failed| failed.name == name);
            hold(&FAILURES, name.to_owned(), &mut failed.map(|failed| failed.at));
        }
        found.into_iter().max_by_key(|exceeded| exceeded.until)
    }

    fn order(&mut self, certificate: &str, names: &[String], renews: Renews, now: Timestamp) {
        self.issued.retain(|issued| !issued.is_under_way(certificate));
        if renews == Renews::Replaces {
            return;
        }
        let mut new_domains = Vec::new();
        if renews == Renews::Nothing {
            self.orders.push(now);
            new_domains = domains(names);
        }
        let certificate = certificate.to_owned();
        self.issued.push(Issued { at: now, names: names.to_vec(), domains: new_domains, under_way: true, certificate });
    }

    /// The order for this certificate came to its end.
    fn settle(&mut self, certificate: &str, issued: bool, failed: &[String], now: Timestamp) {
        if issued {
            let under_way = self.issued.iter_mut().filter(|issued| issued.is_under_way(certificate));
            under_way.for_each(|order| order.under_way = false);
        }
        self.issued.retain(|issued| !issued.is_under_way(certificate));
        let failures = bases(failed).into_iter();
        self.failures.extend(failures.map(|name| FailedAuthorization { at: now, name: name.to_owned() }));
    }

    /// Forgets what counts no more.
    fn forget(&mut self, now: Timestamp) {
        let counts = |at: Timestamp, limit: &Limit| limit.counts(at, now);
        self.orders.retain(|at| counts(*at, &ORDERS));
        self.issued.retain(|issued| counts(issued.at, &PER_SET));
        self.failures.retain(|failed| counts(failed.at, &FAILURES));
    }
}

impl Issued {
    fn is_under_way(&self, certificate: &str) -> bool {
        self.under_way && self.certificate == certificate
    }
}

impl Limit {
    fn counts(&self, at: Timestamp, now: Timestamp) -> bool {
        at <= now + CLOCK_SKEW && now < at + self.within
    }

    /// When one more is possible, if it is not now.
    fn exceeded(&self, times: &mut dyn Iterator<Item = Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let mut times: Vec<Timestamp> = times.filter(|at| self.counts(*at, now)).collect();
        times.sort_unstable();
        let oldest_to_go = times.len().checked_sub(self.most)?;
        times.get(oldest_to_go).map(|at| at + self.within)
    }
}

/// The names that authorizations are for: without `*.`, each once.
fn bases(names: &[String]) -> Vec<&str> {
    let mut bases: Vec<&str> = names.iter().map(|name| name.strip_prefix("*.").unwrap_or(name)).collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// The domains under which these names were registered, by the public suffix list; each once.
fn domains(names: &[String]) -> Vec<String> {
    let mut domains: Vec<String> =
        bases(names).into_iter().map(|name| psl::domain_str(name).unwrap_or(name).to_owned()).collect();
    domains.dedup();
    domains.sort_unstable();
    domains.dedup();
    domains
}

/// The budget at the CA of one directory.
#[derive(Debug, Default)]
pub struct Budget {
    /// As in the store, once it was read.
    kept: tokio::sync::Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    ledger: Ledger,
    /// Keys of what was added to it, from when each `[[ca]]` had a ledger of its own.
    outdated: Vec<String>,
}

impl Budget {
    /// Notes an order for this certificate before it is made, unless a limit would be exceeded.
    pub async fn order(
        &self,
        ca: &Ca,
        writer: &Writer,
        certificate: &str,
        names: &[String],
        renews: Renews,
        now: Timestamp,
    ) -> Result<Result<(), Exceeded>, UpdateError> {
        if ca.limits == Limits::None {
            return Ok(Ok(()));
        }
        let exceeded = |ledger: &mut Ledger| match ledger.exceeded(certificate, names, renews, now) {
            Some(exceeded) => Err(exceeded),
            None => {
                ledger.order(certificate, names, renews, now);
                Ok(())
            }
        };
        self.change(ca, writer, now, exceeded).await
    }

    /// The limit that an order made now would exceed.
    pub async fn exceeded(
        &self,
        ca: &Ca,
        writer: &Writer,
        certificate: &str,
        names: &[String],
        renews: Renews,
        now: Timestamp,
    ) -> Result<Option<Exceeded>, UpdateError> {
        let exceeded = |ledger: &mut Ledger| ledger.exceeded(certificate, names, renews, now);
        match ca.limits {
            Limits::None => Ok(None),
            Limits::LetsEncrypt => self.change(ca, writer, now, exceeded).await,
        }
    }

    /// Notes how an order ended, and the names whose authorization failed.
    pub async fn settle(
        &self,
        ca: &Ca,
        writer: &Writer,
        certificate: &str,
        issued: bool,
        failed: &[String],
        now: Timestamp,
    ) -> Result<(), UpdateError> {
        match ca.limits {
            Limits::None => Ok(()),
            Limits::LetsEncrypt => {
                self.change(ca, writer, now, |ledger| ledger.settle(certificate, issued, failed, now)).await
            }
        }
    }

    async fn change<T>(
        &self,
        ca: &Ca,
        writer: &Writer,
        now: Timestamp,
        change: impl FnOnce(&mut Ledger) -> T,
    ) -> Result<T, UpdateError> {
        let mut held = self.kept.lock().await;
        let mut kept = match held.take() {
            Some(kept) => kept,
            None => read(writer, &ca.directory).await?,
        };
        let mut after = kept.ledger.clone();
        after.forget(now);
        let told = change(&mut after);
        if after != kept.ledger || !kept.outdated.is_empty() {
            let body = Body::of(&after)?;
            let mut documents = vec![(Document::CaLedger, ca.directory.clone(), Some(body))];
            documents.extend(kept.outdated.iter().map(|key| (Document::CaLedger, key.clone(), None)));
            if let Err(error) = writer.put_documents(documents).await {
                *held = Some(kept);
                return Err(error);
            }
            kept = Kept { ledger: after, outdated: Vec::new() };
        }
        *held = Some(kept);
        Ok(told)
    }
}

/// A ledger that cannot be read does not stop certificates: the CA itself counts as well.
async fn read(writer: &Writer, directory: &str) -> Result<Kept, UpdateError> {
    let mut kept = Kept { ledger: Ledger::default(), outdated: Vec::new() };
    for (key, text) in writer.documents(Document::CaLedger).await? {
        // Before, the name of a `[[ca]]` and a space came first.
        let is_outdated = key.strip_suffix(directory).is_some_and(|before| before.ends_with(' '));
        if key != directory && !is_outdated {
            continue;
        }
        match serde_json::from_str(&text) {
            Ok(ledger) => kept.ledger.add(ledger),
            Err(error) => {
                tracing::warn!(directory, %error, "a count of orders at the CA cannot be read and begins anew");
            }
        }
        if is_outdated {
            kept.outdated.push(key);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_800_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn used(times: usize, mut one: impl FnMut(&mut Ledger, usize)) -> Ledger {
        let mut ledger = Ledger::default();
        (0..times).for_each(|turn| one(&mut ledger, turn));
        ledger
    }

    /// `most` events pass, one more waits until the first is out of the window.
    fn holds(ledger: &Ledger, names: &[String], within: u64, words: &str) {
        let exceeded = ledger.exceeded("c", names, Renews::Nothing, NOW + 100).unwrap();
        assert_eq!(exceeded.until, NOW + within);
        assert!(exceeded.to_string().contains(words), "{exceeded}");
        assert_eq!(ledger.exceeded("c", names, Renews::Nothing, NOW + within), None);
        assert_eq!(ledger.exceeded("c", names, Renews::Replaces, NOW + 100), None);
    }

    #[test]
    fn an_exact_set_gets_five_certificates_in_a_week() {
        let (set, other) = (names(&["*.a.test", "a.test"]), names(&["a.test"]));
        let issue = |ledger: &mut Ledger, turn: usize| {
            ledger.order("c", &set, Renews::SameNames, NOW + turn as u64);
            ledger.settle("c", true, &[], NOW + turn as u64);
        };
        assert_eq!(used(4, issue).exceeded("c", &set, Renews::SameNames, NOW + 100), None);
        let ledger = used(5, issue);
        holds(&ledger, &set, WEEK, "5 certificates in 7 days for exactly the names *.a.test, a.test");
        assert_eq!(ledger.exceeded("c", &other, Renews::Nothing, NOW + 100), None);
    }

    #[test]
    fn a_registered_domain_gets_fifty_new_certificates_in_a_week() {
        let issue = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&format!("c{turn}"), &names(&[&format!("h{turn}.shop.co.uk")]), Renews::Nothing, NOW);
        };
        let wanted = names(&["more.shop.co.uk"]);
        assert_eq!(used(49, issue).exceeded("c", &wanted, Renews::Nothing, NOW + 100), None);
        let ledger = used(50, issue);
        holds(&ledger, &wanted, WEEK, "50 certificates in 7 days for the registered domain shop.co.uk");
        // A public suffix is no registered domain, and renewals are exempt.
        assert_eq!(ledger.exceeded("c", &names(&["other.co.uk"]), Renews::Nothing, NOW), None);
        assert_eq!(ledger.exceeded("c", &wanted, Renews::SameNames, NOW), None);
    }

    #[test]
    fn an_account_makes_300_orders_in_three_hours() {
        let order = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&format!("c{turn}"), &names(&[&format!("d{turn}.test")]), Renews::Nothing, NOW);
        };
        let wanted = names(&["one-more.test"]);
        // Renewals are exempt, and do not count.
        let renew = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&format!("c{turn}"), &names(&[&format!("d{turn}.test")]), Renews::SameNames, NOW);
        };
        assert_eq!(used(300, renew).exceeded("c", &wanted, Renews::Nothing, NOW + 100), None);
        assert_eq!(used(299, order).exceeded("c", &wanted, Renews::Nothing, NOW + 100), None);
        holds(&used(300, order), &wanted, 3 * HOUR, "300 orders of our account in 3 hours");
    }

    #[test]
    fn a_name_fails_five_times_in_an_hour_then_waits_whatever_the_certificate() {
        let fail = |ledger: &mut Ledger, _: usize| ledger.settle("c", false, &names(&["*.a.test", "a.test"]), NOW);
        let wanted = names(&["a.test", "b.test"]);
        assert_eq!(used(4, fail).exceeded("c", &wanted, Renews::SameNames, NOW + 100), None);
        let ledger = used(5, fail);
        holds(&ledger, &wanted, HOUR, "5 failed authorizations in an hour for a.test");
        assert!(ledger.exceeded("c", &wanted, Renews::SameNames, NOW + 100).is_some());
        assert_eq!(ledger.exceeded("c", &names(&["b.test"]), Renews::Nothing, NOW + 100), None);
    }

    #[test]
    fn orders_that_failed_do_not_count_as_certificates() {
        let set = names(&["a.test"]);
        let fail = |ledger: &mut Ledger, _: usize| {
            ledger.order("c", &set, Renews::Nothing, NOW);
            ledger.settle("c", false, &[], NOW);
        };
        assert_eq!(used(20, fail).exceeded("c", &set, Renews::Nothing, NOW), None);
    }

    /// A server that was stopped between the note and the order has not settled it.
    #[test]
    fn a_certificate_has_one_order_under_way_and_settles_no_other_ones() {
        let set = names(&["a.test"]);
        let mut ledger = used(9, |ledger, _| ledger.order("c", &set, Renews::Nothing, NOW));
        assert_eq!(ledger.exceeded("c", &set, Renews::Nothing, NOW), None);
        (0..4).for_each(|turn| ledger.order(&format!("c{turn}"), &set, Renews::Nothing, NOW));
        assert_eq!(ledger.exceeded("c", &set, Renews::Nothing, NOW), None);
        assert!(ledger.exceeded("other", &set, Renews::Nothing, NOW).is_some());
        // An order that meets no limit is none of those that were noted.
        ledger.order("c", &set, Renews::Replaces, NOW);
        ledger.settle("c", true, &[], NOW);
        assert_eq!(ledger.issued.iter().filter(|issued| issued.under_way).count(), 4);
        ledger.settle("c0", true, &[], NOW);
        ledger.settle("c1", false, &[], NOW);
        assert_eq!(ledger.issued.iter().filter(|issued| issued.under_way).count(), 2);
        assert_eq!(ledger.issued.len(), 3);
    }

    #[test]
    fn nothing_is_kept_for_ever_and_a_wrong_clock_locks_nobody_out() {
        let mut ledger =
            used(10, |ledger, turn| ledger.order(&format!("c{turn}"), &names(&["a.test"]), Renews::Nothing, NOW));
        assert_eq!(ledger.exceeded("c", &names(&["a.test"]), Renews::Nothing, NOW - 2 * HOUR), None);
        ledger.forget(NOW + WEEK);
        assert_eq!(ledger, Ledger::default());
    }
}
