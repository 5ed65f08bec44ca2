//! Log lines that come at most every 30 seconds, each with the number of what happened since the last one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Seconds between two lines about the same thing.
pub const LINE_EVERY: u64 = 30;

/// When there was a line last, in seconds, and how much has happened since: 32 bits each. All zero: never any.
#[derive(Debug, Default)]
pub struct Throttle(AtomicU64);

impl Throttle {
    /// Counts one event; the count since the last line, this one included, if it is time for a line. `now` is in
    /// seconds since 1970.
    pub fn count(&self, now: u64) -> Option<u32> {
        let now = now as u32;
        let before = self.0.fetch_update(Relaxed, Relaxed, |told| {
            let (at, events) = ((told >> 32) as u32, told as u32);
            Some(match due(at, now) {
                true => u64::from(now.max(1)) << 32,
                false => u64::from(at) << 32 | u64::from(events.saturating_add(1)),
            })
        });
        let told = before.unwrap_or_default();
        due((told >> 32) as u32, now).then_some((told as u32).saturating_add(1))
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Whether there has been no line for long enough; 0 stands for never. A thread whose look at the clock is older than the
/// line is no reason for another one; a clock that was set back by much is.
fn due(at: u32, now: u32) -> bool {
    at == 0 || u64::from((now.wrapping_sub(at) as i32).unsigned_abs()) >= LINE_EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_every_30_seconds_with_what_happened_since() {
        let throttle = Throttle::default();
        assert_eq!(throttle.count(1_000), Some(1), "the first is told at once");
        assert_eq!((0..5).filter_map(|_| throttle.count(1_029)).count(), 0);
        assert_eq!(throttle.count(1_030), Some(6));
        assert_eq!(throttle.count(1_059), None);
        assert_eq!(throttle.count(1_029), None, "another thread's clock, read before that line");
        assert_eq!(throttle.count(1_000), Some(3), "a clock that was set back");
        throttle.reset();
        assert_eq!(throttle.count(1_059), Some(1), "of somebody else now");
    }
}
