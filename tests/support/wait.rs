//! Waiting for a condition instead of for an amount of time.

use std::time::{Duration, Instant};

/// How long to pause between two looks: short beside what is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `look` gives a value; panics when `deadline` has passed, naming `what` never came.
#[track_caller]
pub fn poll<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// `poll` for a look that awaits. A single look may not outlast the deadline either.
pub async fn poll_async<T, F>(deadline: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(deadline, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited {deadline:?} in vain for: {what}"),
    }
}
