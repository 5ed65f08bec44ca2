//! The running server's part: what is due is attempted, and the CA is asked when that will be.
//!
//! Everything is read from the store once. After that the schedule remembers what it has to know of each certificate,
//! and reads again only what an attempt, or an answer of the CA, has changed: with ten thousand certificates, one that
//! was renewed costs as much as with one.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Issuer;
use super::ca::authority::Authority;
use super::certificate::Certificate;
use super::order::attempt::{key_of, save, withdraw};
use super::pause::{SHORTEST_WAIT, share_of};
use super::renewal::plan::Plan;
use super::slot::{Running, Slot};
use super::state::{self, Issuance};
use crate::store::{Body, Document, UpdateError, now};
use crate::zone::Timestamp;

/// Longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: u64 = 60 * 60;
/// Most questions to CAs under way at the same time.
const QUESTIONS: usize = 4;
/// So many questions are asked at once after a start; more are spread over up to [`SPREAD`] seconds.
const FEW: usize = 20;
const SPREAD: u64 = 10 * 60;
/// How many certificates are read at the same time.
const READERS: usize = 64;

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Due,
    /// By a person, whatever the back-off says.
    Asked {
        renew: bool,
    },
    /// By a person, whatever the certificate in use is like.
    Reissue {
        new_key: bool,
    },
}

/// What is remembered of all certificates, in the order of the configuration.
struct Schedule {
    issuer: Issuer,
    entries: Vec<Entry>,
    questions: Arc<Semaphore>,
    #[cfg(test)]
    rounds: usize,
}

#[derive(Default)]
struct Entry {
    /// None if it could not be read.
    plan: Option<Plan>,
    /// Attempts that had come to an end before it was read: what a later one did is not in the plan.
    ended: u64,
    /// When it is read again, if there is no plan.
    read_again: Timestamp,
    /// Who is asked when the certificate in use is to be renewed.
    authority: Option<Arc<Authority>>,
    /// A question is under way.
    asking: bool,
    /// No question before then.
    silent_until: Timestamp,
    /// The certificate in use is revoked.
    revoked: bool,
}

impl Issuer {
    /// Obtains what is missing and renews what is due, until cancelled; then waits for attempts to stop, which the
    /// next start takes up again.
    pub async fn run(self, cancel: CancellationToken) {
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let deploys = to_its_end("deploys", || issuer.clone().run_deploys());
            issuer.shared.stopping.run_until_cancelled(deploys).await;
        });
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let files = to_its_end("files", || issuer.keep_files());
            issuer.shared.stopping.run_until_cancelled(files).await;
        });
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let revocations = to_its_end("revocations", || issuer.settle_revocations());
            issuer.shared.stopping.run_until_cancelled(revocations).await;
        });
        // Without certificates there is nothing to wake up for.
        let schedule = to_its_end("schedule", || self.tidy_up_and_schedule(&cancel));
        if let Some(None) = cancel.run_until_cancelled(schedule).await {
            cancel.cancelled().await;
        }
        self.shared.stopping.cancel();
        self.shared.attempts.close();
        self.shared.attempts.wait().await;
    }

    async fn tidy_up_and_schedule(&self, cancel: &CancellationToken) -> Option<()> {
        let states = self.states().await;
        self.tidy_up(&states).await;
        if self.shared.slots.is_empty() {
            return None;
        }
        Schedule::read(self.clone(), states).await.follow(cancel).await;
        Some(())
    }

    /// The states of all certificates that the store knows.
    async fn states(&self) -> HashMap<String, Body> {
        match self.shared.writer.documents(Document::Issuance).await {
            Ok(documents) => documents.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "cannot read the state of the certificates");
                HashMap::new()
            }
        }
    }

    /// Takes values of certificates out of the DNS that the configuration does not have any more.
    async fn tidy_up(&self, states: &HashMap<String, Body>) {
        let writer = &self.shared.writer;
        let configured: std::collections::HashSet<&str> = self.shared.slots.iter().map(|slot| slot.name()).collect();
        for (name, text) in states.iter().filter(|(name, _)| !configured.contains(name.as_str())) {
            let state = state::read(name, text);
            if state.published.is_empty() {
                continue;
            }
            let tidied = Issuance { published: Vec::new(), ..state.clone() };
            let done = match withdraw(writer, &state.published).await {
                Ok(()) => save(writer, name, &tidied).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::warn!(certificate = name, %error, "cannot take out the challenge values of a former certificate");
            }
        }
    }

    /// Makes the attempt in a task of its own, which waits for a place if the attempt needs one.
    pub(super) fn start(&self, running: Running, reason: Reason) {
        self.start_at(running, reason, None);
    }

    /// The same for an attempt that has its place; it is given back at the end.
    fn start_at(&self, running: Running, reason: Reason, place: Option<OwnedSemaphorePermit>) {
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let slot = running.slot().clone();
            let attempt = async {
                let _turn = slot.turn.lock().await;
                issuer.attempt(&slot, reason).await
            };
            // Dropping the attempt is like a kill: the store has what is needed to go on.
            match issuer.shared.stopping.run_until_cancelled(AssertUnwindSafe(attempt).catch_unwind()).await {
                Some(Ok(outcome)) => running.end(outcome),
                Some(Err(_)) => {
                    let outcome = issuer.broke_off(&slot).await;
                    running.end(outcome);
                }
                None => drop(running),
            }
            drop(place);
            issuer.changed(slot);
        });
    }

    /// A place for an attempt. What is due has one already; people have one more than the running server.
    pub(super) async fn place(&self, reason: Reason) -> Option<OwnedSemaphorePermit> {
        if reason == Reason::Due {
            return None;
        }
        // Nobody closes the semaphores; without a place the attempt would only be less polite.
        tokio::select! {
            place = self.shared.orders.clone().acquire_owned() => place.ok(),
            place = self.shared.asked.clone().acquire_owned() => place.ok(),
        }
    }

    /// Lets the schedule read this certificate again, and look what there is a place for.
    pub(super) fn changed(&self, slot: Arc<Slot>) {
        self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        self.shared.ended.notify_one();
    }

    /// The state in the store and the certificate in use.
    pub(super) async fn load(&self, slot: &Slot) -> Result<(Issuance, Option<Certificate>), UpdateError> {
        let text = self.shared.writer.document(Document::Issuance, slot.name()).await?;
        self.load_from(slot, text.as_deref()).await
    }

    /// The same, for somebody who has the text of the state.
    async fn load_from(
        &self,
        slot: &Slot,
        state: Option<&str>,
    ) -> Result<(Issuance, Option<Certificate>), UpdateError> {
        let name = slot.name();
        let state = state.map(|text| state::read(name, text)).unwrap_or_default();
        let Some(version) = state.current else { return Ok((state, None)) };
        let kept = self.shared.writer.document(Document::Certificate, &key_of(name, version)).await?;
        let certificate: Option<Certificate> = kept.and_then(|text| {
            let unreadable = |error: serde_json::Error| {
                tracing::error!(certificate = name, version, %error, "the certificate cannot be read; ordering another");
            };
            serde_json::from_str(&text).map_err(unreadable).ok()
        });
        slot.memory().not_after = certificate.as_ref().map(|certificate| certificate.not_after);
        Ok((state, certificate))
    }
}

impl Schedule {
    async fn read(issuer: Issuer, states: HashMap<String, Body>) -> Schedule {
        let slots = issuer.shared.slots.clone();
        let mut entries = Vec::with_capacity(slots.len());
        for some in slots.chunks(READERS) {
            let read = some.iter().map(async |slot| {
                let loaded = issuer.load_from(slot, states.get(slot.name()).map(|body| &**body)).await;
                Entry::new(slot, 0, loaded)
            });
            entries.extend(join_all(read).await);
        }
        let questions = Arc::new(Semaphore::new(QUESTIONS));
        let mut schedule = Schedule {
            issuer,
            entries,
            questions,
            #[cfg(test)]
            rounds: 0,
        };
        schedule.spread_questions(now());
        schedule
    }

    /// Does what is to be done when it is time, until cancelled.
    async fn follow(&mut self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            #[cfg(test)]
            {
                self.rounds += 1;
            }
            self.read_changes().await;
            let next = self.start_what_is_due(now());
            let sleep = tokio::time::sleep(Duration::from_secs(next.saturating_sub(now()).clamp(1, LONGEST_SLEEP)));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.issuer.shared.ended.notified() => {}
                () = sleep => {}
            }
        }
    }

    /// After a start, many questions may be due at the same time.
    fn spread_questions(&mut self, now: Timestamp) {
        let due = |entry: &&mut Entry| entry.ask(now).is_some_and(|at| at <= now);
        let due: Vec<&mut Entry> = self.entries.iter_mut().filter(due).collect();
        if due.len() > FEW {
            let spread = SPREAD.min(due.len() as u64);
            for entry in due {
                entry.silent_until = now + share_of(spread, getrandom::u64().unwrap_or(0));
            }
        }
    }

    /// Reads again what has changed, and what could not be read before.
    async fn read_changes(&mut self) {
        let changed = std::mem::take(&mut *self.issuer.shared.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let slots = self.issuer.shared.slots.clone();
        for (slot, entry) in slots.iter().zip(&mut self.entries) {
            let is_news = changed.iter().any(|changed| Arc::ptr_eq(changed, slot));
            if is_news || (entry.plan.is_none() && entry.read_again <= now()) {
                let ended = slot.ended();
                let loaded = self.issuer.load(slot).await;
                let read = Entry::new(slot, ended, loaded);
                // The CA has other words for a certificate as soon as it is revoked.
                let silent_until = if read.revoked && !entry.revoked { 0 } else { entry.silent_until };
                *entry = Entry { silent_until, ..read };
            }
        }
    }

    /// Starts as many attempts and questions as there are places for; the moment at which there is more to do.
    fn start_what_is_due(&mut self, now: Timestamp) -> Timestamp {
        let mut next = Timestamp::MAX;
        let mut due = Vec::new();
        let spread = SPREAD.min(self.entries.len() as u64);
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let Some(plan) = &entry.plan else {
                next = next.min(entry.read_again);
                continue;
            };
            let slot = &self.issuer.shared.slots[index];
            let at = plan.due(now);
            if at > now {
                next = next.min(at);
            } else if !slot.is_running() && slot.ended() == entry.ended {
                due.push((plan.urgency(now), index));
            }
            // A CA that is left alone is not asked this either.
            if entry.ask(now).is_some_and(|at| at <= now)
                && let Some(held) = entry.authority.as_ref().and_then(|authority| authority.breaker.held(now))
            {
                entry.silent_until = held.until + share_of(spread, getrandom::u64().unwrap_or(0));
            }
            match entry.ask(now) {
                Some(at) if at > now => next = next.min(at),
                Some(_) if !slot.is_running() => {
                    if let Ok(place) = self.questions.clone().try_acquire_owned() {
                        entry.asking = true;
                        entry.silent_until = now + SHORTEST_WAIT;
                        ask(&self.issuer, slot.clone(), entry.authority.clone(), place);
                    }
                }
                _ => {}
            }
        }
        let places = self.issuer.shared.orders.available_permits();
        if due.len() > places && places > 0 {
            due.select_nth_unstable(places);
        }
        due.truncate(places);
        due.sort_unstable();
        for (_, index) in due {
            let Ok(place) = self.issuer.shared.orders.clone().try_acquire_owned() else { break };
            if let Some(running) = self.issuer.shared.slots[index].begin(self.entries[index].ended) {
                self.issuer.start_at(running, Reason::Due, Some(place));
            }
        }
        next
    }
}

/// Work that nothing goes on without: after a panic it is begun again.
async fn to_its_end<W: Future>(what: &str, work: impl Fn() -> W) -> W::Output {
    loop {
        match AssertUnwindSafe(work()).catch_unwind().await {
            Ok(ended) => return ended,
            // The panic itself went to stderr.
            Err(_) => tracing::error!(what, "an internal error, please report it; going on in a minute"),
        }
        tokio::time::sleep(Duration::from_secs(SHORTEST_WAIT)).await;
    }
}

/// Asks in a task of its own.
fn ask(issuer: &Issuer, slot: Arc<Slot>, authority: Option<Arc<Authority>>, place: OwnedSemaphorePermit) {
    let Some(authority) = authority else { return };
    let (issuer, tasks) = (issuer.clone(), &issuer.shared.attempts);
    tasks.spawn(async move {
        let asked = AssertUnwindSafe(issuer.ask(&slot, &authority)).catch_unwind();
        // A panic went to stderr.
        if let Some(Ok(Err(error))) = issuer.shared.stopping.run_until_cancelled(asked).await {
            tracing::error!(certificate = slot.name(), %error, "cannot keep when the certificate is to be renewed");
        }
        drop(place);
        issuer.changed(slot);
    });
}

impl Entry {
    fn new(slot: &Slot, ended: u64, loaded: Result<(Issuance, Option<Certificate>), UpdateError>) -> Entry {
        match loaded {
            Ok((state, certificate)) => {
                let pause = slot.memory().pause;
                let plan = Plan::new(&state, certificate.as_ref(), &slot.wanted, pause);
                let revoked = certificate.as_ref().is_some_and(|certificate| certificate.revoked.is_some());
                let authority = certificate.and_then(|certificate| slot.authority_at(&certificate.directory));
                Entry { plan: Some(plan), ended, authority, revoked, ..Entry::default() }
            }
            Err(error) => {
                tracing::error!(certificate = slot.name(), %error, "cannot read the state of the certificate");
                Entry { ended, read_again: now() + SHORTEST_WAIT, ..Entry::default() }
            }
        }
    }

    /// When the CA is asked, unless that is under way.
    fn ask(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.plan.as_ref()?.ask(now)?;
        (self.authority.is_some() && !self.asking).then(|| at.max(self.silent_until))
    }
}

#[cfg(test)]
#[path = "schedule_crowd.rs"]
mod crowd;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_begun_again_after_a_minute() {
        let (begun, start) = (Cell::new(0), tokio::time::Instant::now());
        let work = || async {
            begun.set(begun.get() + 1);
            assert!(begun.get() > 2, "on purpose");
            begun.get()
        };
        assert_eq!(to_its_end("work", work).await, 3);
        assert_eq!(start.elapsed(), Duration::from_secs(2 * SHORTEST_WAIT));
    }
}
