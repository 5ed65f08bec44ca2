//! The circuit breaker of a CA: one that is down is not asked by every certificate, only by one now and then.

use std::sync::{Mutex, PoisonError};

use crate::acme::pause;
use crate::zone::Timestamp;

/// Failures in a row after which the CA is left alone.
const PATIENCE: u32 = 3;
/// Longest time between two probes, seconds.
const LONGEST: u64 = 60 * 60;
/// How long a probe may take before another is let through, seconds.
const PROBE: u64 = 10 * 60;

/// Counts what goes wrong with a CA itself, not what it refuses. Forgotten at the end of the process: the first attempt
/// after it is a probe.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    until: Timestamp,
}

impl Breaker {
    /// Whether the CA may be asked now; otherwise when. Who is let through while the CA is left alone is the probe.
    pub fn pass(&self, now: Timestamp) -> Result<(), Timestamp> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < PATIENCE {
            return Ok(());
        }
        // A pause that is longer than any was made under a clock that was ahead.
        if now < state.until && state.until <= now + LONGEST + LONGEST / 10 {
            return Err(state.until);
        }
        state.until = now + PROBE;
        Ok(())
    }

    /// The CA did what it should.
    pub fn succeeded(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// The CA could not be reached or did not make sense. `random` is for jitter.
    pub fn failed(&self, now: Timestamp, random: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        let wait = pause::back_off((state.failures + 1).saturating_sub(PATIENCE), random).min(LONGEST);
        state.until = now + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_is_down_is_asked_by_one_now_and_then() {
        let (breaker, now) = (Breaker::default(), 1_800_000_000);
        for _ in 0..PATIENCE {
            assert_eq!(breaker.pass(now), Ok(()));
            breaker.failed(now, 0);
        }
        assert_eq!(breaker.pass(now), Err(now + 60));
        // One probe, and no second while it is under way.
        assert_eq!(breaker.pass(now + 60), Ok(()));
        assert_eq!(breaker.pass(now + 61), Err(now + 60 + PROBE));
        breaker.failed(now + 62, 0);
        assert_eq!(breaker.pass(now + 63), Err(now + 62 + 600));
        // Never longer than an hour.
        (0..9).for_each(|_| breaker.failed(now + 700, 0));
        assert_eq!(breaker.pass(now + 701), Err(now + 700 + LONGEST));
        breaker.succeeded();
        assert_eq!(breaker.pass(now + 702), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_closes_it() {
        let (breaker, now) = (Breaker::default(), 1_800_000_000);
        (0..PATIENCE).for_each(|_| breaker.failed(now, 0));
        assert_eq!(breaker.pass(now - 86_400), Ok(()));
    }
}
