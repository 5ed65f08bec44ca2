//! What is remembered of what follows a new certificate: `Document::Deployment`, as JSON. Which program still has to
//! run, and what the webhook has not taken yet; pure: no clock, no randomness.
//!
//! Done things are noted after they are done: a server that is killed in between does them again.

use serde::{Deserialize, Serialize};

use super::webhook::Event;
use crate::acme::pause::{Pause, back_off};
use crate::zone::Timestamp;

/// How often an event is sent before it is dropped: at once, after 1, 10 and 100 minutes, and for two days daily.
pub const DELIVERIES: u32 = 6;
/// Events that wait. The oldest goes first.
const EVENTS: usize = 16;
/// Seconds between two events that say that attempts fail while the certificate runs out.
const TOLD: u64 = 20 * 60 * 60;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Version of the certificate that this is about.
    pub version: u64,
    /// The program has still to run for it.
    pub pending: bool,
    /// When it ended well.
    pub deployed: Option<Timestamp>,
    /// The last run, if it failed.
    pub trouble: Option<Trouble>,
    /// In their order.
    pub events: Vec<Waiting>,
    /// When the webhook was last told that attempts fail.
    pub told_failure: Option<Timestamp>,
    /// When somebody was last told that the files cannot be written; `None` if they are.
    pub told_unwritten: Option<Timestamp>,
    /// The last event that the webhook was never told of.
    pub dropped: Option<Dropped>,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    pub event: Event,
    pub reason: String,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub at: Timestamp,
    pub message: String,
    /// How many times in a row.
    pub failures: u32,
    pub next_attempt: Timestamp,
}

/// An event that the webhook has not taken yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub event: Event,
    pub trouble: Option<Trouble>,
}

/// What became of an event that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untaken {
    Again(Timestamp),
    Dropped,
}

impl Trouble {
    fn after(before: Option<&Trouble>, message: String, now: Timestamp, random: u32) -> Trouble {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        Trouble { at: now, message, failures, next_attempt: now + back_off(failures, random) }
    }

    fn end(&self, now: Timestamp) -> Timestamp {
        Pause { from: self.at, until: self.next_attempt }.end(now)
    }
}

impl Deployment {
    /// Another certificate is in use; `pending` says whether the program is to run for it.
    pub fn begin(&mut self, version: u64, pending: bool) {
        (self.version, self.pending, self.deployed, self.trouble) = (version, pending, None, None);
    }

    /// The moment at which the program is due.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        self.pending.then(|| self.trouble.as_ref().map_or(0, |trouble| trouble.end(now)))
    }

    /// The program ran for this version. Whether it failed for the first time in a row.
    pub fn ran(&mut self, version: u64, error: Option<String>, now: Timestamp, random: u32) -> bool {
        if version != self.version {
            // There is a newer one meanwhile, for which it has to run anyway.
            return false;
        }
        match error {
            None => (self.pending, self.deployed, self.trouble) = (false, Some(now), None),
            Some(message) => self.trouble = Some(Trouble::after(self.trouble.as_ref(), message, now, random)),
        }
        self.trouble.as_ref().is_some_and(|trouble| trouble.failures == 1)
    }

    /// Whether the webhook is to hear of an attempt that failed: of the first in a row, and once a day while the
    /// certificate runs out.
    pub fn tells_failure(&self, is_first: bool, runs_out: bool, now: Timestamp) -> bool {
        is_first || runs_out && self.told_failure.is_none_or(|told| told + TOLD <= now || now < told)
    }

    /// Whether somebody is to hear that the files cannot be written: the first time, and once a day.
    pub fn tells_unwritten(&self, now: Timestamp) -> bool {
        self.told_unwritten.is_none_or(|told| told + TOLD <= now || now < told)
    }

    pub fn announce(&mut self, event: Event) {
        if self.events.len() >= EVENTS {
            let Waiting { event, trouble } = self.events.remove(0);
            let trouble = trouble.map_or_else(String::new, |trouble| format!("; {}", trouble.message));
            self.dropped = Some(Dropped { event, reason: format!("{EVENTS} later ones were waiting{trouble}") });
        }
        self.events.push(Waiting { event, trouble: None });
    }

    /// The next event, and when it is due.
    pub fn next_event(&self, now: Timestamp) -> Option<(Timestamp, &Event)> {
        let due = |waiting: &Waiting| waiting.trouble.as_ref().map_or(0, |trouble| trouble.end(now));
        self.events.iter().map(|waiting| (due(waiting), &waiting.event)).min_by_key(|(due, _)| *due)
    }

    /// The webhook took the event.
    pub fn taken(&mut self, id: &str) {
        self.events.retain(|waiting| waiting.event.id != id);
    }

    /// It did not.
    pub fn untaken(&mut self, id: &str, message: String, now: Timestamp, random: u32) -> Untaken {
        let Some(waiting) = self.events.iter_mut().find(|waiting| waiting.event.id == id) else {
            return Untaken::Dropped;
        };
        let trouble = Trouble::after(waiting.trouble.as_ref(), message, now, random);
        if trouble.failures >= DELIVERIES {
            let reason = format!("given up after {DELIVERIES} times: {}", trouble.message);
            self.dropped = Some(Dropped { event: waiting.event.clone(), reason });
            self.taken(id);
            return Untaken::Dropped;
        }
        let again = Untaken::Again(trouble.next_attempt);
        waiting.trouble = Some(trouble);
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::deploy::webhook::Kind;

    fn event(id: &str) -> Event {
        Event {
            id: id.into(),
            event: Kind::Issued,
            certificate: "site".into(),
            names: vec!["a.test".into()],
            serial: Some("01".into()),
            not_after: None,
            at: jiff::Timestamp::UNIX_EPOCH,
            message: None,
        }
    }

    #[test]
    fn a_program_that_fails_is_run_again_after_1_10_100_minutes_then_daily() {
        let mut deployment = Deployment::default();
        assert_eq!(deployment.due(5), None);
        deployment.begin(1, true);
        let mut now = 1_800_000_000;
        assert_eq!(deployment.due(now), Some(0));
        let mut minutes = Vec::new();
        for turn in 0..6 {
            assert_eq!(deployment.ran(1, Some("no".into()), now, 0), turn == 0);
            let due = deployment.due(now).unwrap();
            minutes.push((due - now) / 60);
            now = due;
        }
        assert_eq!(minutes, [1, 10, 100, 1440, 1440, 1440]);
        assert_eq!(deployment.trouble.as_ref().unwrap().failures, 6);
        // A clock that was far ahead keeps nothing waiting.
        assert_eq!(deployment.due(1_700_000_000), Some(0));
        assert!(!deployment.ran(1, None, now, 0));
        assert_eq!((deployment.due(now), deployment.deployed, deployment.trouble), (None, Some(now), None));
    }

    #[test]
    fn a_run_for_an_older_version_leaves_the_newer_one_to_do() {
        let mut deployment = Deployment::default();
        deployment.begin(1, true);
        deployment.begin(2, true);
        assert!(!deployment.ran(1, None, 9, 0));
        assert_eq!((deployment.due(9), deployment.deployed), (Some(0), None));
    }

    #[test]
    fn an_event_that_is_not_taken_is_sent_again_and_dropped_in_the_end() {
        let mut deployment = Deployment::default();
        deployment.announce(event("a"));
        let mut now = 1_800_000_000;
        let mut minutes = Vec::new();
        loop {
            assert!(deployment.next_event(now).is_some_and(|(due, _)| due <= now));
            match deployment.untaken("a", "no".into(), now, 0) {
                Untaken::Again(at) => {
                    minutes.push((at - now) / 60);
                    now = at;
                }
                Untaken::Dropped => break,
            }
        }
        assert_eq!(minutes, [1, 10, 100, 1440, 1440]);
        assert_eq!(deployment.next_event(now), None);
        let reason = "given up after 6 times: no".to_owned();
        assert_eq!(deployment.dropped, Some(Dropped { event: event("a"), reason }));
    }

    #[test]
    fn one_event_does_not_keep_the_others_waiting_and_they_are_not_without_number() {
        let mut deployment = Deployment::default();
        for id in 0..EVENTS + 3 {
            deployment.announce(event(&id.to_string()));
        }
        assert_eq!(deployment.events.len(), EVENTS);
        let reason = "16 later ones were waiting".to_owned();
        assert_eq!(deployment.dropped, Some(Dropped { event: event("2"), reason }));
        assert_eq!(deployment.next_event(100).unwrap().1.id, "3");
        deployment.untaken("3", "no".into(), 100, 0);
        assert_eq!(deployment.next_event(100).unwrap().1.id, "4");
        for id in 4..EVENTS + 3 {
            deployment.taken(&id.to_string());
        }
        assert_eq!(deployment.next_event(100).unwrap().0, 160);
    }

    #[test]
    fn failures_are_told_once_and_daily_when_the_certificate_runs_out() {
        let now = 1_800_000_000;
        let mut deployment = Deployment::default();
        assert!(deployment.tells_failure(true, false, now));
        assert!(!deployment.tells_failure(false, false, now));
        assert!(deployment.tells_failure(false, true, now));
        deployment.told_failure = Some(now);
        assert!(!deployment.tells_failure(false, true, now + 300));
        assert!(deployment.tells_failure(false, true, now + 24 * 60 * 60));
    }

    #[test]
    fn files_that_cannot_be_written_are_told_once_and_daily() {
        let now = 1_800_000_000;
        let mut deployment = Deployment::default();
        assert!(deployment.tells_unwritten(now));
        deployment.told_unwritten = Some(now);
        assert!(!deployment.tells_unwritten(now + 300));
        assert!(deployment.tells_unwritten(now + 24 * 60 * 60));
    }

    #[test]
    fn it_survives_the_store() {
        let mut deployment = Deployment::default();
        deployment.begin(3, true);
        deployment.ran(3, Some("no".into()), 9, 0);
        deployment.announce(event("a"));
        let text = serde_json::to_string(&deployment).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), deployment);
        assert_eq!(serde_json::from_str::<Deployment>("{}").unwrap(), Deployment::default());
    }
}
