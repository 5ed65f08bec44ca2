//! What the CA sends: fetched, checked, and kept.

use instant_acme::Order;

use super::attempt::{Attempt, key_of};
use super::failure::{AttemptError, Failure, failed, failure, store_failed, useless};
use crate::acme::ca::problem::Class;
use crate::acme::ca::session::{Session, ask};
use crate::acme::certificate::{Certificate, chain};
use crate::acme::history::{Event, What};
use crate::acme::secret::Secret;
use crate::acme::state::{Issuance, Phase, Step};
use crate::store::{Document, UpdateError, Writer, now};

impl Attempt<'_> {
    /// Fetches the chain, checks it, and keeps it: certificate and state in one commit. `None` if the key was found
    /// compromised since the order was made: another order has to be, with another key.
    pub async fn download(
        &mut self,
        session: &Session,
        order: &mut Order,
    ) -> Result<Option<Certificate>, AttemptError> {
        self.enter(Phase::Downloading).await?;
        let chain = match ask!(session, order.certificate().await) {
            Ok(Some(chain)) => chain,
            Ok(None) => return Err(useless("download", format!("the order {} has no certificate", order.url()))),
            Err(error) => return Err(self.ended(("download", error)).await?),
        };
        let chain = self.preferred(session, chain).await;
        let key = self.key()?;
        let version = self.state.current.unwrap_or(0) + 1;
        let accepted = Certificate::accept(self.request, &self.authority.ca.name, &key, chain, version, now());
        let certificate = match accepted {
            Ok(certificate) => certificate,
            // An answer from something that stands before the CA: the certificate is there still.
            Err(error) if error.is_no_certificate() => {
                let class = Class::Elsewhere;
                let failure = Failure { class, outage: true, ..failure("download", error.to_string()) };
                return Err(AttemptError::Failed(failure));
            }
            Err(error) => {
                self.give_up_order().await?;
                return Err(useless("verification", error.to_string()));
            }
        };
        self.settle(true, &[]).await?;
        if self.rehearsal {
            self.state.step = Step::Idle;
            self.save().await?;
            return Ok(Some(certificate));
        }
        let _switch = self.switch.lock().await;
        if self.is_compromised(&key).await? {
            self.say("the key was reported as compromised meanwhile: ordering again, with another one".into());
            self.new_key = true;
            self.state.step = Step::Idle;
            self.save().await?;
            return Ok(None);
        }
        let rehearsed = self.state.rehearsed.take();
        let renewal = self.state.renewal.as_ref().map(|renewal| renewal.next(&certificate));
        let deploys = self.deploys;
        let state = Issuance { current: Some(version), deploys, rehearsed, renewal, ..Issuance::default() };
        let mut documents = vec![
            (Document::Certificate, key_of(self.name, version), Some(json(&certificate)?)),
            (Document::Issuance, self.name.to_owned(), Some(json(&state)?)),
        ];
        let surplus = surplus(self.writer, self.name, version, self.versions).await;
        for old in surplus.map_err(|error| store_failed(&error))? {
            documents.push((Document::Certificate, old, None));
        }
        let event = Event {
            ca: Some(self.authority.ca.name.clone()),
            serial: Some(certificate.serial.clone()),
            not_after: Some(certificate.not_after),
            ..Event::new(now(), What::Issued)
        };
        let kept = self.history.add_with(self.writer, self.name, event, documents).await;
        kept.map_err(|error| store_failed(&error))?;
        self.state = state;
        Ok(Some(certificate))
    }

    /// Whether this is the key of the certificate in use, and others may know it, as the store says now.
    async fn is_compromised(&self, key: &Secret) -> Result<bool, AttemptError> {
        let Some(version) = self.state.current else { return Ok(false) };
        let text = self.writer.document(Document::Certificate, &key_of(self.name, version)).await;
        let Some(text) = text.map_err(|error| store_failed(&error))? else { return Ok(false) };
        let current: Certificate = serde_json::from_str(&text).map_err(|error| failed("store", error.to_string()))?;
        Ok(current.compromised && current.private_key == *key)
    }

    /// The chain that leads to the root that is wanted, if the CA offers one beside the one that it sent.
    async fn preferred(&self, session: &Session, chain: String) -> String {
        let Some(root) = &self.authority.ca.preferred_chain else { return chain };
        let (chain, found) = chain::preferred(session.chains(chain).await, Some(root));
        if !found {
            self.say(format!("the CA has no chain to `{root}`, taking the one that it sends first"));
        }
        chain
    }
}

/// The keys of the documents that are too many when this version comes and so many may stay: the version that just
/// became too old, and those before it that are left from a time when more were kept.
async fn surplus(writer: &Writer, name: &str, version: u64, kept: usize) -> Result<Vec<String>, UpdateError> {
    let mut keys = Vec::new();
    let newest = version.saturating_sub(kept as u64);
    for key in (1..=newest).rev().map(|old| key_of(name, old)) {
        if writer.document(Document::Certificate, &key).await?.is_none() {
            break;
        }
        keys.push(key);
    }
    Ok(keys)
}

fn json(value: &impl serde::Serialize) -> Result<String, AttemptError> {
    serde_json::to_string(value).map_err(|error| failed("store", error.to_string()))
}
