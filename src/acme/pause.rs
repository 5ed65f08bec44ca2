//! How long to wait, pure: after failures, and as a CA asks.

use crate::zone::Timestamp;

pub const DAY: u64 = 24 * 60 * 60;
/// However long a CA asks us to stay away, we look again after this long.
pub const LONGEST_PAUSE: u64 = 7 * DAY;
/// Shortest time between two attempts for one certificate, seconds.
pub const SHORTEST_WAIT: u64 = 60;
/// A clock that is set back by more than this ends a pause, seconds.
const SET_BACK: u64 = 60;

/// A time without attempts. It ends early if the clock is set back, which says that it was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Pause {
    /// The pause after a failure, until the CA may be asked again, if it said when. `not_after`: of the certificate in
    /// use. It does not lapse for a CA that asks us to stay away for too long: then half of what is left is waited.
    pub fn after_failure(
        now: Timestamp,
        wait: u64,
        retry_at: Option<Timestamp>,
        not_after: Option<Timestamp>,
    ) -> Pause {
        let asked = retry_at.unwrap_or(0).min(now + LONGEST_PAUSE);
        let asked = match not_after.filter(|not_after| is_too_late(now, asked, *not_after)) {
            Some(not_after) => now + (not_after - now) / 2,
            None => asked,
        };
        Pause { from: now, until: asked.max(now + wait) }
    }

    pub fn end(self, now: Timestamp) -> Timestamp {
        if now + SET_BACK < self.from { 0 } else { self.until }
    }
}

/// How long to wait after so many failures in a row, seconds: 1, 10 and 100 minutes, then a day, as Let's Encrypt asks;
/// and up to a tenth more, as `random` says, so that not everybody comes back at once.
pub fn back_off(failures: u32, random: u32) -> u64 {
    let wait = match failures {
        0 | 1 => SHORTEST_WAIT,
        2 => 10 * 60,
        3 => 100 * 60,
        _ => DAY,
    };
    wait + wait * u64::from(random) / (10 * (u64::from(u32::MAX) + 1))
}

/// The same, but never longer than a tenth of the time that the certificate in use has left, so that a short life does
/// not end between two attempts.
pub fn back_off_within(left: Option<u64>, failures: u32, random: u32) -> u64 {
    let wait = back_off(failures, random);
    match left {
        Some(left) if left > 0 => wait.min((left / 10).max(SHORTEST_WAIT)),
        _ => wait,
    }
}

/// Whether whoever waits until then has less than a quarter left of the time that the certificate in use has now.
pub fn is_too_late(now: Timestamp, until: Timestamp, not_after: Timestamp) -> bool {
    now < not_after && until > not_after - (not_after - now) / 4
}

/// A share of `whole` that is as random as `random`.
pub fn share_of(whole: u64, random: u64) -> u64 {
    ((u128::from(whole) * u128::from(random)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_is_1_10_100_minutes_then_a_day_and_a_little() {
        let minutes: Vec<u64> = [1, 2, 3, 4, 50].map(|failures| back_off(failures, 0) / 60).into();
        assert_eq!(minutes, [1, 10, 100, 24 * 60, 24 * 60]);
        assert_eq!(back_off(1, u32::MAX), 65);
        assert!(back_off(4, u32::MAX) < DAY + DAY / 10);
    }

    #[test]
    fn a_wait_is_never_longer_than_a_tenth_of_what_is_left() {
        let waits = |left: u64| [1, 2, 3, 4].map(|failures| back_off_within(Some(left), failures, 0));
        assert_eq!(waits(90 * DAY), [60, 600, 6000, DAY]);
        assert_eq!(waits(3 * DAY), [60, 600, 6000, 3 * DAY / 10]);
        assert_eq!(waits(6000), [60, 600, 600, 600]);
        assert_eq!(waits(100), [60; 4]);
        // There is nothing left to lose.
        assert_eq!(waits(0), [60, 600, 6000, DAY]);
    }

    #[test]
    fn a_certificate_does_not_lapse_because_the_ca_asks_for_patience() {
        let now = 1_800_000_000;
        let until = |retry_at: u64, not_after: u64| {
            Pause::after_failure(now, 60, Some(now + retry_at), Some(now + not_after)).until - now
        };
        assert_eq!(until(DAY, 2 * DAY), DAY);
        assert_eq!(until(DAY, DAY), DAY / 2);
        assert_eq!(until(DAY, 100_000), 50_000);
        assert_eq!(until(30 * DAY, 6 * DAY), 3 * DAY);
        assert_eq!(until(DAY, 0), DAY);
    }
}
