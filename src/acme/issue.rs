//! One attempt for one certificate, at its CAs in their order; what came out is remembered and told.

use std::sync::Arc;

use super::ca::authority::Authority;
use super::ca::breaker::Held;
use super::ca::problem::Class;
use super::certificate::Certificate;
use super::history::{Event, What};
use super::order::attempt::{Attempt, LONG, save};
use super::order::delegation::Missing;
use super::order::failure::{AttemptError, Failure, failure};
use super::pause::{Pause, SHORTEST_WAIT, back_off_within, is_too_late, share_of};
use super::renewal::plan;
use super::request::Request;
use super::schedule::Reason;
use super::slot::Slot;
use super::state::{AtCa, Failed, Issuance};
use super::{Issuer, random, time};
use crate::api::Progress;
use crate::config::Challenge;
use crate::store::now;
use crate::zone::Timestamp;

/// After so many failures in a row another CA is tried although there is an order at this one.
const PATIENCE: u32 = 2;
/// Longest time until a failed self-check is looked at again, seconds.
const LONGEST_RECHECK: u64 = 30 * 60;

/// What the CAs of a certificate have said in one attempt.
#[derive(Default)]
struct Told {
    heard: Vec<AtCa>,
    /// Until when those that were not asked are left alone.
    held: Vec<Timestamp>,
    /// Those that were asked for something.
    in_vain: Vec<String>,
    /// When another CA is to be tried although there is an order at this one.
    patience: Option<Timestamp>,
}

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
            Ok((state, _)) => self.failed(slot, state, "", failure("attempt", message), Told::default()).await,
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
        let mut told = Told::default();
        let mut last = None;
        // The only one is asked when the pause after its answer is over.
        let is_one_of_many = slot.authorities.len() > 1;
        while let Some((authority, rehearsal)) = cas.next() {
            let ca = &authority.ca.name;
            let before = state.failure.clone();
            let held = match reason {
                Reason::Due => {
                    let asked = before.as_ref().filter(|_| is_one_of_many).and_then(|before| before.asked(ca));
                    authority.breaker.held(now()).or(asked)
                }
                _ => None,
            };
            let outcome = match held.filter(|held| !lapses(current, held.until)) {
                Some(held) => Err(AttemptError::Held(held)),
                None => self.attempt_at(slot, authority, rehearsal, &mut state, current, reason).await,
            };
            let under_way = state.step.order_for(&slot.request(&authority.ca)).is_some();
            let (message, words, elsewhere, patience, retry_at) = match outcome {
                Ok(certificate) => return self.succeeded(slot, &certificate).await,
                Err(AttemptError::Waiting(missing)) => return self.waiting(slot, state, missing, told).await,
                Err(AttemptError::Held(held)) => {
                    let said = before.as_ref().and_then(|before| before.at(ca));
                    let message = said.map_or_else(|| held.words(ca), |said| said.message.clone());
                    let since = before.as_ref().map_or_else(now, |before| before.at);
                    let patience = since + back_off_within(left(slot), LONG, 0);
                    // A moment is waited for, if that is all that the CA asks for.
                    let elsewhere = !held.asked || held.until > now() + SHORTEST_WAIT;
                    told.held.push(held.until);
                    (message, held.words(ca), elsewhere, patience, Some(held.until).filter(|_| held.asked))
                }
                Err(AttemptError::Failed(failure)) => {
                    let (failures, backed_off) =
                        before.as_ref().map_or((0, 0), |before| (before.failures, before.backed_off));
                    // What may succeed later has been tried for a day.
                    let elsewhere =
                        failure.class == Class::Elsewhere || failure.class == Class::Later && backed_off >= LONG;
                    let (message, retry_at) = (failure.message.clone(), failure.retry_at);
                    let words = format!("{ca}: {}: {message}", failure.step);
                    if failure.backs_off {
                        told.in_vain.push(ca.clone());
                    }
                    last = Some((ca, failure));
                    let patience = back_off_within(left(slot), backed_off + 1, 0);
                    (message, words, elsewhere, if failures < PATIENCE { now() + patience } else { 0 }, retry_at)
                }
            };
            told.heard.push(AtCa { ca: ca.clone(), at: now(), message, retry_at });
            match cas.peek() {
                // An order that was begun is worth some patience: there may be a certificate already.
                Some((next, _)) if elsewhere && !(under_way && now() < patience) => {
                    tracing::warn!(
                        certificate = slot.name(),
                        ca,
                        error = words,
                        next = next.ca.name,
                        "trying another CA"
                    );
                    slot.hear(format!("{words}; going on to {}", next.ca.name));
                }
                Some(_) if elsewhere => {
                    told.patience = Some(patience);
                    break;
                }
                _ => break,
            }
        }
        match last {
            Some((ca, failure)) => self.failed(slot, state, ca, failure, told).await,
            None => self.held(slot, state, told).await,
        }
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
                Err(AttemptError::Held(held)) => {
                    slot.tell(format!("{}; going on without", held.words(&rehearsal.ca.name)));
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
            due: reason == Reason::Due,
            pass: None,
            heard: false,
            state: std::mem::take(state),
        };
        let outcome = attempt.run().await;
        *state = attempt.state;
        let Some(pass) = attempt.pass else { return outcome };
        match &outcome {
            Err(AttemptError::Failed(failure)) if failure.outage => {
                pass.failed(now(), random());
                authority.doubt_directory().await;
            }
            Ok(_) => authority.breaker.succeeded(),
            Err(AttemptError::Failed(failure)) if failure.backs_off && pass.is_inside() => {
                authority.breaker.succeeded();
            }
            // The CA has said nothing of itself.
            Err(_) => {}
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

    /// `told`: by the CAs that were asked before this one.
    async fn waiting(&self, slot: &Slot, mut state: Issuance, missing: Vec<Missing>, mut told: Told) -> Progress {
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
        // A CA that asked to be left alone is, whatever becomes of the others; and the next attempt goes on to wait for
        // one that was asked in vain.
        let in_vain = u32::from(!told.in_vain.is_empty());
        told.leave_alone(slot, state.failure.as_ref());
        let asked = told.heard.iter().any(|one| one.retry_at.is_some());
        let words = told.words();
        let cas = all_heard(state.failure.as_ref(), told.heard);
        let failure = match state.failure.clone() {
            former if asked => {
                let former = former.unwrap_or_else(|| Failed { message: words, ..nothing_asked() });
                let (failures, backed_off) = (former.failures + in_vain, former.backed_off + in_vain);
                Some(Failed { cas, failures, backed_off, ..former })
            }
            former => former.filter(|former| former.backed_off > 0),
        };
        if state.missing != records || state.failure != failure {
            state.missing = records;
            state.failure = failure;
            if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
                tracing::error!(certificate = slot.name(), %error, "cannot keep the missing records");
            }
        }
        self.announce_failure(slot, is_news, &message).await;
        Progress::Failed { message }
    }

    /// Nothing was asked of any CA: nothing counts as failed, and what they have said before is still what is known.
    async fn held(&self, slot: &Slot, mut state: Issuance, told: Told) -> Progress {
        let now = now();
        let until = told.held.iter().copied().chain(told.patience).min().unwrap_or(now);
        let jitter = share_of(until.saturating_sub(now) / 10, u64::from(random()) << 32);
        let until = until.saturating_add(jitter);
        let pause = Pause::after_failure(now, SHORTEST_WAIT, Some(until), slot.memory().not_after);
        slot.memory().pause = Some(pause);
        let message = told.words();
        let cas = all_heard(state.failure.as_ref(), told.heard);
        let failed = match state.failure.take() {
            Some(former) => Failed { next_attempt: pause.until, cas, ..former },
            None => Failed { message: message.clone(), next_attempt: pause.until, cas, ..nothing_asked() },
        };
        tracing::info!(certificate = slot.name(), reason = message, next = %time(pause.until), "not attempted now");
        state.failure = Some(failed);
        if let Err(error) = save(&self.shared.writer, slot.name(), &state).await {
            tracing::error!(certificate = slot.name(), %error, "cannot keep when to attempt again");
        }
        Progress::Failed { message }
    }

    /// `told`: by all CAs that were tried.
    async fn failed(&self, slot: &Slot, mut state: Issuance, ca: &str, failure: Failure, mut told: Told) -> Progress {
        let (failures, backed_off) = state.failure.as_ref().map_or((0, 0), |last| (last.failures, last.backed_off));
        let not_after = slot.memory().not_after;
        if !failure.backs_off {
            // The last one is looked at again soon, the others are not asked for that.
            told.leave_alone(slot, state.failure.as_ref());
        }
        let backed_off = backed_off.saturating_add((failure.backs_off || !told.in_vain.is_empty()).into());
        let wait = match failure.backs_off {
            true => back_off_within(left(slot), backed_off, random()),
            // The CA shows its order and its challenges for it.
            false if failure.step == "self-check" => (plan::RECHECK << failures.min(8)).min(LONGEST_RECHECK),
            false => plan::RECHECK,
        };
        // One that does not say when is tried as if it were the only one.
        let retry_at = told.heard.iter().map(|one| one.retry_at).min().unwrap_or(failure.retry_at);
        let retry_at = retry_at.map(|at| told.patience.map_or(at, |patience| at.min(patience)));
        let pause = Pause::after_failure(now(), wait, retry_at, not_after);
        slot.memory().pause = Some(pause);
        let failed = Failed {
            at: pause.from,
            step: failure.step.to_owned(),
            message: if told.heard.len() > 1 { told.words() } else { failure.message },
            explanation: failure.explanation,
            failures: failures.saturating_add(1),
            backed_off,
            next_attempt: pause.until,
            cas: all_heard(state.failure.as_ref(), told.heard),
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

impl Failed {
    /// What this CA has said.
    fn at(&self, ca: &str) -> Option<&AtCa> {
        self.cas.iter().find(|one| one.ca == ca)
    }

    /// Until when this CA is to be left alone with this certificate, after what it said.
    fn asked(&self, ca: &str) -> Option<Held> {
        let said = self.at(ca)?;
        let until = Pause::after_failure(said.at, 0, said.retry_at, None).end(now());
        (now() < until).then_some(Held { until, asked: true })
    }
}

/// What was heard now, and what CAs that were not tried have said before and still holds.
fn all_heard(before: Option<&Failed>, mut heard: Vec<AtCa>) -> Vec<AtCa> {
    for one in before.map_or(&[][..], |before| &before.cas) {
        if one.retry_at.is_some_and(|at| now() < at) && heard.iter().all(|now| now.ca != one.ca) {
            heard.push(one.clone());
        }
    }
    heard
}

/// Whether the certificate in use may end for waiting until then.
fn lapses(current: Option<&Certificate>, until: Timestamp) -> bool {
    current.is_some_and(|current| is_too_late(now(), until, current.not_after))
}

/// How much life the certificate in use has left, seconds.
fn left(slot: &Slot) -> Option<u64> {
    slot.memory().not_after.map(|not_after| not_after.saturating_sub(now()))
}

/// A failure that is none: no CA was asked.
fn nothing_asked() -> Failed {
    Failed { at: now(), step: "account".into(), ..Failed::default() }
}

impl Told {
    /// What one CA said; or what each of several did.
    fn words(&self) -> String {
        match &self.heard[..] {
            [one] => one.message.clone(),
            all => all.iter().map(|one| format!("at {}: {}", one.ca, one.message)).collect::<Vec<_>>().join("; "),
        }
    }

    /// Has those that were asked in vain left alone for as long as if they were the only ones.
    fn leave_alone(&mut self, slot: &Slot, before: Option<&Failed>) {
        let backed_off = before.map_or(0, |before| before.backed_off).saturating_add(1);
        let until = now() + back_off_within(left(slot), backed_off, random());
        for one in self.heard.iter_mut().filter(|one| self.in_vain.contains(&one.ca)) {
            one.retry_at = one.retry_at.max(Some(until));
        }
    }
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
#[path = "issue_tests.rs"]
pub(super) mod tests;
