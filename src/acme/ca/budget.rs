//! What a CA's own rate limits leave us, as far as we know: asked before each order, so that we never run into them.
//!
//! The figures are Let's Encrypt's, each counted in a window that slides: a little stricter than its token buckets. What
//! counts is kept in the store (`Document::CaLedger`), so that a restart forgets nothing. Pure but for [`Budget`].

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
    /// Names the certificate that it replaces (RFC 9773 section 5): no limit at all.
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
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FailedAuthorization {
    at: Timestamp,
    /// Without `*.`.
    name: String,
}

impl Ledger {
    /// The limit that keeps an order for these names away longest.
    fn exceeded(&self, names: &[String], renews: Renews, now: Timestamp) -> Option<Exceeded> {
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
        if renews == Renews::Nothing {
            hold(&ORDERS, String::new(), &mut self.orders.iter().copied());
            for domain in domains(names) {
                let of_domain = self.issued.iter().filter(|issued| issued.domains.contains(&domain));
                hold(&PER_DOMAIN, domain.clone(), &mut of_domain.map(|issued| issued.at));
            }
        }
        let same = self.issued.iter().filter(|issued| issued.names == names);
        hold(&PER_SET, names.join(", "), &mut same.map(|issued| issued.at));
        for name in bases(names) {
            let failed = self.failures.iter().filter(|failed| failed.name == name);
            hold(&FAILURES, name.to_owned(), &mut failed.map(|failed| failed.at));
        }
        found.into_iter().max_by_key(|exceeded| exceeded.until)
    }

    fn order(&mut self, names: &[String], renews: Renews, now: Timestamp) {
        if renews == Renews::Replaces {
            return;
        }
        self.orders.push(now);
        let domains = if renews == Renews::Nothing { domains(names) } else { Vec::new() };
        self.issued.push(Issued { at: now, names: names.to_vec(), domains, under_way: true });
    }

    /// The order for these names came to its end.
    fn settle(&mut self, names: &[String], issued: bool, failed: &[String], now: Timestamp) {
        let order = self.issued.iter().position(|entry| entry.under_way && entry.names == names);
        match (order, issued) {
            (Some(order), true) => self.issued[order].under_way = false,
            (Some(order), false) => drop(self.issued.remove(order)),
            (None, _) => {}
        }
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

/// The budget at one CA.
#[derive(Debug, Default)]
pub struct Budget {
    /// As in the store, once it was read.
    ledger: tokio::sync::Mutex<Option<Ledger>>,
}

impl Budget {
    /// Notes an order before it is made, unless a limit would be exceeded.
    pub async fn order(
        &self,
        ca: &Ca,
        writer: &Writer,
        names: &[String],
        renews: Renews,
        now: Timestamp,
    ) -> Result<Result<(), Exceeded>, UpdateError> {
        if ca.limits == Limits::None {
            return Ok(Ok(()));
        }
        let exceeded = |ledger: &mut Ledger| match ledger.exceeded(names, renews, now) {
            Some(exceeded) => Err(exceeded),
            None => {
                ledger.order(names, renews, now);
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
        names: &[String],
        renews: Renews,
        now: Timestamp,
    ) -> Result<Option<Exceeded>, UpdateError> {
        match ca.limits {
            Limits::None => Ok(None),
            Limits::LetsEncrypt => self.change(ca, writer, now, |ledger| ledger.exceeded(names, renews, now)).await,
        }
    }

    /// Notes how an order ended, and the names whose authorization failed.
    pub async fn settle(
        &self,
        ca: &Ca,
        writer: &Writer,
        names: &[String],
        issued: bool,
        failed: &[String],
        now: Timestamp,
    ) -> Result<(), UpdateError> {
        match ca.limits {
            Limits::None => Ok(()),
            Limits::LetsEncrypt => {
                self.change(ca, writer, now, |ledger| ledger.settle(names, issued, failed, now)).await
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
        let key = format!("{} {}", ca.name, ca.directory);
        let mut held = self.ledger.lock().await;
        let before = match held.take() {
            Some(ledger) => ledger,
            None => read(writer, &key).await?,
        };
        let mut after = before.clone();
        after.forget(now);
        let told = change(&mut after);
        if after != before {
            let text = Body::of(&after)?;
            if let Err(error) = writer.put_documents(vec![(Document::CaLedger, key, Some(text))]).await {
                *held = Some(before);
                return Err(error);
            }
        }
        *held = Some(after);
        Ok(told)
    }
}

/// A ledger that cannot be read does not stop certificates: the CA itself counts as well.
async fn read(writer: &Writer, key: &str) -> Result<Ledger, UpdateError> {
    let Some(text) = writer.document(Document::CaLedger, key).await? else { return Ok(Ledger::default()) };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(ca = key, %error, "the count of orders at the CA cannot be read and begins anew");
        Ledger::default()
    }))
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
        let exceeded = ledger.exceeded(names, Renews::Nothing, NOW + 100).unwrap();
        assert_eq!(exceeded.until, NOW + within);
        assert!(exceeded.to_string().contains(words), "{exceeded}");
        assert_eq!(ledger.exceeded(names, Renews::Nothing, NOW + within), None);
        assert_eq!(ledger.exceeded(names, Renews::Replaces, NOW + 100), None);
    }

    #[test]
    fn an_exact_set_gets_five_certificates_in_a_week() {
        let (set, other) = (names(&["*.a.test", "a.test"]), names(&["a.test"]));
        let issue = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&set, Renews::SameNames, NOW + turn as u64);
            ledger.settle(&set, true, &[], NOW + turn as u64);
        };
        assert_eq!(used(4, issue).exceeded(&set, Renews::SameNames, NOW + 100), None);
        let ledger = used(5, issue);
        holds(&ledger, &set, WEEK, "5 certificates in 7 days for exactly the names *.a.test, a.test");
        assert_eq!(ledger.exceeded(&other, Renews::Nothing, NOW + 100), None);
    }

    #[test]
    fn a_registered_domain_gets_fifty_new_certificates_in_a_week() {
        let issue = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&names(&[&format!("h{turn}.shop.co.uk")]), Renews::Nothing, NOW);
        };
        let wanted = names(&["more.shop.co.uk"]);
        assert_eq!(used(49, issue).exceeded(&wanted, Renews::Nothing, NOW + 100), None);
        let ledger = used(50, issue);
        holds(&ledger, &wanted, WEEK, "50 certificates in 7 days for the registered domain shop.co.uk");
        // A public suffix is no registered domain, and renewals are exempt.
        assert_eq!(ledger.exceeded(&names(&["other.co.uk"]), Renews::Nothing, NOW), None);
        assert_eq!(ledger.exceeded(&wanted, Renews::SameNames, NOW), None);
    }

    #[test]
    fn an_account_makes_300_orders_in_three_hours() {
        let order = |ledger: &mut Ledger, turn: usize| {
            ledger.order(&names(&[&format!("d{turn}.test")]), Renews::Nothing, NOW);
        };
        let wanted = names(&["one-more.test"]);
        assert_eq!(used(299, order).exceeded(&wanted, Renews::Nothing, NOW + 100), None);
        holds(&used(300, order), &wanted, 3 * HOUR, "300 orders of our account in 3 hours");
    }

    #[test]
    fn a_name_fails_five_times_in_an_hour_then_waits_whatever_the_certificate() {
        let fail = |ledger: &mut Ledger, _: usize| ledger.settle(&[], false, &names(&["*.a.test", "a.test"]), NOW);
        let wanted = names(&["a.test", "b.test"]);
        assert_eq!(used(4, fail).exceeded(&wanted, Renews::SameNames, NOW + 100), None);
        let ledger = used(5, fail);
        holds(&ledger, &wanted, HOUR, "5 failed authorizations in an hour for a.test");
        assert!(ledger.exceeded(&wanted, Renews::SameNames, NOW + 100).is_some());
        assert_eq!(ledger.exceeded(&names(&["b.test"]), Renews::Nothing, NOW + 100), None);
    }

    #[test]
    fn orders_that_failed_do_not_count_as_certificates() {
        let set = names(&["a.test"]);
        let fail = |ledger: &mut Ledger, _: usize| {
            ledger.order(&set, Renews::Nothing, NOW);
            ledger.settle(&set, false, &[], NOW);
        };
        assert_eq!(used(20, fail).exceeded(&set, Renews::Nothing, NOW), None);
    }

    #[test]
    fn nothing_is_kept_for_ever_and_a_wrong_clock_locks_nobody_out() {
        let mut ledger = used(10, |ledger, _| ledger.order(&names(&["a.test"]), Renews::Nothing, NOW));
        assert_eq!(ledger.exceeded(&names(&["a.test"]), Renews::Nothing, NOW - 2 * HOUR), None);
        ledger.forget(NOW + WEEK);
        assert_eq!(ledger, Ledger::default());
    }
}
