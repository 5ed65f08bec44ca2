//! Revocation of a certificate (RFC 8555 section 7.6), by the account that it was issued to or by its own key, and what
//! follows: another certificate in its place, when that is asked for.

use std::sync::Arc;

use instant_acme::Error;
use serde::Serialize;
use tokio::sync::mpsc;
use x509_parser::pem::Pem;

use super::Issuer;
use super::asked::Listener;
use super::ca::authority::Authority;
use super::ca::error::{CaError, SessionError, told};
use super::ca::jws::{BadKey, Key, Signer, base64url, post};
use super::ca::rollover::existing;
use super::certificate::{Certificate, Revoked};
use super::deploy::webhook::Kind;
use super::history::{Event, What};
use super::order::attempt::key_of;
use super::schedule::Reason;
use super::slot::Slot;
use crate::api::{NewRevocation, Progress, RevocationReason, RevokedBy};
use crate::store::{Document, StoreError, UpdateError, now};

/// Why there is nothing to revoke.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("the configuration has no [[certificate]] with the name `{0}`")]
    Unknown(String),
    #[error("`{0}` has no certificate yet")]
    None(String),
    #[error("no certificate of `{name}` that is kept has the serial {serial}; there are {}", known.join(", "))]
    Serial { name: String, serial: String, known: Vec<String> },
    #[error(transparent)]
    Store(#[from] UpdateError),
}

/// Why the CA has not revoked a certificate.
#[derive(Debug, thiserror::Error)]
enum NotRevoked {
    #[error(
        "the certificate is from `{name}` ({directory}), which the configuration does not have any more: put its [[ca]] back"
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
        Ok(self.telling(move |issuer, listener| async move {
            let revoked = issuer.revoke_one(&slot, &certificate, in_use, &wanted, &listener).await;
            issuer.changed(slot.clone());
            match revoked {
                Ok(message) if wanted.reissue && in_use => {
                    listener.step(message);
                    issuer.reissue_heard(&slot, true, &listener).await
                }
                Ok(message) => Progress::Done { message, path: issuer.path(&slot) },
                Err(error) => {
                    tracing::warn!(certificate = slot.name(), serial = certificate.serial, %error, "not revoked");
                    Progress::Failed { message: error.to_string() }
                }
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
        listener.step(format!("asking {ca} to revoke the certificate with the serial {}", certificate.serial));
        let outcome = self.ask_for_revocation(authority, certificate, wanted).await?;
        let others = self.remember(slot, certificate, wanted, outcome).await.map_err(SessionError::from)?;
        let (name, serial) = (slot.name(), &certificate.serial);
        tracing::info!(certificate = name, serial, reason = %wanted.reason, ?outcome, "revoked");
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

    async fn ask_for_revocation(
        &self,
        authority: &Authority,
        certificate: &Certificate,
        wanted: &NewRevocation,
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

    /// Keeps what has happened with the certificate, and that its key is known to others with all that have it; the
    /// serials of those that are not revoked.
    async fn remember(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        wanted: &NewRevocation,
        outcome: Outcome,
    ) -> Result<Vec<String>, UpdateError> {
        let compromised = wanted.reason == RevocationReason::KeyCompromise;
        let (mut documents, mut others) = (Vec::new(), Vec::new());
        let switch = slot.switch.lock().await;
        for mut kept in self.versions(slot).await? {
            let before = kept.clone();
            if kept.version == certificate.version {
                let known = kept.revoked.filter(|_| outcome == Outcome::Already);
                let (at, reason) = known.map_or((now(), wanted.reason), |known| (known.at, known.reason));
                let reissue = wanted.reissue || kept.revoked.is_some_and(|known| known.reissue);
                kept.revoked = Some(Revoked { at, reason, reissue });
            }
            if compromised && kept.private_key == certificate.private_key {
                kept.compromised = true;
                if kept.revoked.is_none() && now() < kept.not_after {
                    others.push(kept.serial.clone());
                }
            }
            if kept != before {
                let text = serde_json::to_string(&kept).map_err(|error| StoreError::Failed(error.to_string()));
                documents.push((
                    Document::Certificate,
                    key_of(slot.name(), kept.version),
                    Some(text.map_err(UpdateError::Store)?),
                ));
            }
        }
        let (writer, name) = (&self.shared.writer, slot.name());
        if outcome == Outcome::Revoked {
            let event = Event {
                ca: Some(certificate.ca.clone()),
                serial: Some(certificate.serial.clone()),
                message: Some(wanted.reason.to_string()),
                ..Event::new(now(), What::Revoked)
            };
            slot.history.add_with(writer, name, event, documents).await?;
            drop(switch);
            let reason = Some(wanted.reason.to_string());
            self.announce(slot, Kind::Revoked, Some(certificate), reason).await;
        } else {
            writer.put_documents(documents).await?;
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

    #[test]
    fn a_serial_is_found_however_it_is_written() {
        for written in ["04a1ff", "4A1FF", "04:A1:FF", "00 04 a1 ff"] {
            assert_eq!(plain(written), "4a1ff", "{written}");
        }
    }

    #[test]
    fn an_unspecified_reason_is_left_out_rfc5280_5_3_1() {
        let request = Request { certificate: "AA".into(), reason: None };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"certificate":"AA"}"#);
    }
}
