//! What the CA sends: fetched, checked, and kept.

use std::time::Duration;

use instant_acme::Order;
use tokio::time::sleep;

use super::attempt::{Attempt, key_of};
use super::failure::{AttemptError, Failure, ca_failed, failed, failure, store_failed, useless};
use crate::acme::ca::problem::Class;
use crate::acme::ca::session::{Session, ask};
use crate::acme::certificate::{self, BadCertificate, Certificate, chain};
use crate::acme::history::{Event, What};
use crate::acme::secret::Secret;
use crate::acme::state::{Issuance, Phase, Step};
use crate::store::{Body, Document, UpdateError, Writer, now};

/// When a certificate that came alone is fetched again.
const AGAIN: Duration = Duration::from_secs(1);

impl Attempt<'_> {
    /// Fetches the chain, checks it, and keeps it: certificate and state in one commit. `None` if the key was found
    /// compromised since the order was made: another order has to be, with another key.
    pub async fn download(
        &mut self,
        session: &Session,
        order: &mut Order,
    ) -> Result<Option<Certificate>, AttemptError> {
        self.enter(Phase::Downloading).await?;
        let key = self.key()?;
        let version = self.state.current.unwrap_or(0) + 1;
        let mut certificate = match self.fetch(session, order, &key, version).await? {
            Ok(certificate) => certificate,
            Err((error, message)) => return Err(self.not_taken(&error, message).await?),
        };
        if certificate.is_alone() {
            // The rest may have been lost on its way. A root that issues for servers itself has no more to send.
            sleep(AGAIN).await;
            // Whatever comes now: this one is good.
            if let Ok(Ok(again)) = self.fetch(session, order, &key, version).await {
                certificate = again;
            }
        }
        if certificate.is_alone() {
            let message = "the CA sends the certificate without the one of its issuer, and nothing better when asked \
                           again: programs that do not have that one will not trust it";
            tracing::warn!(certificate = self.name, ca = self.authority.ca.name, "{message}");
            self.say(message.into());
        }
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

    /// Has the CA send the certificate, and looks whether it is what was asked for; else why not, for people too.
    async fn fetch(
        &self,
        session: &Session,
        order: &mut Order,
        key: &Secret,
        version: u64,
    ) -> Result<Result<Certificate, (BadCertificate, String)>, AttemptError> {
        let sent = match ask!(session, order.certificate().await) {
            Ok(Some(sent)) => sent,
            Ok(None) => return Err(useless("download", format!("the order {} has no certificate", order.url()))),
            Err(error) => return Err(ca_failed("download", &error)),
        };
        let serial = certificate::serial(&sent);
        match self.choose(session, sent, key, version).await {
            Ok(certificate) => Ok(Ok(certificate)),
            Err(error) => {
                let message = match serial {
                    Some(serial) => format!("{error} (its serial number is {serial})"),
                    None => error.to_string(),
                };
                Ok(Err((error, message)))
            }
        }
    }

    /// Of the chains that the CA offers, the one that leads to the wanted root; of the others, the first that holds. An
    /// error is that of the chain which the CA sends by itself.
    async fn choose(
        &self,
        session: &Session,
        sent: String,
        key: &Secret,
        version: u64,
    ) -> Result<Certificate, BadCertificate> {
        let ca = &self.authority.ca;
        let accept = |chain: String| Certificate::accept(self.request, &ca.name, key, chain, version, now());
        let first = accept(sent.clone());
        if ca.preferred_chain.is_none() && first.as_ref().is_ok_and(|first| !first.is_alone()) {
            return first;
        }
        let mut chains = session.chains(sent).await;
        if let Some(root) = &ca.preferred_chain {
            let (ordered, found) = chain::in_order(chains, root);
            if !found {
                self.say(format!("the CA has no chain to `{root}`, taking the one that it sends first"));
            }
            chains = ordered;
        }
        let (mut alone, mut passed_over) = (None, false);
        for chain in chains {
            let root = chain::root_of(&chain).unwrap_or_default();
            match accept(chain) {
                Ok(certificate) if certificate.is_alone() => alone = alone.or(Some(certificate)),
                Ok(certificate) => {
                    if passed_over {
                        self.say(format!("taking the chain to `{root}` instead"));
                    }
                    return Ok(certificate);
                }
                Err(error) => {
                    passed_over = true;
                    self.say(format!("the chain to `{root}` is not taken: {error}"));
                }
            }
        }
        alone.map_or(first, Ok)
    }

    /// What it means that this is not taken. A certificate is issued then, and counts.
    async fn not_taken(&mut self, error: &BadCertificate, message: String) -> Result<AttemptError, AttemptError> {
        // An answer from something that stands before the CA: the certificate is there still.
        if error.is_no_certificate() {
            let class = Class::Elsewhere;
            return Ok(AttemptError::Failed(Failure { class, outage: true, ..failure("download", message) }));
        }
        // It is there when our clock is right.
        if !error.is_early() {
            self.end_order(true, &[]).await?;
        }
        // Another CA's certificate has such dates too.
        let class = if matches!(error, BadCertificate::NotNow { .. }) { Class::Person } else { Class::Elsewhere };
        Ok(AttemptError::Failed(Failure { class, ..failure("verification", message) }))
    }
}

/// The keys of the documents that are too many when this version comes and so many may stay: the version that just
/// became too old, and those before it that are left from a time when more were kept. One that is still to be revoked
/// stays until it expires, and so do those after it: versions are found without gaps.
async fn surplus(writer: &Writer, name: &str, version: u64, kept: usize) -> Result<Vec<String>, UpdateError> {
    let mut keys = Vec::new();
    let newest = version.saturating_sub(kept as u64);
    for key in (1..=newest).rev().map(|old| key_of(name, old)) {
        let Some(text) = writer.document(Document::Certificate, &key).await? else { break };
        keys.push(key);
        let old = serde_json::from_str::<Certificate>(&text);
        if old.is_ok_and(|old| old.revoking.is_some() && now() < old.not_after) {
            keys.clear();
        }
    }
    Ok(keys)
}

fn json(value: &impl serde::Serialize) -> Result<Body, AttemptError> {
    Body::of(value).map_err(|error| failed("store", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::certificate::Revoking;
    use crate::acme::certificate::tests::issued;
    use crate::acme::issue::tests::World;
    use crate::api::{RevocationReason, RevokedBy};

    #[tokio::test]
    async fn an_old_version_that_is_to_be_revoked_stays_with_those_after_it() {
        let (reason, by) = (RevocationReason::KeyCompromise, RevokedBy::Account);
        let revoking = Some(Revoking { since: 1, reason, by, reissue: false, spends_key: false });
        for (not_after, too_many) in [(now() + 1000, vec!["a/1"]), (1, vec!["a/4", "a/3", "a/2", "a/1"])] {
            let world = World::new(&["a"]);
            let writer = world.writer();
            let document = |version: u64| {
                let revoking = revoking.filter(|_| version == 2);
                let old = Certificate { version, revoking, ..issued(0, not_after) };
                (Document::Certificate, key_of("a", version), Some(Body::of(&old).unwrap()))
            };
            writer.put_documents((1..=5).map(document).collect()).await.unwrap();
            assert_eq!(surplus(writer, "a", 6, 2).await.unwrap(), too_many);
        }
    }
}
