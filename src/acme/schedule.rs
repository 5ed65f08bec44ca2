//! The running server's part: what is due is attempted, what came out is remembered, told and exported.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::attempt::{key_of, save, withdraw};
use super::certificate::Certificate;
use super::slot::{Running, Slot};
use super::state::Issuance;
use super::{Issuer, export, plan, time};
use crate::api::LastError;
use crate::store::{Document, StoreError, UpdateError, now};
use crate::zone::Timestamp;

/// Longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: u64 = 60 * 60;
/// Shortest time between two attempts for one certificate, seconds.
pub(super) const SHORTEST_PAUSE: u64 = 60;

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Due,
    /// By a person, whatever the back-off says.
    Asked {
        renew: bool,
    },
}

impl Issuer {
    /// Obtains what is missing and renews what is due, until cancelled; then waits for attempts to stop, which the
    /// next start takes up again.
    pub async fn run(self, cancel: CancellationToken) {
        self.tidy_up().await;
        self.shared.attempts.spawn(self.clone().run_deploys());
        while !cancel.is_cancelled() {
            let next = self.start_what_is_due().await;
            let sleep = tokio::time::sleep(Duration::from_secs(next.saturating_sub(now()).clamp(1, LONGEST_SLEEP)));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.shared.ended.notified() => {}
                // Without certificates there is nothing to wake up for.
                () = sleep, if !self.shared.slots.is_empty() => {}
            }
        }
        self.shared.stopping.cancel();
        self.shared.attempts.close();
        self.shared.attempts.wait().await;
    }

    /// Takes values of certificates out of the DNS that the configuration does not have any more.
    async fn tidy_up(&self) {
        let writer = &self.shared.writer;
        let documents = match writer.documents(Document::Issuance).await {
            Ok(documents) => documents,
            Err(error) => return tracing::error!(%error, "cannot read the state of the certificates"),
        };
        for (name, text) in documents {
            if self.slot(&name).is_some() {
                continue;
            }
            let Ok(state) = serde_json::from_str::<Issuance>(&text) else { continue };
            if state.published.is_empty() {
                continue;
            }
            let tidied = Issuance { published: Vec::new(), ..state.clone() };
            let done = match withdraw(writer, &state.published).await {
                Ok(()) => save(writer, &name, &tidied).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::warn!(certificate = name, %error, "cannot take out the challenge values of a former certificate");
            }
        }
    }

    /// Starts attempts; the moment at which the next one is due.
    async fn start_what_is_due(&self) -> Timestamp {
        let mut next = Timestamp::MAX;
        for slot in &self.shared.slots {
            if slot.is_running() {
                continue;
            }
            let (state, certificate) = match self.load(slot).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::error!(certificate = slot.name(), %error, "cannot read the state of the certificate");
                    next = next.min(now() + SHORTEST_PAUSE);
                    continue;
                }
            };
            if let Some(certificate) = &certificate {
                self.export(slot, certificate).await;
            }
            let pause = slot.memory().pause;
            let due = plan::due(&state, certificate.as_ref(), &slot.wanted, pause, now());
            if due > now() {
                next = next.min(due);
            } else if let Some(running) = slot.begin() {
                self.start(running, Reason::Due);
            }
        }
        next
    }

    /// Makes the attempt in a task of its own.
    pub(super) fn start(&self, running: Running, reason: Reason) {
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let attempt = AssertUnwindSafe(issuer.attempt(running.slot(), reason)).catch_unwind();
            // Dropping the attempt is like a kill: the store has what is needed to go on.
            match issuer.shared.stopping.run_until_cancelled(attempt).await {
                Some(Ok(outcome)) => running.end(outcome),
                Some(Err(_)) => {
                    let outcome = issuer.broke_off(running.slot()).await;
                    running.end(outcome);
                }
                None => drop(running),
            }
            issuer.shared.ended.notify_one();
        });
    }

    /// The state in the store and the certificate in use.
    pub(super) async fn load(&self, slot: &Slot) -> Result<(Issuance, Option<Certificate>), UpdateError> {
        let writer = &self.shared.writer;
        let damaged = |what: &str, error: serde_json::Error| {
            UpdateError::Store(StoreError::Damaged(format!("{what} of {}: {error}", slot.name())))
        };
        let state = match writer.document(Document::Issuance, slot.name()).await? {
            Some(text) => serde_json::from_str(&text).map_err(|error| damaged("the issuance", error))?,
            None => Issuance::default(),
        };
        let Some(version) = state.current else { return Ok((state, None)) };
        let certificate = match writer.document(Document::Certificate, &key_of(slot.name(), version)).await? {
            Some(text) => Some(serde_json::from_str(&text).map_err(|error| damaged("the certificate", error))?),
            None => None,
        };
        Ok((state, certificate))
    }

    /// Makes the PEM files those of the certificate, if they are not; the error if that fails.
    pub(super) async fn export(&self, slot: &Slot, certificate: &Certificate) -> Option<String> {
        let version = certificate.version;
        let (certs, name, certificate) = (self.shared.certs.clone(), slot.name().to_owned(), certificate.clone());
        let (files, kept) = (slot.certificate.files.clone(), self.shared.versions);
        let export = move || export::export(&certs, &name, &certificate, &files, kept);
        let written = tokio::task::spawn_blocking(export).await;
        let error = match written {
            Ok(Ok(written)) => {
                if written {
                    tracing::info!(certificate = slot.name(), path = self.path(slot), "PEM files written");
                }
                slot.memory().export_error = None;
                self.exported(slot, version);
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let mut memory = slot.memory();
        let failures = match &memory.export_error {
            Some(before) if before.message == error => before.failures.saturating_add(1),
            _ => {
                tracing::error!(certificate = slot.name(), error, "the PEM files are not up to date");
                1
            }
        };
        memory.export_error = Some(LastError {
            at: time(now()),
            step: "export".into(),
            message: error.clone(),
            explanation: None,
            failures,
        });
        Some(error)
    }
}
