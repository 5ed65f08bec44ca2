//! When to do what, pure: no clock, no randomness.

use super::certificate::Certificate;
use super::state::{Issuance, Request};
use crate::api::CertificateState;
use crate::zone::Timestamp;

/// How often a missing delegation is looked for again, seconds.
pub(super) const RECHECK: u64 = 5 * 60;
const DAY: u64 = 24 * 60 * 60;

/// Certificates that live shorter than this are renewed at half of their life.
const SHORT_LIFE: u64 = 10 * DAY;

/// When a certificate is due for renewal: with a third of its life left, or half if it lives less than ten days.
pub(super) fn renewal_time(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.saturating_sub(not_before);
    not_after - if life < SHORT_LIFE { life / 2 } else { life / 3 }
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
pub(super) fn serves(certificate: &Certificate, request: &Request) -> bool {
    certificate.names == request.names && certificate.directory == request.directory
}

/// The moment at which the running server tries next. `recheck` is when a missing delegation is looked for again.
pub(super) fn due(
    state: &Issuance,
    certificate: Option<&Certificate>,
    request: &Request,
    recheck: Option<Timestamp>,
) -> Timestamp {
    let wanted = match certificate {
        Some(certificate) if serves(certificate, request) && !state.is_ordered() => {
            renewal_time(certificate.not_before, certificate.not_after)
        }
        _ => 0,
    };
    let allowed = if state.missing.is_empty() {
        state.failure.as_ref().map_or(0, |failure| failure.next_attempt)
    } else {
        recheck.unwrap_or(0)
    };
    wanted.max(allowed)
}

/// The state in one word.
pub(super) fn summary(
    state: &Issuance,
    certificate: Option<&Certificate>,
    request: &Request,
    running: bool,
    now: Timestamp,
) -> CertificateState {
    let alive = certificate.filter(|certificate| now < certificate.not_after);
    match (alive, certificate) {
        _ if running => CertificateState::Issuing,
        (None, _) if !state.missing.is_empty() => CertificateState::WaitingForDelegation,
        (Some(alive), _) if serves(alive, request) && now < renewal_time(alive.not_before, alive.not_after) => {
            CertificateState::Valid
        }
        (Some(_), _) => CertificateState::RenewalDue,
        (None, Some(_)) => CertificateState::Expired,
        (None, None) if state.failure.is_some() => CertificateState::Failed,
        (None, None) => CertificateState::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::secret::Secret;
    use crate::acme::state::{Failed, Step};

    fn request() -> Request {
        Request { directory: "https://ca.test/dir".into(), profile: None, names: vec!["a.test".into()] }
    }

    fn certificate(not_before: Timestamp, not_after: Timestamp) -> Certificate {
        Certificate {
            version: 1,
            names: vec!["a.test".into()],
            ca: "test".into(),
            directory: "https://ca.test/dir".into(),
            private_key: Secret::new(String::new()),
            chain: String::new(),
            not_before,
            not_after,
            serial: "01".into(),
            issued_at: not_before,
        }
    }

    fn failed(next_attempt: Timestamp) -> Option<Failed> {
        Some(Failed { at: 0, step: "order".into(), message: "no".into(), failures: 1, next_attempt })
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
        assert_eq!(due(&state, None, &request(), None), 0);
        state.failure = failed(500);
        assert_eq!(due(&state, None, &request(), None), 500);
        state.missing = vec!["record".into()];
        assert_eq!(due(&state, None, &request(), Some(700)), 700);
        assert_eq!(due(&state, None, &request(), None), 0);
    }

    #[test]
    fn a_valid_certificate_is_due_at_its_renewal_or_when_the_configuration_asks_for_other_names() {
        let mut state = Issuance { current: Some(1), ..Issuance::default() };
        let certificate = certificate(0, 90 * DAY);
        assert_eq!(due(&state, Some(&certificate), &request(), None), 60 * DAY);
        let other = Request { names: vec!["b.test".into()], ..request() };
        assert_eq!(due(&state, Some(&certificate), &other, None), 0);
        let other = Request { directory: "https://other.test/dir".into(), ..request() };
        assert_eq!(due(&state, Some(&certificate), &other, None), 0);
        state.step = Step::Ordered { request: request(), key: Secret::new(String::new()), url: "u".into() };
        assert_eq!(due(&state, Some(&certificate), &request(), None), 0);
    }

    #[test]
    fn one_word_for_each_state() {
        let summed = |state: &Issuance, certificate: Option<&Certificate>, now| {
            summary(state, certificate, &request(), false, now)
        };
        let mut state = Issuance::default();
        assert_eq!(summed(&state, None, 5), CertificateState::Missing);
        assert_eq!(summary(&state, None, &request(), true, 5), CertificateState::Issuing);
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
