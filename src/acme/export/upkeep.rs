//! The files of all certificates are kept as the store has them: written after each issuance, compared after each start,
//! and tried again where that failed. What stays unwritten is told, the first time and then daily.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::export;
use crate::acme::certificate::Certificate;
use crate::acme::history::{Event, What};
use crate::acme::slot::Slot;
use crate::acme::{Issuer, time};
use crate::api::LastError;
use crate::store::{UpdateError, now};

/// When files that could not be written are tried again: twice as late each time.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LAST: Duration = Duration::from_secs(5 * 60);

/// What all certificates share.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// There are files that could not be written and could before.
    failed: Notify,
}

/// How often it has been told that the files cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    First,
    Again,
    /// Not now: less than a day ago.
    Before,
}

impl Issuer {
    /// Compares the files of all certificates with the store, one certificate after the other; goes on to try those
    /// that could not be written.
    pub(in crate::acme) async fn keep_files(&self) {
        let mut left = self.shared.slots.clone();
        let mut wait = AGAIN_FIRST;
        while !self.shared.slots.is_empty() {
            for slot in std::mem::take(&mut left) {
                if !matches!(self.export_current(&slot).await, Ok(None)) {
                    left.push(slot);
                }
            }
            tokio::select! {
                () = self.shared.upkeep.failed.notified() => wait = AGAIN_FIRST,
                () = tokio::time::sleep(wait), if !left.is_empty() => wait = (wait * 2).min(AGAIN_LAST),
            }
            // None is tried at once: what failed a moment ago fails again.
            if wait == AGAIN_FIRST {
                tokio::time::sleep(wait).await;
            }
            let failed = |slot: &&Arc<Slot>| slot.memory().export_error.is_some();
            let known = |slot: &&Arc<Slot>| left.iter().any(|known| Arc::ptr_eq(known, slot));
            let more: Vec<_> = self.shared.slots.iter().filter(failed).filter(|slot| !known(slot)).cloned().collect();
            left.extend(more);
        }
    }

    /// Makes the files those of the certificate in use, if they are not; the error if that fails.
    pub(in crate::acme) async fn export_current(&self, slot: &Slot) -> Result<Option<String>, UpdateError> {
        let _turn = slot.files.lock().await;
        match self.load(slot).await? {
            (_, Some(certificate)) => Ok(self.write(slot, &certificate).await),
            (_, None) => Ok(None),
        }
    }

    /// Makes the files those of the certificate, if they are not; the error if that fails.
    pub(in crate::acme) async fn export(&self, slot: &Slot, certificate: &Certificate) -> Option<String> {
        let _turn = slot.files.lock().await;
        self.write(slot, certificate).await
    }

    /// The caller has the turn.
    async fn write(&self, slot: &Slot, certificate: &Certificate) -> Option<String> {
        let (certs, name, written) = (self.shared.certs.clone(), slot.name().to_owned(), certificate.clone());
        let (files, kept) = (slot.certificate.files.clone(), self.shared.versions);
        let export = move || export(&certs, &name, &written, &files, kept);
        let error = match tokio::task::spawn_blocking(export).await {
            Ok(Ok(is_news)) => {
                if is_news {
                    tracing::info!(certificate = slot.name(), path = self.path(slot), "PEM files written");
                }
                let recovered = slot.memory().export_error.take().is_some();
                // What was told before the start may have been mended since.
                let is_first = slot.memory().exported.is_none();
                if recovered || is_news || is_first {
                    self.no_more_unwritten(slot).await;
                }
                self.exported(slot, certificate.version);
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.cannot_write(slot, certificate, &error).await;
        Some(error)
    }

    /// Remembers the failure, and tells it when it is time.
    async fn cannot_write(&self, slot: &Slot, certificate: &Certificate, error: &str) {
        let (failures, same) = {
            let mut memory = slot.memory();
            let before = memory.export_error.take();
            let same = before.as_ref().is_some_and(|before| before.message == error);
            let failures = before.map_or(0, |before| before.failures).saturating_add(1);
            memory.export_error = Some(LastError {
                at: time(now()),
                step: "export".into(),
                message: error.to_owned(),
                explanation: None,
                failures,
            });
            (failures, same)
        };
        if failures == 1 {
            self.shared.upkeep.failed.notify_one();
        }
        let message = format!("the files of the certificate cannot be written: {error}");
        let told = self.announce_unwritten(slot, certificate, &message).await.unwrap_or_else(|error| {
            tracing::error!(certificate = slot.name(), %error, "cannot tell the webhook");
            Told::Before
        });
        if told == Told::First {
            let (serial, message) = (Some(certificate.serial.clone()), Some(message));
            let event = Event { serial, message, ..Event::new(now(), What::Failed) };
            slot.history.add(&self.shared.writer, slot.name(), event).await;
        }
        if !same || told == Told::Again {
            tracing::error!(certificate = slot.name(), error, failures, "the PEM files are not up to date");
        }
    }
}
