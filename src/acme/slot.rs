//! One configured certificate at run time: at most one attempt at a time, and who listens to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::ca::authority::Authority;
use super::deploy;
use super::history::History;
use super::pause::Pause;
use super::renewal::plan::Wanted;
use super::request::Request;
use super::serving::Offer;
use crate::api::{LastError, Progress};
use crate::config::{Ca, Certificate};
use crate::store::now;
use crate::zone::Timestamp;

/// Lines that a listener may be behind. The last place is kept for the outcome.
const LINES: usize = 256;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) certificate: Certificate,
    /// In the order in which they are tried. At least one.
    pub(super) authorities: Vec<Arc<Authority>>,
    /// Where the first order is tried that goes to the CA of the same place.
    pub(super) rehearsals: Vec<Option<Arc<Authority>>>,
    pub(super) wanted: Wanted,
    /// Held by who changes what the store has of this certificate: an attempt, from its beginning to its end, or one
    /// who adds what the CA said about its renewal.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Held between a look at the kept versions of the certificate and the commit that relies on it, so that no version
    /// comes with a key that is found compromised at this moment. Not for longer: revocations do not wait for attempts.
    pub(super) switch: tokio::sync::Mutex<()>,
    /// Held while the files are compared and written.
    pub(super) files: tokio::sync::Mutex<()>,
    pub(super) deploys: deploy::Turns,
    pub(super) history: History,
    pub(super) offer: Offer,
    memory: Mutex<Memory>,
}

/// What is forgotten at the end of the process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    running: bool,
    /// Attempts that came to an end.
    ended: u64,
    listeners: Vec<mpsc::Sender<Progress>>,
    /// The running server does not try meanwhile.
    pub(super) pause: Option<Pause>,
    /// Of the certificate in use.
    pub(super) not_after: Option<Timestamp>,
    /// Missing records that the log has told.
    pub(super) told_missing: Vec<String>,
    /// Version of the certificate whose files are in use.
    pub(super) exported: Option<u64>,
    /// The CA has not been heard to have decided about a revocation.
    pub(super) revoking: bool,
    /// Until when it is not asked again by itself about the revocation of a version.
    pub(super) revocations: HashMap<u64, Timestamp>,
    /// The PEM files could not be written.
    pub(super) export_error: Option<LastError>,
}

/// The right to make the one attempt; given back when dropped.
pub(super) struct Running {
    slot: Arc<Slot>,
    /// What those who listen hear at the end.
    outcome: Progress,
}

impl Slot {
    /// Of each CA, and where its first order is rehearsed.
    pub(super) fn new(certificate: Certificate, cas: Vec<(Arc<Authority>, Option<Arc<Authority>>)>) -> Slot {
        let (authorities, rehearsals): (Vec<_>, Vec<_>) = cas.into_iter().unzip();
        let mut names = certificate.names.clone();
        names.sort();
        let directories = authorities.iter().map(|authority: &Arc<Authority>| authority.ca.directory.clone()).collect();
        let wanted = Wanted { names, directories, key_type: certificate.key_type };
        let (history, offer, memory) = (History::default(), Offer::default(), Mutex::default());
        let deploys = deploy::Turns::default();
        let (turn, switch, files) = Default::default();
        Slot { certificate, authorities, rehearsals, wanted, turn, switch, files, deploys, history, offer, memory }
    }

    /// What is asked of this CA.
    pub(super) fn request(&self, ca: &Ca) -> Request {
        Request {
            directory: ca.directory.clone(),
            profile: self.certificate.profile.clone().or_else(|| ca.profile.clone()),
            names: self.wanted.names.clone(),
            key_type: self.wanted.key_type,
            challenge: self.certificate.challenge,
        }
    }

    /// The CA of this directory, if the certificate may come from it.
    pub(super) fn authority_at(&self, directory: &str) -> Option<Arc<Authority>> {
        self.authorities.iter().find(|authority| authority.ca.directory == directory).cloned()
    }

    pub(super) fn name(&self) -> &str {
        &self.certificate.name
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.memory().running
    }

    /// How many attempts have come to an end.
    pub(super) fn ended(&self) -> u64 {
        self.memory().ended
    }

    /// The right to make an attempt, unless one is under way, or has come to an end after so many: then the reason for
    /// this one may be gone.
    pub(super) fn begin(self: &Arc<Slot>, ended: u64) -> Option<Running> {
        let mut memory = self.memory();
        let may = !memory.running && memory.ended == ended;
        memory.running |= may;
        may.then(|| Running::new(self))
    }

    /// The same for somebody who wants to hear the outcome, of this attempt or of the one that is under way.
    pub(super) fn begin_heard(self: &Arc<Slot>) -> (mpsc::Receiver<Progress>, Option<Running>) {
        let (sender, receiver) = mpsc::channel(LINES);
        let mut memory = self.memory();
        let running = std::mem::replace(&mut memory.running, true);
        if running {
            let message = format!("an attempt for {} is under way already, following it", self.name());
            // The channel is new and empty.
            let _ = sender.try_send(Progress::Step { message });
        }
        memory.listeners.push(sender);
        (receiver, (!running).then(|| Running::new(self)))
    }

    /// Keeps the running server from trying for so many seconds.
    pub(super) fn pause_for(&self, seconds: u64) {
        let now = now();
        self.memory().pause = Some(Pause { from: now, until: now + seconds });
    }

    /// Tells a step to the log and to all who listen.
    pub(super) fn tell(&self, message: String) {
        tracing::info!(certificate = self.name(), "{message}");
        self.hear(message);
    }

    /// Tells a step to all who listen.
    pub(super) fn hear(&self, message: String) {
        let tell = |listener: &mpsc::Sender<Progress>| {
            if listener.capacity() > 1 {
                let _ = listener.try_send(Progress::Step { message: message.clone() });
            }
            !listener.is_closed()
        };
        self.memory().listeners.retain(tell);
    }
}

impl Running {
    fn new(slot: &Arc<Slot>) -> Running {
        // Unless the attempt gets to its end.
        let outcome = Progress::Failed { message: "interrupted: the server is stopping".into() };
        Running { slot: slot.clone(), outcome }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Ends the attempt and tells the outcome.
    pub(super) fn end(mut self, outcome: Progress) {
        self.outcome = outcome;
    }
}

/// Also when the attempt was interrupted: nobody waits for ever.
impl Drop for Running {
    fn drop(&mut self) {
        let mut memory = self.slot.memory();
        memory.running = false;
        memory.ended += 1;
        for listener in memory.listeners.drain(..) {
            let _ = listener.try_send(self.outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Arc<Slot> {
        let names = vec!["b.test".into(), "a.test".into()];
        let certificate = Certificate::new("site".into(), names, vec!["c".into()]);
        let authority = Authority::new(Ca::new("c".into(), "https://c/".into()), None);
        Arc::new(Slot::new(certificate, vec![(Arc::new(authority), None)]))
    }

    #[test]
    fn one_attempt_at_a_time_and_everybody_hears_the_outcome() {
        let slot = slot();
        let (mut first, running) = slot.begin_heard();
        let running = running.unwrap();
        assert!(slot.begin(0).is_none());
        let (mut second, none) = slot.begin_heard();
        assert!(none.is_none());
        for _ in 0..2 * LINES {
            slot.tell("step".into());
        }
        let outcome = Progress::Done { message: "done".into(), path: "p".into() };
        running.end(outcome.clone());
        assert!(!slot.is_running());
        for listener in [&mut first, &mut second] {
            let mut last = None;
            while let Ok(line) = listener.try_recv() {
                last = Some(line);
            }
            assert_eq!(last.as_ref(), Some(&outcome));
        }
        assert!(slot.begin(0).is_none() && !slot.is_running());
        assert!(slot.begin(1).is_some());
    }

    #[test]
    fn an_interrupted_attempt_is_told() {
        let slot = slot();
        let (mut listener, running) = slot.begin_heard();
        drop(running);
        assert!(matches!(listener.try_recv(), Ok(Progress::Failed { .. })));
        assert!(!slot.is_running());
    }
}
