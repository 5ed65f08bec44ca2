//! When to do what, pure: no clock, no randomness.

use sha2::{Digest, Sha256};

use super::ari::{LONGEST_SILENCE, Renewal};
use crate::acme::certificate::Certificate;
use crate::acme::pause::{DAY, Pause, share_of};
use crate::acme::state::Issuance;
use crate::api::CertificateState;
use crate::config::KeyType;
use crate::zone::Timestamp;

/// How often a missing delegation is looked for again, seconds.
pub const RECHECK: u64 = 5 * 60;
/// Certificates that live shorter than this are renewed at half of their life.
const SHORT_LIFE: u64 = 10 * DAY;

/// What the configuration asks for, whichever CA it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Sorted.
    pub names: Vec<String>,
    /// URLs of the CAs' directories.
    pub directories: Vec<String>,
    pub key_type: KeyType,
}

/// When a certificate is due for renewal: with a third of its life left, or half if it lives less than ten days.
pub fn renewal_time(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.saturating_sub(not_before);
    not_after - if life < SHORT_LIFE { life / 2 } else { life / 3 }
}

/// The latest renewal that a CA may suggest: with a fifth of its life left, or a quarter of a short one. What is left
/// must be enough for a CA that is down for days, or half a day where life is six.
fn latest(certificate: &Certificate) -> Timestamp {
    let life = certificate.not_after.saturating_sub(certificate.not_before);
    certificate.not_after - if life < SHORT_LIFE { life / 4 } else { life / 5 }
}

/// When this certificate is due for renewal, as the CA says, if it says so.
///
/// If not: certificates that were made together are not renewed together, but up to a twentieth of their life earlier,
/// each at its own time. The clock that a certificate was issued under is heeded too: under one that is far ahead of
/// the CA's, it would be due as soon as it is there, over and over.
pub fn renewal(certificate: &Certificate, heard: Option<&Renewal>) -> Timestamp {
    let Certificate { not_before, not_after, issued_at, .. } = *certificate;
    let sane = issued_at + not_after.saturating_sub(issued_at) / 3;
    let moment = heard.and_then(|heard| heard.moment_for(certificate));
    if let Some(moment) = moment {
        return moment.min(latest(certificate).max(sane));
    }
    let spread = not_after.saturating_sub(not_before) / 20;
    let early = share_of(spread, stable_random(&certificate.serial));
    renewal_time(not_before, not_after).saturating_sub(early).max(sane)
}

/// Bits that look random and are always the same for this text.
fn stable_random(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |bits, octet| bits << 8 | u64::from(*octet))
}

/// Whether the certificate in use is for what the configuration asks for, and nobody has asked for another.
pub fn serves(certificate: &Certificate, wanted: &Wanted) -> bool {
    certificate.names == wanted.names
        && wanted.directories.contains(&certificate.directory)
        && certificate.key_type == wanted.key_type
        && !certificate.revoked.is_some_and(|revoked| revoked.reissue)
}

/// What is to be done for a certificate, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When there is a reason for an attempt; 0: always.
    renewal: Timestamp,
    pauses: [Option<Pause>; 2],
    /// Of the certificate in use: from when to when it is valid.
    life: Option<(Timestamp, Timestamp)>,
    /// When to ask the CA for its suggestion; 0: it was never asked.
    ask: Timestamp,
}

/// What comes first, if not everything can be done at once: the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The share of life that the certificate in use has left, in millionths.
    Left(u64),
    /// There is none; since when something could have been done about that.
    Missing(Timestamp),
}

impl Plan {
    /// `pause` is what the process remembers; a failure's is stored.
    pub fn new(state: &Issuance, certificate: Option<&Certificate>, wanted: &Wanted, pause: Option<Pause>) -> Plan {
        let heard = state.renewal.as_ref();
        let stored = state.failure.as_ref().map(|failure| Pause { from: failure.at, until: failure.next_attempt });
        Plan {
            renewal: match certificate {
                Some(certificate) if serves(certificate, wanted) && !state.is_ordered() => renewal(certificate, heard),
                _ => 0,
            },
            pauses: [pause, stored],
            life: certificate.map(|certificate| (certificate.not_before, certificate.not_after)),
            ask: certificate.map_or(0, |certificate| Renewal::ask_at(heard, certificate)),
        }
    }

    /// The moment at which the running server tries next.
    pub fn due(&self, now: Timestamp) -> Timestamp {
        let allowed = self.pauses.iter().flatten().map(|pause| pause.end(now)).max();
        self.renewal.max(allowed.unwrap_or(0))
    }

    /// When to ask the CA about the certificate in use; 0: at once; `None`: there is nothing to ask about.
    pub fn ask(&self, now: Timestamp) -> Option<Timestamp> {
        let (_, not_after) = self.life?;
        // A clock that was set back does not keep us from asking.
        let ask = if self.ask > now + LONGEST_SILENCE { 0 } else { self.ask };
        (now < not_after).then_some(ask)
    }

    pub fn urgency(&self, now: Timestamp) -> Urgency {
        match self.life {
            Some((from, to)) => {
                let (left, life) = (to.saturating_sub(now), to.saturating_sub(from).max(1));
                Urgency::Left(left.saturating_mul(1_000_000) / life)
            }
            None => Urgency::Missing(self.due(now)),
        }
    }
}

/// The moment at which the running server tries next. `pause` is what the process remembers; a failure's is stored.
pub fn due(
    state: &Issuance,
    certificate: Option<&Certificate>,
    wanted: &Wanted,
    pause: Option<Pause>,
    now: Timestamp,
) -> Timestamp {
    Plan::new(state, certificate, wanted, pause).due(now)
}

/// The state in one word.
pub fn summary(
    state: &Issuance,
    certificate: Option<&Certificate>,
    wanted: &Wanted,
    running: bool,
    now: Timestamp,
) -> CertificateState {
    let alive = certificate.filter(|certificate| now < certificate.not_after);
    let is_due = |certificate: &Certificate| renewal(certificate, state.renewal.as_ref()) <= now;
    match (alive, certificate) {
        _ if running => CertificateState::Issuing,
        (None, _) if !state.missing.is_empty() => CertificateState::WaitingForDelegation,
        (Some(alive), _) if alive.revoked.is_some() => CertificateState::Revoked,
        (Some(alive), _) if serves(alive, wanted) && !is_due(alive) => CertificateState::Valid,
        (Some(_), _) => CertificateState::RenewalDue,
        (None, Some(_)) => CertificateState::Expired,
        (None, None) if state.failure.is_some() => CertificateState::Failed,
        (None, None) => CertificateState::Missing,
    }
}

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::Revoked;
    use crate::acme::certificate::tests::{issued, request};
    use crate::acme::renewal::ari::{Answer, Window};
    use crate::acme::secret::Secret;
    use crate::acme::state::{Failed, Step};
    use crate::api::RevocationReason;

    fn wanted() -> Wanted {
        let directories = vec!["https://ca.test/dir".into()];
        Wanted { names: vec!["a.test".into()], directories, key_type: KeyType::default() }
    }

    /// What is known after the CA has suggested this window.
    fn heard(certificate: &Certificate, start: Timestamp, end: Timestamp) -> Renewal {
        let mut heard = Renewal::of(certificate);
        heard.hear(Ok(Answer::Window { window: Window { start, end }, explanation: None }), None, start, 0);
        heard
    }

    #[test]
    fn a_revoked_certificate_is_due_at_once_when_another_was_asked_for() {
        let revoked = |reissue| {
            let revoked = Revoked { at: DAY, reason: RevocationReason::Unspecified, reissue };
            Certificate { revoked: Some(revoked), ..issued(0, 90 * DAY) }
        };
        let due_for = |certificate: &Certificate| due(&Issuance::default(), Some(certificate), &wanted(), None, DAY);
        assert_eq!(due_for(&revoked(true)), 0);
        assert_eq!(due_for(&revoked(false)), due_for(&issued(0, 90 * DAY)));
        for reissue in [true, false] {
            let state = summary(&Issuance::default(), Some(&revoked(reissue)), &wanted(), false, DAY);
            assert_eq!(state, CertificateState::Revoked);
        }
    }

    fn failed(next_attempt: Timestamp) -> Option<Failed> {
        Some(Failed {
            at: 0,
            step: "order".into(),
            message: "no".into(),
            explanation: None,
            failures: 1,
            backed_off: 1,
            next_attempt,
            cas: Vec::new(),
        })
    }

    #[test]
    fn renewal_comes_with_a_third_left_or_half_of_a_short_life() {
        assert_eq!(renewal_time(0, 90 * DAY), 60 * DAY);
        assert_eq!(renewal_time(0, 10 * DAY), 10 * DAY - 10 * DAY / 3);
        assert_eq!(renewal_time(0, 6 * DAY), 3 * DAY);
        assert_eq!(renewal_time(5, 5), 5);
        assert_eq!(renewal_time(9, 5), 5);
    }

    #[test]
    fn a_missing_certificate_is_due_at_once_and_after_a_failure_when_its_time_has_come() {
        let mut state = Issuance::default();
        assert_eq!(due(&state, None, &wanted(), None, 400), 0);
        state.failure = failed(500);
        assert_eq!(due(&state, None, &wanted(), None, 400), 500);
        state.missing = vec!["record".into()];
        assert_eq!(due(&state, None, &wanted(), Some(Pause { from: 400, until: 700 }), 400), 700);
        // A look at the records does not end what a failure at a CA has begun.
        assert_eq!(due(&state, None, &wanted(), None, 400), 500);
        state.failure = None;
        assert_eq!(due(&state, None, &wanted(), None, 400), 0);
    }

    /// A clock that was years ahead, or a CA that names a date in the next century, does not stop us for ever.
    #[test]
    fn no_pause_is_without_end() {
        let now = 1_800_000_000;
        assert_eq!(Pause::after_failure(now, 60, None, None).until, now + 60);
        assert_eq!(Pause::after_failure(now, 60, Some(now + 5000), None).until, now + 5000);
        assert_eq!(Pause::after_failure(now, 60, Some(now - 5000), None).until, now + 60);
        assert_eq!(Pause::after_failure(now, 60, Some(u64::MAX), None).until, now + 7 * DAY);

        let ahead = now + 3000 * DAY;
        let failure = Failed { at: ahead, ..failed(ahead + 60).unwrap() };
        let state = Issuance { failure: Some(failure), ..Issuance::default() };
        assert_eq!(due(&state, None, &wanted(), None, ahead + 1), ahead + 60);
        assert_eq!(due(&state, None, &wanted(), Some(Pause { from: ahead, until: ahead + 300 }), now), 0);
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_renew_without_pause() {
        let (now, life) = (1_800_000_000, 6 * DAY);
        let fresh = Certificate { issued_at: now, ..issued(now - 4 * DAY, now - 4 * DAY + life) };
        assert_eq!(renewal(&fresh, None), now + 2 * DAY / 3);
        let usual = Certificate { issued_at: now, ..issued(now - 3600, now - 3600 + 90 * DAY) };
        let latest = renewal_time(usual.not_before, usual.not_after);
        assert!((latest - 90 * DAY / 20..=latest).contains(&renewal(&usual, None)));
    }

    #[test]
    fn a_valid_certificate_is_due_at_its_renewal_or_when_the_configuration_asks_for_other_names() {
        let mut state = Issuance { current: Some(1), ..Issuance::default() };
        let certificate = issued(0, 90 * DAY);
        let planned = due(&state, Some(&certificate), &wanted(), None, 0);
        assert!((60 * DAY - 90 * DAY / 20..=60 * DAY).contains(&planned));
        let other = Wanted { names: vec!["b.test".into()], ..wanted() };
        assert_eq!(due(&state, Some(&certificate), &other, None, 0), 0);
        let other = Wanted { directories: vec!["https://other.test/dir".into()], ..wanted() };
        assert_eq!(due(&state, Some(&certificate), &other, None, 0), 0);
        state.step = Step::Ordered {
            request: request(&["a.test"]),
            key: Secret::new(String::new()),
            url: "u".into(),
            expires: None,
            account: None,
        };
        assert_eq!(due(&state, Some(&certificate), &wanted(), None, 0), 0);
    }

    #[test]
    fn the_ca_says_when_but_not_that_it_is_too_late_rfc9773_4_2() {
        let (now, long) = (1_800_000_000, 90 * DAY);
        let certificate = issued(now, now + long);
        let at = |start: u64, end: u64| renewal(&certificate, Some(&heard(&certificate, now + start, now + end)));
        assert_eq!(at(50 * DAY, 52 * DAY), now + 50 * DAY);
        assert_eq!(at(0, 1), now);
        assert_eq!(at(71 * DAY, 75 * DAY), now + 71 * DAY);
        assert_eq!(at(85 * DAY, 89 * DAY), now + 72 * DAY);
        assert_eq!(at(500 * DAY, 501 * DAY), now + 72 * DAY);
        let short = issued(now, now + 6 * DAY);
        let late = renewal(&short, Some(&heard(&short, now + 6 * DAY, now + 7 * DAY)));
        assert_eq!(late, now + 6 * DAY - 36 * 60 * 60);
        // What was said of the certificate before.
        let old = heard(&Certificate { version: 0, ..certificate.clone() }, now, now + 1);
        assert_eq!(renewal(&certificate, Some(&old)), renewal(&certificate, None));
    }

    #[test]
    fn certificates_made_together_are_not_renewed_together() {
        let at = |serial: u32| {
            let serial = format!("{serial:032x}");
            renewal(&Certificate { serial, ..issued(0, 90 * DAY) }, None)
        };
        let (spread, count) = (90 * DAY / 20, 10_000);
        let mut hours = std::collections::BTreeMap::new();
        for serial in 0..count {
            let early = 60 * DAY - at(serial);
            assert!(early < spread);
            *hours.entry(early / 3600).or_insert(0) += 1;
        }
        // On average 93 in each of the 108 hours.
        assert!(hours.len() == 108 && hours.values().all(|count| (40..160).contains(count)), "{hours:?}");
        assert_eq!(at(7), at(7));
    }

    /// The CA asks to be left alone for longer than the certificate lives.
    #[test]
    fn the_least_share_of_life_comes_first_and_then_what_is_missing() {
        let now = 1_800_000_000;
        let urgency = |certificate: Option<&Certificate>, failure: Option<Failed>| {
            let state = Issuance { failure, ..Issuance::default() };
            Plan::new(&state, certificate, &wanted(), None).urgency(now)
        };
        let expired = urgency(Some(&issued(now - 90 * DAY, now - DAY)), None);
        // Half of six days is more than a third of ninety.
        let (long, short) = (issued(now - 60 * DAY, now + 30 * DAY), issued(now - 3 * DAY, now + 3 * DAY));
        let order = [
            expired,
            urgency(Some(&long), None),
            urgency(Some(&short), None),
            urgency(None, None),
            urgency(None, failed(now - 60)),
        ];
        assert!(order.is_sorted() && order[0] == Urgency::Left(0), "{order:?}");
    }

    #[test]
    fn the_ca_is_asked_about_what_is_in_use() {
        let now = 1_800_000_000;
        let certificate = issued(now, now + 90 * DAY);
        let ask = |certificate: Option<&Certificate>, renewal: Option<Renewal>, now: Timestamp| {
            let state = Issuance { renewal, ..Issuance::default() };
            Plan::new(&state, certificate, &wanted(), None).ask(now)
        };
        assert_eq!(ask(None, None, now), None);
        assert_eq!(ask(Some(&certificate), None, now), Some(0));
        let known = heard(&certificate, now + 60 * DAY, now + 61 * DAY);
        let again = known.ask_again;
        assert_eq!(ask(Some(&certificate), Some(known.clone()), again - 60), Some(again));
        // The clock was set back.
        assert_eq!(ask(Some(&certificate), Some(known.clone()), now), Some(0));
        assert_eq!(ask(Some(&certificate), Some(known), certificate.not_after), None);
    }

    #[test]
    fn one_word_for_each_state() {
        let summed = |state: &Issuance, certificate: Option<&Certificate>, now| {
            summary(state, certificate, &wanted(), false, now)
        };
        let mut state = Issuance::default();
        assert_eq!(summed(&state, None, 5), CertificateState::Missing);
        assert_eq!(summary(&state, None, &wanted(), true, 5), CertificateState::Issuing);
        state.failure = failed(9);
        assert_eq!(summed(&state, None, 5), CertificateState::Failed);
        state.missing = vec!["record".into()];
        assert_eq!(summed(&state, None, 5), CertificateState::WaitingForDelegation);
        let certificate = issued(0, 90 * DAY);
        let state = Issuance::default();
        assert_eq!(summed(&state, Some(&certificate), 5), CertificateState::Valid);
        assert_eq!(summed(&state, Some(&certificate), 60 * DAY), CertificateState::RenewalDue);
        assert_eq!(summed(&state, Some(&certificate), 90 * DAY), CertificateState::Expired);
    }
}
