//! Work that somebody asked for and listens to, and that goes on when they go away.

use tokio::sync::mpsc;

use super::Issuer;
use crate::api::Progress;

/// Lines that a listener may be behind. The last place is kept for the outcome.
const LINES: usize = 256;

/// Whoever asked.
pub(super) struct Listener(mpsc::Sender<Progress>);

impl Listener {
    pub(super) fn step(&self, message: String) {
        if self.0.capacity() > 1 {
            let _ = self.0.try_send(Progress::Step { message });
        }
    }
}

impl Issuer {
    /// Works in a task of its own, of which a stop of the server waits for the end. The last line is what came out.
    pub(super) fn telling<W>(&self, work: impl FnOnce(Issuer, Listener) -> W) -> mpsc::Receiver<Progress>
    where
        W: Future<Output = Progress> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(LINES);
        let work = work(self.clone(), Listener(sender.clone()));
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            // Dropping the work is like a kill: the store has what is needed to go on.
            let outcome = issuer
                .shared
                .stopping
                .run_until_cancelled(work)
                .await
                .unwrap_or_else(|| Progress::Failed { message: "interrupted: the server is stopping".into() });
            let _ = sender.try_send(outcome);
            issuer.shared.ended.notify_one();
        });
        receiver
    }
}
