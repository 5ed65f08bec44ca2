//! When to do what, pure: no clock, no randomness.

use super::certificate::Certificate;
use super::state::Issuance;
use crate::api::CertificateState;
use crate::config::KeyType;
use crate::zone::Timestamp;

/// How often a missing delegation is looked for again, seconds.
pub(super) const RECHECK: u64 = 5 * 60;
const DAY: u64 = 24 * 60 * 60;
/// However long a CA asks us to stay away, we look again after this long.
const LONGEST_PAUSE: u64 = 7 * DAY;
/// A clock that is set back by more than this ends a pause, seconds.
const SET_BACK: u64 = 60;

/// Certificates that live shorter than this are renewed at half of their life.
const SHORT_LIFE: u64 = 10 * DAY;

/// What the configuration asks for, whichever CA it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Sorted.
    pub(super) names: Vec<String>,
    /// URLs of the CAs' directories.
    pub(super) directories: Vec<String>,
    pub(super) key_type: KeyType,
}

/// When a certificate is due for renewal: with a third of its life left, or half if it lives less than ten days.
pub(super) fn renewal_time(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.saturating_sub(not_before);
    not_after - if life < SHORT_LIFE { life / 2 } else { life / 3 }
}

/// When this certificate is due for renewal. The clock that it was issued under is heeded too: under one that is far
/// ahead of the CA's, the certificate would be due as soon as it is there, over and over.
pub(super) fn renewal(certificate: &Certificate) -> Timestamp {
    let left = certificate.not_after.saturating_sub(certificate.issued_at);
    renewal_time(certificate.not_before, certificate.not_after).max(certificate.issued_at + left / 3)
}

/// A time without attempts. It ends early if the clock is set back, which says that it was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Pause {
    /// The pause after a failure, until the CA may be asked again, if it said when.
    pub(super) fn after_failure(now: Timestamp, wait: u64, retry_at: Option<Timestamp>) -> Pause {
        let asked = retry_at.unwrap_or(0).min(now + LONGEST_PAUSE);
        Pause { from: now, until: asked.max(now + wait) }
    }

    pub(super) fn end(self, now: Timestamp) -> Timestamp {
        if now + SET_BACK < self.from { 0 } else { self.until }
    }
}

/// How long to wait after so many failures in a row, seconds: 1, 10 and 100 minutes, then a day, as Let's Encrypt asks;
/// and up to a tenth more, as `random` says, so that not everybody comes back at once.
pub(super) fn back_off(failures: u32, random: u32) -> u64 {
    let wait = match failures {
        0 | 1 => 60,
        2 => 10 * 60,
        3 => 100 * 60,
        _ => DAY,
    };
    wait + wait * u64::from(random) / (10 * (u64::from(u32::MAX) + 1))
}

/// Whether the certificate in use is for what the configuration asks for.
pub(super) fn serves(certificate: &Certificate, wanted: &Wanted) -> bool {
    certificate.names == wanted.names
        && wanted.directories.contains(&certificate.directory)
        && certificate.key_type == wanted.key_type
}

/// The moment at which the running server tries next. `pause` is what the process remembers; a failure's is stored.
pub(super) fn due(
    state: &Issuance,
    certificate: Option<&Certificate>,
    wanted: &Wanted,
    pause: Option<Pause>,
    now: Timestamp,
) -> Timestamp {
    let due = match certificate {
        Some(certificate) if serves(certificate, wanted) && !state.is_ordered() => renewal(certificate),
        _ => 0,
    };
    let stored = state.failure.as_ref().filter(|_| state.missing.is_empty());
    let stored = stored.map(|failure| Pause { from: failure.at, until: failure.next_attempt });
    let allowed = pause.into_iter().chain(stored).map(|pause| pause.end(now)).max();
    due.max(allowed.unwrap_or(0))
}

/// The state in one word.
pub(super) fn summary(
    state: &Issuance,
    certificate: Option<&Certificate>,
    wanted: &Wanted,
    running: bool,
    now: Timestamp,
) -> CertificateState {
    let alive = certificate.filter(|certificate| now < certificate.not_after);
    match (alive, certificate) {
        _ if running => CertificateState::Issuing,
        (None, _) if !state.missing.is_empty() => CertificateState::WaitingForDelegation,
        (Some(alive), _) if serves(alive, wanted) && now < renewal(alive) => CertificateState::Valid,
        (Some(_), _) => CertificateState::RenewalDue,
        (None, Some(_)) => CertificateState::Expired,
        (None, None) if state.failure.is_some() => CertificateState::Failed,
        (None, None) => CertificateState::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::tests::request;
    use crate::acme::secret::Secret;
    use crate::acme::state::{Failed, Step};

    fn wanted() -> Wanted {
        let directories = vec!["https://ca.test/dir".into()];
        Wanted { names: vec!["a.test".into()], directories, key_type: KeyType::default() }
    }

    fn certificate(not_before: Timestamp, not_after: Timestamp) -> Certificate {
        Certificate {
            version: 1,
            names: vec!["a.test".into()],
            ca: "test".into(),
            directory: "https://ca.test/dir".into(),
            key_type: KeyType::default(),
            private_key: Secret::new(String::new()),
            chain: String::new(),
            not_before,
            not_after,
            serial: "01".into(),
            issued_at: not_before,
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
    fn back_off_is_1_10_100_minutes_then_a_day_and_a_little() {
        let minutes: Vec<u64> = [1, 2, 3, 4, 50].map(|failures| back_off(failures, 0) / 60).into();
        assert_eq!(minutes, [1, 10, 100, 24 * 60, 24 * 60]);
        assert_eq!(back_off(1, u32::MAX), 65);
        assert!(back_off(4, u32::MAX) < DAY + DAY / 10);
    }

    #[test]
    fn a_missing_certificate_is_due_at_once_and_after_a_failure_when_its_time_has_come() {
        let mut state = Issuance::default();
        assert_eq!(due(&state, None, &wanted(), None, 400), 0);
        state.failure = failed(500);
        assert_eq!(due(&state, None, &wanted(), None, 400), 500);
        state.missing = vec!["record".into()];
        assert_eq!(due(&state, None, &wanted(), Some(Pause { from: 400, until: 700 }), 400), 700);
        assert_eq!(due(&state, None, &wanted(), None, 400), 0);
    }

    /// A clock that was years ahead, or a CA that names a date in the next century, does not stop us for ever.
    #[test]
    fn no_pause_is_without_end() {
        let now = 1_800_000_000;
        assert_eq!(Pause::after_failure(now, 60, None).until, now + 60);
        assert_eq!(Pause::after_failure(now, 60, Some(now + 5000)).until, now + 5000);
        assert_eq!(Pause::after_failure(now, 60, Some(now - 5000)).until, now + 60);
        assert_eq!(Pause::after_failure(now, 60, Some(u64::MAX)).until, now + 7 * DAY);

        let ahead = now + 3000 * DAY;
        let failure = Failed { at: ahead, ..failed(ahead + 60).unwrap() };
        let state = Issuance { failure: Some(failure), ..Issuance::default() };
        assert_eq!(due(&state, None, &wanted(), None, ahead + 1), ahead + 60);
        assert_eq!(due(&state, None, &wanted(), Some(Pause { from: ahead, until: ahead + 300 }), now), 0);
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_renew_without_pause() {
        let (now, life) = (1_800_000_000, 6 * DAY);
        let fresh = Certificate { issued_at: now, ..certificate(now - 4 * DAY, now - 4 * DAY + life) };
        assert_eq!(renewal(&fresh), now + 2 * DAY / 3);
        let usual = Certificate { issued_at: now, ..certificate(now - 3600, now - 3600 + 90 * DAY) };
        assert_eq!(renewal(&usual), renewal_time(usual.not_before, usual.not_after));
    }

    #[test]
    fn a_valid_certificate_is_due_at_its_renewal_or_when_the_configuration_asks_for_other_names() {
        let mut state = Issuance { current: Some(1), ..Issuance::default() };
        let certificate = certificate(0, 90 * DAY);
        assert_eq!(due(&state, Some(&certificate), &wanted(), None, 0), 60 * DAY);
        let other = Wanted { names: vec!["b.test".into()], ..wanted() };
        assert_eq!(due(&state, Some(&certificate), &other, None, 0), 0);
        let other = Wanted { directories: vec!["https://other.test/dir".into()], ..wanted() };
        assert_eq!(due(&state, Some(&certificate), &other, None, 0), 0);
        state.step = Step::Ordered { request: request(&["a.test"]), key: Secret::new(String::new()), url: "u".into() };
        assert_eq!(due(&state, Some(&certificate), &wanted(), None, 0), 0);
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
        let certificate = certificate(0, 90 * DAY);
        let state = Issuance::default();
        assert_eq!(summed(&state, Some(&certificate), 5), CertificateState::Valid);
        assert_eq!(summed(&state, Some(&certificate), 60 * DAY), CertificateState::RenewalDue);
        assert_eq!(summed(&state, Some(&certificate), 90 * DAY), CertificateState::Expired);
    }
}
