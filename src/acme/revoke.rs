//! Revocation of a certificate (RFC 8555 section 7.6), by the account that it was issued to or by its own key, and what
//! follows: another certificate in its place, when that is asked for.
//!
//! What is asked for is kept with the certificate before the CA hears of it, so that neither a crash nor a lost answer
//! leaves a revoked certificate, or a key that others know, in use: the CA is asked again until it has decided.

mod intention;

use std::sync::Arc;
use std::time::Duration;

use instant_acme::Error;
use serde::Serialize;
use tokio::sync::mpsc;
use x509_parser::pem::Pem;

use super::asked::Listener;
use super::ca::authority::Authority;
use super::ca::error::{CaError, SessionError, told};
use super::ca::jws::{BadKey, Key, Signer, base64url, post};
use super::ca::rollover::existing;
use super::certificate::{Certificate, Revoking};
use super::deploy::webhook::Kind;
use super::history::{Event, What};
use super::order::attempt::key_of;
use super::schedule::Reason;
use super::slot::Slot;
use super::{Issuer, time};
use crate::api::{NewRevocation, Progress, RevocationReason, RevokedBy};
use crate::store::{Document, StoreError, UpdateError, now};
use crate::zone::Timestamp;
use intention::changed;

/// How often a CA that has not been heard to have decided is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// No moment of this process.
const NEVER: Timestamp = Timestamp::MAX;

/// Why there is nothing to revoke.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("the configuration has no [[certificate]] with the name `{0}`")]
    Unknown(String),
    #[error("`{0}` has no certificate yet")]
    None(String),
    #[error("no certificate of `{name}` that is kept has the serial {serial}; there are {}", known.join(", "))]
    Serial { name: String, serial: String, known: Vec<String> },
    #[error(
        "the certificate of `{name}` with the serial {serial} is not in use (any more), that is the one with the serial \
         {current}: nothing was revoked; leave out the reissue to revoke it"
    )]
    NotInUse { name: String, serial: String, current: String },
    #[error(transparent)]
    Store(#[from] UpdateError),
}

/// Why the CA has not revoked a certificate.
#[derive(Debug, thiserror::Error)]
enum NotRevoked {
    #[error(
        "the certificate is from `{name}` ({directory}), which the configuration does not have any more: put its [[ca]] back \
         and ask again"
    )]
    NoCa { name: String, directory: String },
    #[error("there is no account at {0} any more: let the certificate's own key sign, with `--by key`")]
    NoAccount(String),
    #[error("{0} says of no way to revoke certificates")]
    NotOffered(String),
    #[error("the stored certificate cannot be read: {0}")]
    Damaged(String),
    #[error("the key of the certificate: {0}")]
    Key(#[from] BadKey),
    #[error("{0}; the CA was not asked")]
    NotKept(UpdateError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Body of the request (RFC 8555 section 7.6). A CRL has no reason code where it is unspecified (RFC 5280 section
/// 5.3.1).
#[derive(Serialize)]
struct Request {
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u8>,
}

/// What the CA says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Revoked,
    /// It was before.
    Already,
}

/// What becomes of a revocation that the CA has not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It is certain that nothing was revoked, and asking the same again is of no use.
    GiveUp,
    /// The CA is asked again, from this moment on.
    Ask { from: Timestamp },
    /// Asking again is of no use in this process, but what was asked for is not decided.
    Wait,
}

impl Issuer {
    /// Revokes the certificate in use, or an older one that is kept, and tells each step; the last line is `Done` or
    /// `Failed`. Goes on when nobody listens any more. Must be called inside the runtime.
    pub async fn revoke(&self, name: &str, wanted: NewRevocation) -> Result<mpsc::Receiver<Progress>, RevokeError> {
        let slot = self.slot(name).ok_or_else(|| RevokeError::Unknown(name.to_owned()))?.clone();
        let kept = self.versions(&slot).await?;
        let current = kept.first().ok_or_else(|| RevokeError::None(name.to_owned()))?;
        let certificate = match &wanted.serial {
            None => current,
            Some(serial) => kept.iter().find(|kept| plain(&kept.serial) == plain(serial)).ok_or_else(|| {
                let known = kept.iter().map(|kept| kept.serial.clone()).collect();
                RevokeError::Serial { name: name.to_owned(), serial: serial.clone(), known }
            })?,
        };
        let (certificate, in_use) = (certificate.clone(), certificate.version == current.version);
        if wanted.reissue && !in_use {
            let (serial, current) = (certificate.serial, current.serial.clone());
            return Err(RevokeError::NotInUse { name: name.to_owned(), serial, current });
        }
        Ok(self.telling(move |issuer, listener| async move {
            let revoked = issuer.revoke_one(&slot, &certificate, in_use, &wanted, &listener).await;
            issuer.changed(slot.clone());
            match revoked {
                Ok(message) if wanted.reissue => {
                    listener.step(message);
                    issuer.reissue_heard(&slot, true, &listener).await
                }
                Ok(message) => Progress::Done { message, path: issuer.path(&slot) },
                Err(error) => Progress::Failed { message: error.words(wanted.by) },
            }
        }))
    }

    /// Obtains another certificate, whatever the one in use is like, and tells each step as [`Issuer::issue`] does. An
    /// attempt that is under way is waited for first. `None` if the configuration has none of this name.
    pub fn reissue(&self, name: &str, new_key: bool) -> Option<mpsc::Receiver<Progress>> {
        let slot = self.slot(name)?.clone();
        Some(self.telling(move |issuer, listener| async move { issuer.reissue_heard(&slot, new_key, &listener).await }))
    }

    async fn reissue_heard(&self, slot: &Arc<Slot>, new_key: bool, listener: &Listener) -> Progress {
        loop {
            let (mut lines, running) = slot.begin_heard();
            let ours = running.is_some();
            if let Some(running) = running {
                self.start(running, Reason::Reissue { new_key });
            }
            let outcome = loop {
                match lines.recv().await {
                    Some(Progress::Step { message }) => listener.step(message),
                    outcome => break outcome,
                }
            };
            match outcome {
                Some(outcome) if ours => return outcome,
                None => return Progress::Failed { message: "the order ended without an outcome".into() },
                Some(Progress::Done { message, .. } | Progress::Failed { message } | Progress::Step { message }) => {
                    listener.step(format!("{message}; now for the one that was asked for"));
                }
            }
        }
    }

    /// What to tell about a certificate that is revoked now, in the store too.
    async fn revoke_one(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        in_use: bool,
        wanted: &NewRevocation,
        listener: &Listener,
    ) -> Result<String, NotRevoked> {
        let authority = self.issuer_of(certificate)?;
        let ca = &authority.ca.name;
        let wanted = self.intend(slot, certificate, wanted).await.map_err(NotRevoked::NotKept)?;
        if wanted.by == RevokedBy::Account && authority.signing.try_read().is_err() {
            listener.step(format!("waiting until the account at {ca} has its new key"));
        }
        listener.step(format!("asking {ca} to revoke the certificate with the serial {}", certificate.serial));
        let (outcome, others) = self.settle_one(slot, authority, certificate, &wanted).await?;
        let (name, serial) = (slot.name(), &certificate.serial);
        let mut message = match outcome {
            Outcome::Revoked => format!("the certificate with the serial {serial} is revoked ({})", wanted.reason),
            Outcome::Already => format!("the certificate with the serial {serial} was revoked before"),
        };
        if !others.is_empty() {
            message += &format!("; {} had the same key: revoke them too, with --serial", others.join(", "));
        }
        if in_use && !wanted.reissue {
            message += &format!(
                "; it stays in use until the next renewal, which the CA may ask for at once: `acmezone cert reissue {name}` puts another in its place now"
            );
        }
        Ok(message)
    }

    /// Asks CAs again about revocations of which it is not known what became of them: those that a server before this
    /// one was asked for, and those whose answer was lost. Never ends.
    pub(super) async fn settle_revocations(&self) {
        for slot in &self.shared.slots {
            self.settle(slot).await;
        }
        self.tell_left_behind().await;
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            for slot in self.shared.slots.iter().filter(|slot| slot.memory().revoking) {
                self.settle(slot).await;
            }
        }
    }

    /// Tells of revocations that nobody asks for any more: the configuration has no certificate of the name.
    async fn tell_left_behind(&self) {
        let documents = match self.shared.writer.documents(Document::Certificate).await {
            Ok(documents) => documents,
            Err(error) => {
                tracing::error!(%error, "cannot see whether revocations were asked for");
                return;
            }
        };
        let is_configured = |name: &str| self.slot(name).is_some();
        for (name, kept, wanted) in intention::left_behind(&documents, is_configured, now()) {
            let (serial, reason) = (&kept.serial, wanted.reason);
            tracing::warn!(
                certificate = name,
                serial,
                %reason,
                "it is not known whether the certificate is revoked, as was asked for, and the configuration does not have \
                 it any more: put its [[certificate]] back, and the CA is asked again"
            );
        }
    }

    async fn settle(&self, slot: &Arc<Slot>) {
        let name = slot.name();
        slot.memory().revoking = false;
        let kept = match self.versions(slot).await {
            Ok(kept) => kept,
            Err(error) => {
                // What cannot be read now may be later, but for what is damaged.
                slot.memory().revoking = !matches!(error, UpdateError::Store(StoreError::Damaged(_)));
                tracing::error!(certificate = name, %error, "cannot see whether a revocation was asked for");
                return;
            }
        };
        for certificate in kept {
            let (Some(wanted), serial) = (certificate.revoking, &certificate.serial) else { continue };
            let from = slot.memory().revocations.get(&certificate.version).copied();
            if let Some(from) = from.filter(|from| now() < *from) {
                slot.memory().revoking |= from != NEVER;
                continue;
            }
            tracing::info!(certificate = name, serial, "asking again for a revocation whose outcome is not known");
            if let Ok(authority) = self.issuer_of(&certificate) {
                // Said by itself.
                let _ = self.settle_one(slot, authority, &certificate, &wanted).await;
                self.changed(slot.clone());
            } else {
                let ca = &certificate.ca;
                tracing::warn!(
                    certificate = name,
                    serial,
                    ca,
                    "a revocation waits for a CA that is not configured: put its [[ca]] back"
                );
            }
        }
    }

    /// Asks the CA for what is kept with the certificate, and keeps what it has decided.
    async fn settle_one(
        &self,
        slot: &Slot,
        authority: &Authority,
        certificate: &Certificate,
        wanted: &Revoking,
    ) -> Result<(Outcome, Vec<String>), NotRevoked> {
        let (name, serial) = (slot.name(), &certificate.serial);
        let error = match self.ask_for_revocation(authority, certificate, wanted).await {
            Ok(outcome) => match self.remember(slot, certificate, wanted, outcome).await {
                Ok(others) => {
                    tracing::info!(certificate = name, serial, reason = %wanted.reason, ?outcome, "revoked");
                    return Ok((outcome, others));
                }
                Err(error) => NotRevoked::Session(error.into()),
            },
            Err(error) => error,
        };
        tracing::warn!(certificate = name, serial, error = error.words(wanted.by), "not revoked");
        let from = match error.next() {
            Next::GiveUp if self.give_up(slot, certificate, wanted, &error).await.is_ok() => return Err(error),
            Next::GiveUp => 0,
            Next::Ask { from } => from,
            Next::Wait => NEVER,
        };
        let mut memory = slot.memory();
        memory.revoking |= from != NEVER;
        memory.revocations.insert(certificate.version, from);
        drop(memory);
        Err(error)
    }

    async fn ask_for_revocation(
        &self,
        authority: &Authority,
        certificate: &Certificate,
        wanted: &Revoking,
    ) -> Result<Outcome, NotRevoked> {
        let ca = &authority.ca.name;
        let request = Request {
            certificate: base64url(&der(certificate)?),
            reason: Some(wanted.reason.code()).filter(|code| *code != 0),
        };
        let http = authority.http().map_err(|error| SessionError::Ca(error.into()))?;
        let directory = authority.directory(&http).await.map_err(|error| SessionError::Ca(error.into()))?;
        let url = directory.revoke_cert.as_ref().ok_or_else(|| NotRevoked::NotOffered(ca.clone()))?;
        let nonces = &directory.new_nonce;
        let answer = match wanted.by {
            RevokedBy::Key => {
                let key = Key::from_pem(certificate.private_key.reveal())?;
                post(&http, nonces, url, (&key, Signer::Key), Some(&request)).await
            }
            RevokedBy::Account => {
                let _signing = authority.signing.read().await;
                let holder = existing(authority, &http, &directory, &self.shared.writer).await?;
                let holder = holder.ok_or_else(|| NotRevoked::NoAccount(ca.clone()))?;
                post(&http, nonces, url, (&holder.key, Signer::Account(&holder.account)), Some(&request)).await
            }
        };
        match answer {
            Ok(_) => Ok(Outcome::Revoked),
            Err(Error::Api(problem)) if is_already_revoked(&problem) => Ok(Outcome::Already),
            Err(error) => Err(SessionError::Ca(told(error, &http)).into()),
        }
    }

    /// Keeps what is about to be asked of the CA, and that the key is not to be used again, if that is so.
    async fn intend(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        wanted: &NewRevocation,
    ) -> Result<Revoking, UpdateError> {
        let _switch = slot.switch.lock().await;
        let kept = self.versions(slot).await?;
        let (changed, revoking) =
            changed(slot.name(), kept, |kept| intention::begin(kept, certificate, wanted, now()))?;
        self.shared.writer.put_documents(changed).await?;
        Ok(revoking)
    }

    /// Forgets what was asked for: the CA does not do it.
    async fn give_up(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        wanted: &Revoking,
        error: &NotRevoked,
    ) -> Result<(), UpdateError> {
        let _switch = slot.switch.lock().await;
        let kept = self.versions(slot).await?;
        let (changed, ()) = changed(slot.name(), kept, |kept| intention::give_up(kept, certificate, wanted))?;
        let event = Event {
            ca: Some(certificate.ca.clone()),
            serial: Some(certificate.serial.clone()),
            message: Some(error.to_string()),
            ..Event::new(now(), What::NotRevoked)
        };
        slot.history.add_with(&self.shared.writer, slot.name(), event, changed).await
    }

    /// Keeps what has happened with the certificate, in one commit with its event for the history and the webhook; the
    /// serials of those that have its key, which others know, and are not revoked.
    async fn remember(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        wanted: &Revoking,
        outcome: Outcome,
    ) -> Result<Vec<String>, UpdateError> {
        let (mut others, mut is_news) = (Vec::new(), false);
        let _switch = slot.switch.lock().await;
        let (mut changed, ()) = changed(slot.name(), self.versions(slot).await?, |kept| {
            for kept in kept {
                if kept.version == certificate.version {
                    let known = kept.revoked.filter(|_| outcome == Outcome::Already);
                    is_news = known.is_none();
                    intention::end(kept, wanted, known, now());
                } else if wanted.reason == RevocationReason::KeyCompromise
                    && kept.private_key == certificate.private_key
                    && kept.revoked.is_none()
                    && now() < kept.not_after
                {
                    others.push(kept.serial.clone());
                }
            }
        })?;
        let (writer, reason) = (&self.shared.writer, Some(wanted.reason.to_string()));
        if !is_news {
            writer.put_documents(changed).await?;
            return Ok(others);
        }
        let announcement = self.announcement(slot, Kind::Revoked, certificate, reason.clone()).await?;
        if let Some(announcement) = &announcement {
            changed.push(announcement.document(slot)?);
        }
        let event = Event {
            ca: Some(certificate.ca.clone()),
            serial: Some(certificate.serial.clone()),
            message: reason,
            ..Event::new(now(), What::Revoked)
        };
        slot.history.add_with(writer, slot.name(), event, changed).await?;
        if let Some(announcement) = announcement {
            self.announced(announcement);
        }
        Ok(others)
    }

    /// The versions of a certificate that are kept, the one in use first.
    async fn versions(&self, slot: &Slot) -> Result<Vec<Certificate>, UpdateError> {
        let (_, Some(current)) = self.load(slot).await? else { return Ok(Vec::new()) };
        let mut version = current.version;
        let mut versions = vec![current];
        while version > 1 {
            version -= 1;
            let key = key_of(slot.name(), version);
            let Some(text) = self.shared.writer.document(Document::Certificate, &key).await? else { break };
            versions.push(
                serde_json::from_str(&text).map_err(|error| {
                    UpdateError::Store(StoreError::Damaged(format!("the certificate {key}: {error}")))
                })?,
            );
        }
        Ok(versions)
    }

    /// The CA that a certificate is from, under whatever name and at whatever place it is configured now.
    fn issuer_of(&self, certificate: &Certificate) -> Result<&Arc<Authority>, NotRevoked> {
        let all = &self.shared.authorities;
        let is_it = |authority: &&Arc<Authority>| authority.ca.directory == certificate.directory;
        let same_name = all.iter().filter(is_it).find(|authority| authority.ca.name == certificate.ca);
        same_name
            .or_else(|| all.iter().find(is_it))
            .ok_or_else(|| NotRevoked::NoCa { name: certificate.ca.clone(), directory: certificate.directory.clone() })
    }
}

impl NotRevoked {
    /// What becomes of what was asked for.
    fn next(&self) -> Next {
        match self {
            NotRevoked::Session(SessionError::Ca(error)) if !error.is_final() => {
                Next::Ask { from: error.retry_at().unwrap_or_default() }
            }
            NotRevoked::Session(SessionError::Store(UpdateError::Store(StoreError::Damaged(_)))) => Next::Wait,
            NotRevoked::Session(SessionError::Store(_)) => Next::Ask { from: 0 },
            _ => Next::GiveUp,
        }
    }

    /// For whoever asked: what to do, too.
    fn words(&self, by: RevokedBy) -> String {
        let mut words = self.to_string();
        if let NotRevoked::Session(SessionError::Ca(error)) = self {
            let is_unauthorized = matches!(error, CaError::Refused(refusal) if refusal.is("unauthorized"));
            if by == RevokedBy::Account && (is_unauthorized || error.is_unknown_account()) {
                words += "; if the certificate was issued to another account, let its own key sign, with `--by key`";
            }
            if let Some(at) = error.retry_at() {
                words += &format!("; the CA wants to be asked again at {} and not before", time(at));
            }
        }
        words += match self.next() {
            Next::GiveUp => "",
            Next::Ask { .. } => {
                "; whether it is revoked all the same is not known: the server asks again until the CA answers"
            }
            Next::Wait if by == RevokedBy::Account => {
                "; what was asked for is kept, and not asked again before the next start: let the certificate's own key \
                 sign, with `--by key`"
            }
            Next::Wait => "; what was asked for is kept, and not asked again before the next start",
        };
        words
    }
}

fn is_already_revoked(problem: &instant_acme::Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:alreadyRevoked")
}

/// The certificate itself, without its chain.
fn der(certificate: &Certificate) -> Result<Vec<u8>, NotRevoked> {
    let (leaf, _) = certificate.leaf_and_rest();
    let pem = Pem::iter_from_buffer(leaf.as_bytes()).next();
    let pem = pem.ok_or_else(|| NotRevoked::Damaged("it is empty".into()))?;
    Ok(pem.map_err(|error| NotRevoked::Damaged(error.to_string()))?.contents)
}

/// A serial number as people write it, for comparison.
fn plain(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).collect();
    digits.trim_start_matches('0').to_ascii_lowercase()
}

impl From<CaError> for NotRevoked {
    fn from(error: CaError) -> NotRevoked {
        NotRevoked::Session(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::ca::problem::Refusal;
    use crate::acme::certificate::tests::certificate;
    use crate::acme::issue::tests::World;
    use crate::acme::state::Issuance;
    use crate::store::Body;

    #[test]
    fn a_serial_is_found_however_it_is_written() {
        for written in ["04a1ff", "4A1FF", "04:A1:FF", "00 04 a1 ff"] {
            assert_eq!(plain(written), "4a1ff", "{written}");
        }
    }

    #[test]
    fn only_a_final_answer_ends_a_revocation_rfc8555_6_7() {
        let refused = |kind: &str, status: u16, retry_at| {
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            let refusal = Refusal { kind, status: Some(status), retry_at, ..Refusal::default() };
            NotRevoked::from(CaError::Refused(refusal))
        };
        let damaged = UpdateError::Store(StoreError::Damaged("the account".into()));
        let damaged = NotRevoked::Session(SessionError::Store(damaged));
        let no_ca = NotRevoked::NoCa { name: "c".into(), directory: "https://c/".into() };
        for (error, next) in [
            (refused("unauthorized", 403, Some(9)), Next::GiveUp),
            (refused("rateLimited", 429, Some(9)), Next::Ask { from: 9 }),
            (refused("malformed", 408, None), Next::Ask { from: 0 }),
            (refused("badNonce", 400, None), Next::Ask { from: 0 }),
            (refused("userActionRequired", 403, None), Next::Ask { from: 0 }),
            (refused("serverInternal", 500, None), Next::Ask { from: 0 }),
            (damaged, Next::Wait),
            (no_ca, Next::GiveUp),
        ] {
            assert_eq!(error.next(), next, "{error:?}");
            let words = error.words(RevokedBy::Account);
            assert_eq!(words.contains("the server asks again"), matches!(next, Next::Ask { .. }), "{words}");
            assert_eq!(
                words.contains("with `--by key`"),
                !matches!(next, Next::Ask { .. }) && !words.contains("[[ca]]")
            );
        }
    }

    #[tokio::test]
    async fn a_ca_is_not_asked_again_before_it_wants_to_be() {
        let world = World::new(&["a.test"]);
        let issuer = &world.issuer;
        let slot = issuer.slot("a.test").unwrap();
        let directory = slot.authorities[0].ca.directory.clone();
        let (reason, by) = (RevocationReason::Superseded, RevokedBy::Key);
        let revoking = Some(Revoking { since: 1, reason, by, reissue: false, spends_key: true });
        let kept = Certificate { directory, revoking, ..certificate(1) };
        let state = Issuance { current: Some(1), ..Issuance::default() };
        let documents = vec![
            (Document::Certificate, key_of("a.test", 1), Some(Body::of(&kept).unwrap())),
            (Document::Issuance, "a.test".into(), Some(Body::of(&state).unwrap())),
        ];
        issuer.shared.writer.put_documents(documents).await.unwrap();
        let later = now() + 1000;
        // Nobody listens there: whoever is asked is asked again.
        for (from, becomes, revoking) in [(later, later, true), (NEVER, NEVER, false), (1, 0, true)] {
            slot.memory().revocations.insert(1, from);
            issuer.settle(slot).await;
            let memory = slot.memory();
            assert_eq!((memory.revocations[&1], memory.revoking), (becomes, revoking));
        }
    }

    #[test]
    fn an_unspecified_reason_is_left_out_rfc5280_5_3_1() {
        let request = Request { certificate: "AA".into(), reason: None };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"certificate":"AA"}"#);
    }
}
