//! One attempt for one certificate, at its CAs in their order; what came out is remembered and told.

use super::attempt::{Attempt, AttemptError, Failure, failure, save};
use super::certificate::Certificate;
use super::delegation::Missing;
use super::plan::Pause;
use super::problem::Class;
use super::schedule::{Reason, SHORTEST_PAUSE};
use super::slot::Slot;
use super::state::{Failed, Issuance};
use super::{Issuer, plan, time};
use crate::api::Progress;
use crate::store::now;

impl Issuer {
    pub(super) async fn attempt(&self, slot: &Slot, reason: Reason) -> Progress {
        match self.load(slot).await {
            Ok((_, Some(certificate))) if reason == (Reason::Asked { renew: false }) && is_good(slot, &certificate) => {
                self.export(slot, &certificate).await;
                let message = format!("the certificate is valid until {}, nothing to do", time(certificate.not_after));
                Progress::Done { message, path: self.path(slot) }
            }
            Ok((state, certificate)) => {
                let compromised = |certificate: &Certificate| {
                    certificate.compromised && state.step.key() == Some(&certificate.private_key)
                };
                let new_key =
                    reason == (Reason::Reissue { new_key: true }) || certificate.as_ref().is_some_and(compromised);
                self.attempt_from(slot, state, new_key).await
            }
            Err(error) => {
                slot.pause_for(SHORTEST_PAUSE);
                Progress::Failed { message: error.to_string() }
            }
        }
    }

    /// What is left to do after a panic: it is a failure like others, and waits like others.
    pub(super) async fn broke_off(&self, slot: &Slot) -> Progress {
        // The panic itself went to stderr.
        let message = "an internal error, please report it: the log has the panic".to_owned();
        match self.load(slot).await {
            Ok((state, _)) => self.failed(slot, state, failure("attempt", message)).await,
            Err(_) => {
                slot.pause_for(SHORTEST_PAUSE);
                Progress::Failed { message }
            }
        }
    }

    async fn attempt_from(&self, slot: &Slot, state: Issuance, new_key: bool) -> Progress {
        // Nobody closes the semaphore; without a permit the attempt would only be less polite.
        let _permit = self.shared.orders.acquire().await.ok();
        let mut state = state;
        let mut authorities = slot.authorities.iter().peekable();
        while let Some(authority) = authorities.next() {
            let mut attempt = Attempt {
                name: slot.name(),
                request: &slot.request(&authority.ca),
                authority,
                writer: &self.shared.writer,
                resolver: &self.shared.resolver,
                own: &self.shared.own,
                new_key,
                tell: &|line| slot.tell(line),
                state,
            };
            let outcome = attempt.run().await;
            state = attempt.state;
            match outcome {
                Ok(certificate) => return self.succeeded(slot, &certificate).await,
                Err(AttemptError::Waiting(missing)) => return self.waiting(slot, state, missing).await,
                Err(AttemptError::Failed(failure)) => match authorities.peek() {
                    Some(next) if failure.class == Class::Elsewhere => {
                        let (ca, step, message) = (&authority.ca.name, failure.step, failure.message);
                        slot.tell(format!("{ca}: {step}: {message}; going on to {}", next.ca.name));
                    }
                    _ => return self.failed(slot, state, failure).await,
                },
            }
        }
        // There is one at least.
        Progress::Failed { message: "no CA is configured for this certificate".into() }
    }

    async fn succeeded(&self, slot: &Slot, certificate: &Certificate) -> Progress {
        slot.pause_for(SHORTEST_PAUSE);
        slot.memory().told_missing.clear();
        let until = time(certificate.not_after);
        tracing::info!(certificate = slot.name(), serial = certificate.serial, %until, "certificate issued");
        match self.export(slot, certificate).await {
            None => {
                Progress::Done { message: format!("certificate issued, valid until {until}"), path: self.path(slot) }
            }
            Some(error) => Progress::Failed { message: format!("the certificate is in the store, but {error}") },
        }
    }

    async fn waiting(&self, slot: &Slot, mut state: Issuance, missing: Vec<Missing>) -> Progress {
        let records: Vec<String> = missing.iter().flat_map(|one| one.records.iter().cloned()).collect();
        let seen: Vec<&str> = missing.iter().map(|one| one.seen.as_str()).collect();
        let seen = seen.join("; ");
        slot.pause_for(plan::RECHECK);
        {
            let mut memory = slot.memory();
            if memory.told_missing != records {
                tracing::warn!(
                    certificate = slot.name(),
                    records = records.join("; "),
                    seen,
                    "waiting for the delegation: make these records; looking again every 5 minutes"
                );
                memory.told_missing.clone_from(&records);
            }
        }
        let message = format!("make this record first: {} (now: {seen})", records.join("; "));
        if state.missing != records || state.failure.is_some() {
            state.missing = records;
            state.failure = None;
            if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
                tracing::error!(certificate = slot.name(), %error, "cannot keep the missing records");
            }
        }
        Progress::Failed { message }
    }

    async fn failed(&self, slot: &Slot, mut state: Issuance, failure: Failure) -> Progress {
        let (failures, backed_off) = state.failure.as_ref().map_or((0, 0), |last| (last.failures, last.backed_off));
        let backed_off = backed_off.saturating_add(failure.backs_off.into());
        let wait = if failure.backs_off { plan::back_off(backed_off, random()) } else { plan::RECHECK };
        let pause = Pause::after_failure(now(), wait, failure.retry_at);
        slot.memory().pause = Some(pause);
        let failed = Failed {
            at: pause.from,
            step: failure.step.to_owned(),
            message: failure.message,
            failures: failures.saturating_add(1),
            backed_off,
            next_attempt: pause.until,
        };
        let message = format!("{}: {}", failed.step, failed.message);
        let next = time(failed.next_attempt);
        let known = state.failure.as_ref().is_some_and(|before| before.message == failed.message);
        if known {
            tracing::info!(certificate = slot.name(), failures = failed.failures, %next, "failed as before");
        } else {
            tracing::warn!(certificate = slot.name(), step = failed.step, error = failed.message, %next, "no certificate");
        }
        state.missing.clear();
        state.failure = Some(failed);
        if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
            tracing::error!(certificate = slot.name(), %error, "cannot keep the failure of an attempt");
        }
        Progress::Failed { message }
    }
}

/// Whether a person who asks for a certificate has it already.
fn is_good(slot: &Slot, certificate: &Certificate) -> bool {
    plan::serves(certificate, &slot.wanted) && certificate.revoked.is_none() && now() < plan::renewal(certificate)
}

/// For jitter alone: without random numbers there is none.
fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}
