//! One attempt for one certificate, at its CAs in their order; what came out is remembered and told.

use std::sync::Arc;

use super::ca::authority::Authority;
use super::ca::problem::Class;
use super::certificate::Certificate;
use super::history::{Event, What};
use super::order::attempt::{Attempt, LONG, save};
use super::order::delegation::Missing;
use super::order::failure::{AttemptError, Failure, failure};
use super::pause::{Pause, SHORTEST_WAIT, back_off_within};
use super::renewal::plan;
use super::request::Request;
use super::schedule::Reason;
use super::slot::Slot;
use super::state::{Failed, Issuance};
use super::{Issuer, random, time};
use crate::api::Progress;
use crate::config::Challenge;
use crate::store::now;

/// After so many failures in a row another CA is tried although there is an order at this one.
const PATIENCE: u32 = 2;

impl Issuer {
    pub(super) async fn attempt(&self, slot: &Slot, reason: Reason) -> Progress {
        match self.load(slot).await {
            Ok((state, Some(certificate)))
                if reason == (Reason::Asked { renew: false }) && is_good(slot, &state, &certificate) =>
            {
                let until = time(certificate.not_after);
                match self.export(slot, &certificate).await {
                    None => {
                        let message = format!("the certificate is valid until {until}, nothing to do");
                        Progress::Done { message, path: self.path(slot) }
                    }
                    Some(error) => {
                        Progress::Failed { message: format!("the certificate is valid until {until}, but {error}") }
                    }
                }
            }
            Ok((state, current)) => self.attempt_from(slot, state, current.as_ref(), reason).await,
            Err(error) => {
                slot.pause_for(SHORTEST_WAIT);
                Progress::Failed { message: error.to_string() }
            }
        }
    }

    /// What is left to do after a panic: it is a failure like others, and waits like others.
    pub(super) async fn broke_off(&self, slot: &Slot) -> Progress {
        // The panic itself went to stderr.
        let message = "an internal error, please report it: the log has the panic".to_owned();
        match self.load(slot).await {
            Ok((state, _)) => self.failed(slot, state, "", failure("attempt", message)).await,
            Err(_) => {
                slot.pause_for(SHORTEST_WAIT);
                Progress::Failed { message }
            }
        }
    }

    async fn attempt_from(
        &self,
        slot: &Slot,
        mut state: Issuance,
        current: Option<&Certificate>,
        reason: Reason,
    ) -> Progress {
        let _place = self.place(reason).await;
        let mut cas = in_order(slot, &state).into_iter().peekable();
        while let Some((authority, rehearsal)) = cas.next() {
            let outcome = self.attempt_at(slot, authority, rehearsal, &mut state, current, reason).await;
            let failure = match outcome {
                Ok(certificate) => return self.succeeded(slot, &certificate).await,
                Err(AttemptError::Waiting(missing)) => return self.waiting(slot, state, missing).await,
                Err(AttemptError::Failed(failure)) => failure,
            };
            let ca = &authority.ca.name;
            let under_way = state.step.order_for(&slot.request(&authority.ca)).is_some();
            let (failures, backed_off) =
                state.failure.as_ref().map_or((0, 0), |failure| (failure.failures, failure.backed_off));
            // What may succeed later has been tried for a day.
            let elsewhere = failure.class == Class::Elsewhere || failure.class == Class::Later && backed_off >= LONG;
            match cas.peek() {
                // An order that was begun is worth some patience: there may be a certificate already.
                Some((next, _)) if elsewhere && !(under_way && failures < PATIENCE) => {
                    let words = format!("{}: {}", failure.step, failure.message);
                    tracing::warn!(
                        certificate = slot.name(),
                        ca,
                        error = words,
                        next = next.ca.name,
                        "trying another CA"
                    );
                    slot.hear(format!("{ca}: {words}; going on to {}", next.ca.name));
                }
                _ => return self.failed(slot, state, ca, failure).await,
            }
        }
        // There is one at least.
        Progress::Failed { message: "no CA is configured for this certificate".into() }
    }

    /// An attempt at one CA, with a rehearsal of its first order elsewhere if there is to be one.
    async fn attempt_at(
        &self,
        slot: &Slot,
        authority: &Authority,
        rehearsal: Option<&Authority>,
        state: &mut Issuance,
        current: Option<&Certificate>,
        reason: Reason,
    ) -> Result<Certificate, AttemptError> {
        let request = slot.request(&authority.ca);
        if let Some(rehearsal) = rehearsal
            && is_rehearsed_first(&request, state, current)
        {
            slot.tell(format!("trying the order at {} first", rehearsal.ca.name));
            let backed_off = state.failure.as_ref().map_or(0, |failure| failure.backed_off);
            match self.try_at(slot, rehearsal, true, state, current, reason).await {
                Ok(_) => slot.tell(format!("{} would have issued the certificate", rehearsal.ca.name)),
                Err(AttemptError::Failed(failure)) if backed_off >= LONG || !is_about_us(&failure) => {
                    slot.tell(format!("{}: {}; going on without", rehearsal.ca.name, failure.message));
                }
                Err(AttemptError::Failed(failure)) => {
                    let message = format!(
                        "at {}, before an order at {}: {}",
                        rehearsal.ca.name, authority.ca.name, failure.message
                    );
                    return Err(AttemptError::Failed(Failure { message, class: Class::Later, ..failure }));
                }
                // Nobody should make records for an account that is there to rehearse with.
                Err(AttemptError::Waiting(_)) if slot.certificate.challenge != Challenge::Dns01 => {
                    slot.tell(format!("{} would need records of its own; going on without", rehearsal.ca.name));
                }
                Err(waiting) => return Err(waiting),
            }
            state.rehearsed = Some(request);
        }
        let outcome = self.try_at(slot, authority, false, state, current, reason).await;
        if let Err(AttemptError::Failed(failure)) = &outcome
            && failure.step == "validation"
        {
            state.rehearsed = None;
        }
        outcome
    }

    async fn try_at(
        &self,
        slot: &Slot,
        authority: &Authority,
        rehearsal: bool,
        state: &mut Issuance,
        current: Option<&Certificate>,
        reason: Reason,
    ) -> Result<Certificate, AttemptError> {
        let ca = &authority.ca.name;
        if let Err(until) = authority.breaker.pass(now())
            && reason == Reason::Due
        {
            let message = format!("{ca} has failed again and again and is left alone for a while");
            let failure = failure("account", message);
            let (retry_at, class) = (Some(until), Class::Elsewhere);
            return Err(AttemptError::Failed(Failure { retry_at, backs_off: false, class, ..failure }));
        }
        let spent =
            current.is_some_and(|current| !current.keeps_key() && state.step.key() == Some(&current.private_key));
        let mut attempt = Attempt {
            name: slot.name(),
            request: &slot.request(&authority.ca),
            authority,
            authorities: &self.shared.authorities,
            writer: &self.shared.writer,
            resolver: &self.shared.resolver,
            own: &self.shared.own,
            new_key: spent || reason == (Reason::Reissue { new_key: true }),
            deploys: slot.deploys(),
            tell: &|line| slot.tell(line),
            history: &slot.history,
            switch: &slot.switch,
            current,
            reuse_key: slot.certificate.reuse_key,
            versions: self.shared.versions,
            rehearsal,
            heard: false,
            state: std::mem::take(state),
        };
        let outcome = attempt.run().await;
        *state = attempt.state;
        match &outcome {
            Err(AttemptError::Failed(failure)) if failure.outage => {
                authority.breaker.failed(now(), random());
                authority.doubt_directory().await;
            }
            // Nothing was asked of the CA.
            Err(AttemptError::Waiting(_)) => {}
            Err(AttemptError::Failed(failure)) if !failure.backs_off => {}
            _ => authority.breaker.succeeded(),
        }
        outcome
    }

    async fn succeeded(&self, slot: &Slot, certificate: &Certificate) -> Progress {
        slot.pause_for(SHORTEST_WAIT);
        slot.memory().told_missing.clear();
        slot.offer.put(certificate);
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
        let is_news = state.missing != records;
        if is_news {
            let event = Event { message: Some(message.clone()), ..Event::new(now(), What::Failed) };
            slot.history.add(&self.shared.writer, slot.name(), event).await;
        }
        // The next attempt goes on to wait for a CA that was asked in vain.
        let failure = state.failure.take_if(|failure| failure.backed_off == 0);
        if state.missing != records || failure.is_some() {
            state.missing = records;
            if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
                tracing::error!(certificate = slot.name(), %error, "cannot keep the missing records");
            }
        }
        self.announce_failure(slot, is_news, &message).await;
        Progress::Failed { message }
    }

    async fn failed(&self, slot: &Slot, mut state: Issuance, ca: &str, failure: Failure) -> Progress {
        let (failures, backed_off) = state.failure.as_ref().map_or((0, 0), |last| (last.failures, last.backed_off));
        let backed_off = backed_off.saturating_add(failure.backs_off.into());
        let not_after = slot.memory().not_after;
        let left = not_after.map(|not_after| not_after.saturating_sub(now()));
        let wait = if failure.backs_off { back_off_within(left, backed_off, random()) } else { plan::RECHECK };
        let pause = Pause::after_failure(now(), wait, failure.retry_at, not_after);
        slot.memory().pause = Some(pause);
        let failed = Failed {
            at: pause.from,
            step: failure.step.to_owned(),
            message: failure.message,
            explanation: failure.explanation,
            failures: failures.saturating_add(1),
            backed_off,
            next_attempt: pause.until,
        };
        let message = format!("{}: {}", failed.step, failed.message);
        let next = time(failed.next_attempt);
        let known = state.failure.as_ref().is_some_and(|before| before.message == failed.message);
        if known && backed_off < LONG {
            tracing::info!(certificate = slot.name(), failures = failed.failures, %next, "failed as before");
        } else if known {
            // About once a day: nobody has done anything about it.
            let (failures, error) = (failed.failures, &failed.message);
            tracing::warn!(certificate = slot.name(), ca, failures, error, %next, "no certificate, as before");
        } else {
            let explanation = failed.explanation.as_deref().unwrap_or_default();
            tracing::warn!(
                certificate = slot.name(),
                ca,
                step = failed.step,
                error = failed.message,
                explanation,
                %next,
                "no certificate"
            );
            let event = Event {
                ca: Some(ca.to_owned()).filter(|ca| !ca.is_empty()),
                message: Some(message.clone()),
                ..Event::new(failed.at, What::Failed)
            };
            slot.history.add(&self.shared.writer, slot.name(), event).await;
        }
        state.missing.clear();
        state.failure = Some(failed);
        if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
            tracing::error!(certificate = slot.name(), %error, "cannot keep the failure of an attempt");
        }
        self.announce_failure(slot, failures == 0, &message).await;
        Progress::Failed { message }
    }
}

/// The CAs of a certificate in the order in which they are tried, the one that has an order of it first; each with the
/// one where its first order is rehearsed.
pub(super) fn in_order<'s>(slot: &'s Slot, state: &Issuance) -> Vec<(&'s Authority, Option<&'s Authority>)> {
    let rehearsals = slot.rehearsals.iter().map(Option::as_deref);
    let mut cas: Vec<_> = slot.authorities.iter().map(Arc::as_ref).zip(rehearsals).collect();
    cas.sort_by_key(|(authority, _)| state.step.order_for(&slot.request(&authority.ca)).is_none());
    cas
}

/// Whether an order for this request is tried at the CA for rehearsals first, if there is one.
pub(super) fn is_rehearsed_first(request: &Request, state: &Issuance, current: Option<&Certificate>) -> bool {
    let known = current.is_some_and(|current| current.names == request.names && current.directory == request.directory);
    !known && state.rehearsed.as_ref() != Some(request) && state.step.order_for(request).is_none()
}

/// Whether what failed at a rehearsal would fail at the CA itself too. What the rehearsal's CA is like (its profiles, its
/// limits, whom it makes accounts for, how CAA names it, that it takes its time) says nothing.
fn is_about_us(failure: &Failure) -> bool {
    match failure.step {
        "attempt" | "delegation" | "key" | "publication" | "self-check" | "store" => true,
        "validation" => failure.explanation.is_some() && !failure.outage,
        _ => false,
    }
}

/// Whether a person who asks for a certificate has it already.
pub(super) fn is_good(slot: &Slot, state: &Issuance, certificate: &Certificate) -> bool {
    plan::serves(certificate, &slot.wanted)
        && certificate.revoked.is_none()
        && now() < plan::renewal(certificate, state.renewal.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::tests::{issued, request};

    #[test]
    fn what_was_rehearsed_or_issued_before_is_not_rehearsed_again() {
        let (request, other) = (request(&["a.test"]), request(&["b.test"]));
        let nothing = Issuance::default();
        assert!(is_rehearsed_first(&request, &nothing, None));
        assert!(!is_rehearsed_first(&request, &nothing, Some(&issued(0, 9))));
        assert!(is_rehearsed_first(&other, &nothing, Some(&issued(0, 9))));
        let rehearsed = Issuance { rehearsed: Some(request.clone()), ..nothing };
        assert!(!is_rehearsed_first(&request, &rehearsed, None) && is_rehearsed_first(&other, &rehearsed, None));
    }
}
