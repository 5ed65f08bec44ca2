//! The circuit breaker of a CA: one that is down is not asked by every certificate, only by one now and then; and one
//! that asks us to come back later is asked by nobody before then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::acme::pause::{self, Pause, is_too_late};
use crate::acme::time;
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
    /// The last of them came when the CA had let us in already: that it lets somebody in says nothing.
    inside: bool,
    /// Nobody asks before then, after too many failures.
    until: Timestamp,
    /// It is the end of the time that a probe has, which is under way.
    probing: bool,
    /// As the CA asked.
    asked: Option<Pause>,
}

/// The right to ask the CA. The one probe of a CA that is left alone is given back when this is dropped and nothing was
/// heard.
#[derive(Debug)]
pub struct Pass<'b> {
    breaker: &'b Breaker,
    /// Until when the probe has time.
    probe: Option<Timestamp>,
    /// The CA has let us in.
    inside: bool,
}

/// The CA is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub until: Timestamp,
    /// The CA asked for it. Else it has failed too often.
    pub asked: bool,
}

impl Held {
    /// For people.
    pub fn words(self, ca: &str) -> String {
        if self.asked {
            format!("{ca} has asked to be left alone until {}", time(self.until))
        } else {
            format!("{ca} has failed again and again and is left alone for a while")
        }
    }
}

impl State {
    fn held(&self, now: Timestamp) -> Option<Held> {
        let asked = self.asked.map_or(0, |asked| asked.end(now));
        // A pause that is longer than any was made under a clock that was ahead.
        let counts = self.failures >= PATIENCE && self.until <= now + LONGEST + LONGEST / 10;
        let until = if counts { self.until } else { 0 };
        let held = Held { until: asked.max(until), asked: asked >= until };
        (now < held.until).then_some(held)
    }
}

impl Breaker {
    /// Why the CA is not to be asked now, if so. Takes no probe.
    pub fn held(&self, now: Timestamp) -> Option<Held> {
        self.state().held(now)
    }

    /// Lets somebody ask the CA, unless it is left alone. Who is let through after too many failures is the probe.
    /// `not_after`: of the certificate in use, which does not lapse for a CA that is left alone.
    pub fn pass(&self, now: Timestamp, not_after: Option<Timestamp>) -> Result<Pass<'_>, Held> {
        let mut state = self.state();
        if let Some(held) = state.held(now) {
            let lapses = not_after.is_some_and(|not_after| is_too_late(now, held.until, not_after));
            return if lapses { Ok(self.pass_anyway()) } else { Err(held) };
        }
        if state.failures < PATIENCE {
            return Ok(self.pass_anyway());
        }
        state.until = now + PROBE;
        state.probing = true;
        Ok(Pass { breaker: self, probe: Some(state.until), inside: false })
    }

    /// For somebody who is not to be held.
    pub fn pass_anyway(&self) -> Pass<'_> {
        Pass { breaker: self, probe: None, inside: false }
    }

    /// The CA did what it should.
    pub fn succeeded(&self) {
        let mut state = self.state();
        *state = State { asked: state.asked, ..State::default() };
    }

    /// The CA asks not to be asked before then.
    pub fn asked_to_wait(&self, now: Timestamp, until: Timestamp) {
        let mut state = self.state();
        let asked = Pause::after_failure(now, 0, Some(until), None);
        if state.asked.is_none_or(|before| before.end(now) < asked.until) {
            state.asked = Some(asked);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The CA has let us in. If that was what failed, it is up again.
    pub fn entered(&mut self) {
        self.inside = true;
        let mut state = self.breaker.state();
        if !state.inside {
            *state = State { asked: state.asked, ..State::default() };
        }
    }

    /// Whether the CA has let us in.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// The CA could not be reached or did not make sense. `random` is for jitter.
    pub fn failed(self, now: Timestamp, random: u32) {
        let mut state = self.breaker.state();
        // Who was under way when others found out says nothing new.
        if state.failures >= PATIENCE && !state.probing && now < state.until {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        state.inside = self.inside;
        state.probing = false;
        let wait = pause::back_off((state.failures + 1).saturating_sub(PATIENCE), random).min(LONGEST);
        state.until = now + wait;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        if state.probing && self.probe == Some(state.until) {
            state.until = 0;
            state.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::pause::LONGEST_PAUSE;

    const NOW: Timestamp = 1_800_000_000;

    fn failed(breaker: &Breaker, now: Timestamp) {
        breaker.pass_anyway().failed(now, 0);
    }

    fn until(breaker: &Breaker, now: Timestamp) -> Option<Timestamp> {
        breaker.pass(now, None).err().map(|held| held.until)
    }

    fn down() -> Breaker {
        let breaker = Breaker::default();
        (0..PATIENCE).for_each(|_| failed(&breaker, NOW));
        breaker
    }

    #[test]
    fn a_ca_that_is_down_is_asked_by_one_now_and_then() {
        let breaker = Breaker::default();
        for _ in 0..PATIENCE {
            breaker.pass(NOW, None).unwrap().failed(NOW, 0);
        }
        assert_eq!(breaker.pass(NOW, None).unwrap_err(), Held { until: NOW + 60, asked: false });
        // Those who were under way find out the same.
        (0..20).for_each(|_| failed(&breaker, NOW + 5));
        assert_eq!(until(&breaker, NOW + 6), Some(NOW + 60));
        // One probe, and no second while it is under way.
        let probe = breaker.pass(NOW + 60, None).unwrap();
        assert_eq!(until(&breaker, NOW + 61), Some(NOW + 60 + PROBE));
        probe.failed(NOW + 62, 0);
        assert_eq!(until(&breaker, NOW + 63), Some(NOW + 62 + 600));
        // Never longer than an hour.
        let mut now = NOW + 62 + 600;
        for _ in 0..9 {
            breaker.pass(now, None).unwrap().failed(now, 0);
            now += LONGEST;
        }
        assert_eq!(until(&breaker, now - 1), Some(now));
        breaker.succeeded();
        assert_eq!(until(&breaker, now), None);
    }

    #[test]
    fn a_probe_that_asks_nothing_is_given_back() {
        let breaker = down();
        let probe = breaker.pass(NOW + 60, None).unwrap();
        assert!(breaker.pass(NOW + 60, None).is_err());
        // Another one's end is not its end.
        drop(breaker.pass_anyway());
        assert!(breaker.pass(NOW + 60, None).is_err());
        drop(probe);
        assert!(breaker.pass(NOW + 60, None).is_ok());
        // A probe that was given up for lost has nothing to give back.
        let lost = breaker.pass(NOW + 60, None).unwrap();
        let second = breaker.pass(NOW + 60 + PROBE, None).unwrap();
        drop(lost);
        assert!(breaker.pass(NOW + 61 + PROBE, None).is_err());
        drop(second);
    }

    #[test]
    fn a_ca_that_lets_us_in_again_is_up_unless_it_fails_inside() {
        let breaker = down();
        let mut probe = breaker.pass(NOW + 60, None).unwrap();
        probe.entered();
        assert!(breaker.held(NOW + 60).is_none());
        // It takes requests, and answers none of them.
        for _ in 0..PATIENCE {
            let mut pass = breaker.pass_anyway();
            pass.entered();
            pass.failed(NOW + 100, 0);
        }
        let mut probe = breaker.pass(NOW + 160, None).unwrap();
        probe.entered();
        assert!(breaker.held(NOW + 160).is_some());
        drop(probe);
    }

    #[test]
    fn nobody_asks_before_the_ca_wants_it_rfc9110_10_2_3() {
        let breaker = Breaker::default();
        breaker.asked_to_wait(NOW, NOW + 600);
        breaker.asked_to_wait(NOW, NOW + 60);
        assert_eq!(breaker.held(NOW + 599), Some(Held { until: NOW + 600, asked: true }));
        breaker.succeeded();
        breaker.pass_anyway().entered();
        assert_eq!(until(&breaker, NOW + 599), Some(NOW + 600));
        assert_eq!(until(&breaker, NOW + 600), None);
        // No certificate lapses for it.
        assert!(breaker.pass(NOW, Some(NOW + 798)).is_ok() && breaker.pass(NOW, Some(NOW + 800)).is_err());
        breaker.asked_to_wait(NOW, u64::MAX);
        assert_eq!(until(&breaker, NOW), Some(NOW + LONGEST_PAUSE));
        // The clock was wrong.
        assert_eq!(until(&breaker, NOW - 86_400), None);
    }

    #[test]
    fn a_clock_that_is_set_back_closes_it() {
        assert_eq!(until(&down(), NOW - 86_400), None);
    }
}
