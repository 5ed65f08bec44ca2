//! What follows a new certificate once its files are written: the deploy program runs, and the webhook is told.
//!
//! Nothing here delays or fails a renewal. What is left to do is kept in the store (`deployment`), so that a server that
//! was killed does it after its next start: at least once, never not at all.

mod announcement;
pub mod deployment;
mod program;
pub mod webhook;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify, OwnedMutexGuard, Semaphore, mpsc};

use crate::acme::certificate::Certificate;
use crate::acme::history::{self, What};
use crate::acme::random;
use crate::acme::slot::Slot;
use crate::acme::{Issuer, time};
use crate::api::{DeploymentStatus, DroppedEvent, LastError, Progress};
use crate::config::Proxy;
use crate::store::{Body, Document, Put, UpdateError, now};
use crate::zone::Timestamp;
use deployment::{DELIVERIES, Deployment, Trouble, Untaken};
use program::{Ended, Program};
use webhook::{Event, Kind};

/// Most deploy programs at the same time.
const PROGRAMS: usize = 4;
/// Most events on their way at the same time.
const EVENTS: usize = 16;
/// Longest sleep, so that a clock that was set is noticed; and the shortest after trouble with the store. Seconds.
const LONGEST_SLEEP: u64 = 60 * 60;
const AFTER_TROUBLE: u64 = 60;
/// Lines that a listener may be behind. The last place is kept for the outcome.
const LINES: usize = 256;

/// What all certificates share.
#[derive(Debug)]
pub struct Deploys {
    /// There may be something to do.
    changed: Notify,
    programs: Semaphore,
    events: Semaphore,
    sender: webhook::Sender,
}

impl Deploys {
    pub fn new(proxy: Option<Proxy>) -> Deploys {
        Deploys {
            changed: Notify::new(),
            programs: Semaphore::new(PROGRAMS),
            events: Semaphore::new(EVENTS),
            sender: webhook::Sender::new(proxy),
        }
    }
}

/// What each certificate has of its own.
#[derive(Debug, Default)]
pub struct Turns {
    /// As the store has it, once it was read.
    state: Mutex<Option<Deployment>>,
    /// Held while the program runs, or waits for a place.
    program: Arc<Mutex<()>>,
    /// Since when it runs.
    running: std::sync::Mutex<Option<Timestamp>>,
    /// Held while an event is on its way, so that events come in their order.
    webhook: Arc<Mutex<()>>,
}

/// An event that waits for the commit of what it tells. Nothing else changes meanwhile.
pub struct Announcement<'s> {
    state: MutexGuard<'s, Option<Deployment>>,
    deployment: Deployment,
}

impl Announcement<'_> {
    /// What is committed.
    pub fn document(&self, slot: &Slot) -> Result<Put, UpdateError> {
        document(slot, &self.deployment)
    }
}

impl Slot {
    /// Whether somebody is to hear of a new certificate.
    pub fn deploys(&self) -> bool {
        self.runs_program() || self.certificate.webhook.is_some()
    }

    fn runs_program(&self) -> bool {
        !self.certificate.deploy.is_empty()
    }
}

impl Issuer {
    /// The files of this version are in use.
    pub(in crate::acme) fn exported(&self, slot: &Slot, version: u64) {
        let before = slot.memory().exported.replace(version);
        if before != Some(version) {
            self.shared.deploys.changed.notify_one();
        }
    }

    /// Does what is due, until the server stops.
    pub(in crate::acme) async fn run_deploys(self) {
        let slots: Vec<Arc<Slot>> = self.shared.slots.iter().filter(|slot| slot.deploys()).cloned().collect();
        if slots.is_empty() {
            return;
        }
        loop {
            let mut next = now() + LONGEST_SLEEP;
            for slot in &slots {
                match self.start_deploys(slot).await {
                    Ok(due) => next = next.min(due.unwrap_or(next)),
                    Err(error) => {
                        tracing::error!(certificate = slot.name(), %error, "cannot read what follows the certificate");
                        next = next.min(now() + AFTER_TROUBLE);
                    }
                }
            }
            let sleep = tokio::time::sleep(Duration::from_secs(next.saturating_sub(now()).max(1)));
            tokio::select! {
                () = self.shared.stopping.cancelled() => return,
                () = self.shared.deploys.changed.notified() => {}
                () = sleep => {}
            }
        }
    }

    /// Starts what is due for this certificate; when something is due next. What is under way says itself when it ends.
    async fn start_deploys(&self, slot: &Arc<Slot>) -> Result<Option<Timestamp>, UpdateError> {
        let deployment = self.noticed(slot).await?;
        let now = now();
        // What is under way is looked at again, should it end without a word.
        let again = now + AFTER_TROUBLE;
        let mut next = None;
        if let Some(due) = deployment.due(now).filter(|_| slot.runs_program()) {
            next = Some(if due > now { due } else { again });
            if due <= now
                && let Ok(turn) = slot.deploys.program.clone().try_lock_owned()
            {
                let (issuer, slot) = (self.clone(), slot.clone());
                self.shared.attempts.spawn(async move {
                    let outcome = issuer.run_program(&slot, &|_| {}).await;
                    issuer.give_back(turn, outcome.is_ok());
                });
            }
        }
        let due = deployment.next_event(now).map(|(due, _)| due);
        if let Some(due) = due.filter(|_| slot.certificate.webhook.is_some()) {
            let at = if due > now { due } else { again };
            next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
            if due <= now
                && let Ok(turn) = slot.deploys.webhook.clone().try_lock_owned()
            {
                let (issuer, slot) = (self.clone(), slot.clone());
                self.shared.attempts.spawn(async move {
                    // An event whose answer is not waited for is sent again after the next start.
                    let sent = issuer.shared.stopping.run_until_cancelled(issuer.send_event(&slot)).await;
                    issuer.give_back(turn, sent == Some(true));
                });
            }
        }
        Ok(next)
    }

    /// What became due meanwhile found the turn taken. Without `more`, nothing was done: there is trouble, and no hurry.
    fn give_back(&self, turn: OwnedMutexGuard<()>, more: bool) {
        drop(turn);
        if more {
            self.shared.deploys.changed.notify_one();
        }
    }

    /// What is left to do, with what a new certificate asks for if its files are there.
    async fn noticed(&self, slot: &Slot) -> Result<Deployment, UpdateError> {
        let exported = slot.memory().exported;
        let mut state = slot.deploys.state.lock().await;
        let deployment = self.remembered(slot, &mut state).await?;
        let Some(exported) = exported.filter(|exported| *exported != deployment.version) else {
            return Ok(deployment.clone());
        };
        let (issuance, certificate) = self.load(slot).await?;
        let Some(certificate) = certificate.filter(|certificate| certificate.version == exported) else {
            return Ok(deployment.clone());
        };
        // Otherwise it was there before there was somebody to hear of it.
        let is_news = issuance.deploys;
        deployment.begin(exported, is_news && slot.runs_program());
        if is_news {
            if slot.certificate.webhook.is_some() {
                deployment.announce(event(slot, Kind::Issued, Some(&certificate), None));
            }
            self.keep(slot, deployment).await;
        }
        Ok(deployment.clone())
    }

    /// The state, from memory or from the store.
    async fn remembered<'a>(
        &self,
        slot: &Slot,
        state: &'a mut Option<Deployment>,
    ) -> Result<&'a mut Deployment, UpdateError> {
        let read = match state.take() {
            Some(known) => known,
            None => match self.shared.writer.document(Document::Deployment, slot.name()).await? {
                // Then it is done once more, rather than never again.
                Some(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                    let certificate = slot.name();
                    tracing::error!(certificate, %error, "what follows the certificate cannot be read and begins anew");
                    Deployment::default()
                }),
                None => Deployment::default(),
            },
        };
        Ok(state.insert(read))
    }

    /// What cannot be kept is remembered until the server ends: nothing is done in a circle.
    async fn keep(&self, slot: &Slot, deployment: &Deployment) {
        let kept = match document(slot, deployment) {
            Ok(document) => self.shared.writer.put_documents(vec![document]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::error!(certificate = slot.name(), %error, "cannot keep what follows the certificate");
        }
    }

    /// Changes the state, keeps it, and has a look at what is due then.
    async fn change<T>(&self, slot: &Slot, change: impl FnOnce(&mut Deployment) -> T) -> Result<T, UpdateError> {
        let mut state = slot.deploys.state.lock().await;
        let deployment = self.remembered(slot, &mut state).await?;
        let changed = change(deployment);
        self.keep(slot, deployment).await;
        self.shared.deploys.changed.notify_one();
        Ok(changed)
    }

    /// Runs the program because somebody asks for it, after a run that is under way.
    pub(in crate::acme) fn deploy_heard(&self, slot: &Arc<Slot>) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(LINES);
        let (issuer, slot) = (self.clone(), slot.clone());
        self.shared.attempts.spawn(async move {
            let step = |message: String| {
                if sender.capacity() > 1 {
                    let _ = sender.try_send(Progress::Step { message });
                }
            };
            let turn = match slot.deploys.program.clone().try_lock_owned() {
                Ok(turn) => turn,
                Err(_) => {
                    let doing = match slot.deploys.running_since() {
                        Some(since) => format!("has been running since {}", time(since)),
                        None => waiting(),
                    };
                    step(format!("the deploy program of {} {doing}; after that, it runs again", slot.name()));
                    let turn = issuer.shared.stopping.run_until_cancelled(slot.deploys.program.clone().lock_owned());
                    match turn.await {
                        Some(turn) => turn,
                        None => {
                            let _ = sender.try_send(Progress::Failed { message: stopping() });
                            return;
                        }
                    }
                }
            };
            let outcome = match issuer.run_program(&slot, &step).await {
                Ok(message) => Progress::Done { message, path: issuer.path(&slot) },
                Err(message) => Progress::Failed { message },
            };
            issuer.give_back(turn, true);
            let _ = sender.try_send(outcome);
        });
        receiver
    }

    /// Runs the program for the certificate in use and remembers how it ended: in words, either way. The caller has the
    /// turn.
    async fn run_program(&self, slot: &Slot, heard: &(dyn Fn(String) + Send + Sync)) -> Result<String, String> {
        if !slot.runs_program() {
            return Err(format!("the certificate {} has no `deploy` program in the configuration", slot.name()));
        }
        let tell = |line: String| {
            tracing::info!(certificate = slot.name(), "deploy: {line}");
            heard(line);
        };
        if self.shared.deploys.programs.available_permits() == 0 {
            tell(format!("the program {}", waiting()));
        }
        let permit = self.shared.deploys.programs.acquire();
        // Nobody closes the semaphore.
        let Some(_permit) = self.shared.stopping.run_until_cancelled(permit).await else { return Err(stopping()) };
        // After a start, it may be a while until its files are compared with the store.
        let not_up_to_date =
            |error: &str| format!("the files of the certificate {} are not up to date{error}", slot.name());
        if let Some(error) = self.export_current(slot).await.map_err(|error| error.to_string())? {
            return Err(not_up_to_date(&format!(": {error}")));
        }
        let (_, certificate) = self.load(slot).await.map_err(|error| error.to_string())?;
        let certificate = certificate.ok_or_else(|| format!("there is no certificate {} yet", slot.name()))?;
        if slot.memory().exported != Some(certificate.version) {
            return Err(not_up_to_date(", another one has just been issued"));
        }
        let _running = RunsNow::note(&slot.deploys.running);
        let folder = self.shared.certs.join(slot.name());
        let program = Program {
            command: &slot.certificate.deploy,
            folder: &folder,
            environment: environment(slot, &certificate, &self.path(slot)),
            deadline: Duration::from_secs(slot.certificate.deploy_timeout),
        };
        let error = match program.run(&self.shared.stopping, &tell).await {
            Ended::Well => None,
            Ended::Badly(error) => Some(error),
            Ended::Interrupted => return Err(stopping()),
        };
        self.ran(slot, &certificate, error.clone()).await.map_err(|error| error.to_string())?;
        match error {
            None => Ok(format!("deployed, the certificate is valid until {}", time(certificate.not_after))),
            Some(error) => Err(error),
        }
    }

    async fn ran(&self, slot: &Slot, certificate: &Certificate, error: Option<String>) -> Result<(), UpdateError> {
        let (known, trouble, pending) = self
            .change(slot, |deployment| {
                let before = deployment.trouble.as_ref().map(|trouble| trouble.message.clone());
                let is_first = deployment.ran(certificate.version, error.clone(), now(), random());
                let kind = if error.is_some() { Kind::DeployFailed } else { Kind::Deployed };
                if slot.certificate.webhook.is_some() && (is_first || error.is_none()) {
                    deployment.announce(event(slot, kind, Some(certificate), error.clone()));
                }
                (error.is_some() && before == error, deployment.trouble.clone(), deployment.pending)
            })
            .await?;
        let (certificate, serial) = (slot.name(), &certificate.serial);
        let next = trouble.as_ref().filter(|_| pending).map(|trouble| time(trouble.next_attempt));
        let next = next.map_or_else(|| "when asked".to_owned(), |next| next.to_string());
        if !known {
            let what = if error.is_some() { What::DeployFailed } else { What::Deployed };
            let happened = history::Event {
                serial: Some(serial.clone()),
                message: error.clone(),
                ..history::Event::new(now(), what)
            };
            slot.history.add(&self.shared.writer, certificate, happened).await;
        }
        match error {
            None => tracing::info!(certificate, serial, "deployed"),
            Some(_) if known => {
                let failures = trouble.map_or(1, |trouble| trouble.failures);
                tracing::info!(certificate, failures, next, "the deploy program failed as before");
            }
            Some(error) => tracing::warn!(certificate, error, next, "the deploy program failed"),
        }
        Ok(())
    }

    /// Sends the event that is due, which is the caller's turn. Whether that was noted.
    async fn send_event(&self, slot: &Slot) -> bool {
        // Nobody closes the semaphore.
        let _permit = self.shared.deploys.events.acquire().await.ok();
        let due = match slot.deploys.state.lock().await.as_ref() {
            Some(deployment) => deployment.next_event(now()).map(|(_, event)| event.clone()),
            None => None,
        };
        let (Some(event), Some(webhook)) = (due, &slot.certificate.webhook) else { return false };
        let sent = self.shared.deploys.sender.send(webhook, &event, now()).await;
        let certificate = slot.name();
        let kind = event.event;
        let changed = match sent {
            Ok(()) => {
                tracing::debug!(certificate, event = ?kind, "the webhook was told");
                self.change(slot, |deployment| deployment.taken(&event.id)).await
            }
            Err(error) => {
                let message = error.to_string();
                let untaken = |deployment: &mut Deployment| {
                    let known = deployment
                        .events
                        .iter()
                        .any(|waiting| waiting.trouble.as_ref().is_some_and(|trouble| trouble.message == message));
                    (known, deployment.untaken(&event.id, message.clone(), now(), random()))
                };
                self.change(slot, untaken).await.map(|told| match told {
                    (_, Untaken::Dropped) => {
                        tracing::error!(certificate, event = ?kind, error = message, "given up after {DELIVERIES} times: the webhook was not told");
                    }
                    (true, Untaken::Again(_)) => {}
                    (false, Untaken::Again(next)) => {
                        tracing::warn!(certificate, event = ?kind, error = message, next = %time(next), "the webhook was not told");
                    }
                })
            }
        };
        if let Err(error) = &changed {
            tracing::error!(certificate, %error, "cannot keep what the webhook was told");
        }
        changed.is_ok()
    }

    pub(in crate::acme) async fn deployment_status(
        &self,
        slot: &Slot,
    ) -> Result<Option<DeploymentStatus>, UpdateError> {
        if !slot.deploys() {
            return Ok(None);
        }
        let mut state = slot.deploys.state.lock().await;
        let deployment = self.remembered(slot, &mut state).await?;
        let now = now();
        let error = |step: &str, trouble: &Trouble| LastError {
            at: time(trouble.at),
            step: step.to_owned(),
            message: trouble.message.clone(),
            explanation: None,
            failures: trouble.failures,
        };
        let next_attempt = deployment.due(now).filter(|_| slot.runs_program()).map(|due| time(due.max(now)));
        let untaken = deployment.events.iter().find_map(|waiting| waiting.trouble.as_ref());
        Ok(Some(DeploymentStatus {
            deployed_at: deployment.deployed.map(time),
            running_since: slot.deploys.running_since().map(time),
            last_error: deployment.trouble.as_ref().map(|trouble| error("deploy", trouble)),
            next_attempt,
            undelivered: deployment.events.len(),
            webhook_error: untaken.map(|trouble| error("webhook", trouble)),
            dropped_event: deployment.dropped.as_ref().map(|dropped| DroppedEvent {
                event: dropped.event.event.word().to_owned(),
                at: dropped.event.at,
                reason: dropped.reason.clone(),
            }),
        }))
    }
}

impl Turns {
    fn running_since(&self) -> Option<Timestamp> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this is held, it is known that the program runs.
struct RunsNow<'a>(&'a std::sync::Mutex<Option<Timestamp>>);

impl RunsNow<'_> {
    fn note(running: &std::sync::Mutex<Option<Timestamp>>) -> RunsNow<'_> {
        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(now());
        RunsNow(running)
    }
}

impl Drop for RunsNow<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn waiting() -> String {
    format!("is waiting for a place: {PROGRAMS} programs of other certificates are running")
}

fn document(slot: &Slot, deployment: &Deployment) -> Result<Put, UpdateError> {
    Ok((Document::Deployment, slot.name().to_owned(), Some(Body::of(deployment)?)))
}

fn stopping() -> String {
    "interrupted: the server is stopping".to_owned()
}

/// Whether less than a quarter of its life is left.
fn runs_out(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_after.saturating_sub(certificate.not_before);
    certificate.not_after.saturating_sub(now) < life / 4
}

/// What the program is told of the certificate.
fn environment(slot: &Slot, certificate: &Certificate, folder: &str) -> Vec<(&'static str, String)> {
    let file = |name: &str| format!("{folder}/{name}");
    vec![
        ("ACMEZONE_EVENT", "deploy".into()),
        ("ACMEZONE_CERTIFICATE", slot.name().to_owned()),
        ("ACMEZONE_NAMES", certificate.names.join(" ")),
        ("ACMEZONE_FOLDER", folder.to_owned()),
        ("ACMEZONE_PRIVKEY", file("privkey.pem")),
        ("ACMEZONE_CERT", file("cert.pem")),
        ("ACMEZONE_CHAIN", file("chain.pem")),
        ("ACMEZONE_FULLCHAIN", file("fullchain.pem")),
        ("ACMEZONE_SERIAL", certificate.serial.clone()),
        ("ACMEZONE_NOT_AFTER", time(certificate.not_after).to_string()),
    ]
}

fn event(slot: &Slot, kind: Kind, certificate: Option<&Certificate>, message: Option<String>) -> Event {
    let names = certificate.map_or_else(|| slot.wanted.names.clone(), |certificate| certificate.names.clone());
    Event {
        id: id(),
        event: kind,
        certificate: slot.name().to_owned(),
        names,
        serial: certificate.map(|certificate| certificate.serial.clone()),
        not_after: certificate.map(|certificate| time(certificate.not_after)),
        at: time(now()),
        message,
    }
}

/// 16 random octets in hexadecimal.
fn id() -> String {
    let mut octets = [0; 16];
    // Without random numbers nothing else works either; the id is only for telling a repetition.
    let _ = getrandom::fill(&mut octets);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
