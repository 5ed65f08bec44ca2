//! What the webhook is told of failures and of what people do; the rest follows a new certificate.

use super::deployment::Deployment;
use super::webhook::Kind;
use super::{Announcement, event, runs_out};
use crate::acme::Issuer;
use crate::acme::certificate::Certificate;
use crate::acme::export::upkeep::Told;
use crate::acme::slot::Slot;
use crate::store::{UpdateError, now};

impl Issuer {
    /// What the webhook, if there is one, is to be told, for the commit of what has happened to the certificate.
    pub(in crate::acme) async fn announcement<'s>(
        &self,
        slot: &'s Slot,
        kind: Kind,
        certificate: &Certificate,
        message: Option<String>,
    ) -> Result<Option<Announcement<'s>>, UpdateError> {
        if slot.certificate.webhook.is_none() {
            return Ok(None);
        }
        let mut state = slot.deploys.state.lock().await;
        let mut deployment = self.remembered(slot, &mut state).await?.clone();
        deployment.announce(event(slot, kind, Some(certificate), message));
        Ok(Some(Announcement { state, deployment }))
    }

    /// The commit was made: the event goes on its way.
    pub(in crate::acme) fn announced(&self, announcement: Announcement<'_>) {
        let Announcement { mut state, deployment } = announcement;
        *state = Some(deployment);
        self.shared.deploys.changed.notify_one();
    }

    /// Tells the webhook of an attempt that failed: of the first in a row, and now and then while the certificate runs
    /// out.
    pub(in crate::acme) async fn announce_failure(&self, slot: &Slot, is_first: bool, message: &str) {
        if slot.certificate.webhook.is_none() {
            return;
        }
        if let Err(error) = self.tell_failure(slot, is_first, message).await {
            tracing::error!(certificate = slot.name(), %error, "cannot tell the webhook");
        }
    }

    async fn tell_failure(&self, slot: &Slot, is_first: bool, message: &str) -> Result<(), UpdateError> {
        let (_, certificate) = self.load(slot).await?;
        let now = now();
        let runs_out = certificate.as_ref().is_some_and(|certificate| runs_out(certificate, now));
        let tells = {
            let mut state = slot.deploys.state.lock().await;
            self.remembered(slot, &mut state).await?.tells_failure(is_first, runs_out, now)
        };
        if tells {
            let event = event(slot, Kind::Failed, certificate.as_ref(), Some(message.to_owned()));
            let tell = |deployment: &mut Deployment| {
                deployment.told_failure = Some(now);
                deployment.announce(event);
            };
            self.change(slot, tell).await?;
        }
        Ok(())
    }

    /// Tells the webhook that the files of the certificate cannot be written, the first time and then daily; whether
    /// others are to hear it now.
    pub(in crate::acme) async fn announce_unwritten(
        &self,
        slot: &Slot,
        certificate: &Certificate,
        message: &str,
    ) -> Result<Told, UpdateError> {
        let told = {
            let mut state = slot.deploys.state.lock().await;
            let deployment = self.remembered(slot, &mut state).await?;
            match deployment.told_unwritten {
                None => Told::First,
                Some(_) if deployment.tells_unwritten(now()) => Told::Again,
                Some(_) => return Ok(Told::Before),
            }
        };
        let event = event(slot, Kind::Failed, Some(certificate), Some(message.to_owned()));
        let tell = |deployment: &mut Deployment| {
            deployment.told_unwritten = Some(now());
            if slot.certificate.webhook.is_some() {
                deployment.announce(event);
            }
        };
        self.change(slot, tell).await?;
        Ok(told)
    }

    /// The files are written.
    pub(in crate::acme) async fn no_more_unwritten(&self, slot: &Slot) {
        let mut state = slot.deploys.state.lock().await;
        match self.remembered(slot, &mut state).await {
            Ok(deployment) => {
                if deployment.told_unwritten.take().is_some() {
                    self.keep(slot, deployment).await;
                }
            }
            Err(error) => tracing::error!(certificate = slot.name(), %error, "cannot read what was told of the files"),
        }
    }
}
