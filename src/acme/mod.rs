//! The embedded ACME client (RFC 8555): obtains and renews the configured certificates and exports them as PEM files.
//!
//! ```text
//!  schedule ──due──▶ issue ───▶ order/   one attempt, at one CA after the other, first at one for rehearsals:
//!    ▲    │             │          where do the challenges go, may this CA issue, publish, check, prove, download
//!    │    │             │             │
//!    │    └──▶ renewal/ │             └──▶ ca/   account, requests, limits, circuit breaker, errors in the CA's words
//!    │         when?    │                   certificate/   is it what was asked for, with its chain and key?
//!    │                  ▼                       │
//!  state (store) ◀── outcome               ◀────┘ certificate, state and history in one commit
//!                       │──▶ export/ ──▶ deploy/      files, then the program and the webhook
//!                       └──▶ serving                  the certificate of our own API
//!
//!  people ──▶ issue, preview, revoke, cas, history, ca/rollover
//! ```
//!
//! A `slot` is one configured certificate: at most one attempt at a time. What all certificates of a CA share is its
//! `ca/authority`; all requests go over `ca/http`.
//!
//! Accounts, keys, orders and certificates live in the store; `state` says what is written before which step.
//! `renewal/plan` decides, without clock or network, what is due when; `pause` how long is waited. Nothing here is needed
//! to answer a query, and starting never depends on a CA.

mod asked;
mod ca;
mod cas;
mod certificate;
mod deploy;
mod export;
mod history;
mod issue;
mod order;
mod pause;
mod preview;
mod renewal;
mod request;
mod revoke;
mod schedule;
mod secret;
mod serving;
mod slot;
mod source;
mod state;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub use order::check::OwnListeners;
pub use revoke::RevokeError;
pub use serving::Serving;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{CertificateEvent, CertificateStatus, LastError, Progress, RenewalWindow};
use crate::config::Config;
use crate::resolve::Resolver;
use crate::store::{UpdateError, Writer, now};
use ca::authority::Authority;
use ca::budget::Budget;
use renewal::ari::Renewal;
use renewal::plan;
use slot::Slot;

/// Obtains and renews the configured certificates. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// In the order of the configuration.
    slots: Vec<Arc<Slot>>,
    /// All CAs, in the order of the configuration.
    authorities: Vec<Arc<Authority>>,
    certs: PathBuf,
    /// How many versions of a certificate stay.
    versions: usize,
    writer: Writer,
    resolver: Resolver,
    own: OwnListeners,
    /// Places for the attempts of the running server.
    orders: Arc<Semaphore>,
    /// One more, for those of people.
    asked: Arc<Semaphore>,
    /// Attempts under way.
    attempts: TaskTracker,
    stopping: CancellationToken,
    upkeep: export::upkeep::Upkeep,
    deploys: deploy::Deploys,
    /// Certificates of which the store has something new.
    changed: Mutex<Vec<Arc<Slot>>>,
    /// There is something in `changed`, or a place for an attempt.
    ended: Notify,
}

/// Why there is no issuer for this configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    #[error("the certificate `{certificate}` names the CA `{ca}`, which is not configured")]
    UnknownCa { certificate: String, ca: String },
    #[error("`{0}` cannot be the name of a certificate: it would be no visible folder of its own in certs/")]
    BadName(String),
}

impl Issuer {
    /// Takes what the configuration says. Nothing happens before [`Issuer::run`] or [`Issuer::issue`].
    pub fn new(config: &Config, writer: Writer, resolver: Resolver, own: OwnListeners) -> Result<Issuer, IssuerError> {
        let mut budgets: HashMap<String, Arc<Budget>> = HashMap::new();
        let authority = |ca: &crate::config::Ca| {
            let mut authority = Authority::new(ca.clone(), config.acme.proxy.clone());
            authority.budget = budgets.entry(ca.directory.clone()).or_default().clone();
            Arc::new(authority)
        };
        let authorities: Vec<Arc<Authority>> = config.cas.iter().map(authority).collect();
        let known: HashMap<&String, Arc<Authority>> =
            authorities.iter().map(|authority| (&authority.ca.name, authority.clone())).collect();
        let mut slots = Vec::with_capacity(config.certificates.len());
        for certificate in &config.certificates {
            let authority = |ca: &String| {
                let unknown = || IssuerError::UnknownCa { certificate: certificate.name.clone(), ca: ca.clone() };
                known.get(ca).map(Arc::clone).ok_or_else(unknown)
            };
            let with_rehearsal = |ca: &String| {
                let found = authority(ca)?;
                let rehearsal = found.ca.rehearsal.as_ref().map(authority).transpose()?;
                Ok((found, rehearsal))
            };
            let cas = certificate.cas.iter().map(with_rehearsal).collect::<Result<Vec<_>, _>>()?;
            let name = &certificate.name;
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(IssuerError::BadName(name.clone()));
            }
            slots.push(Arc::new(Slot::new(certificate.clone(), cas)));
        }
        let shared = Shared {
            slots,
            authorities,
            certs: config.certs_dir(),
            versions: config.acme.versions.max(1),
            writer,
            resolver,
            own,
            orders: Arc::new(Semaphore::new(config.acme.orders)),
            asked: Arc::new(Semaphore::new(1)),
            attempts: TaskTracker::new(),
            stopping: CancellationToken::new(),
            upkeep: export::upkeep::Upkeep::default(),
            deploys: deploy::Deploys::new(config.acme.proxy.clone()),
            changed: Mutex::default(),
            ended: Notify::new(),
        };
        Ok(Issuer { shared: Arc::new(shared) })
    }

    /// All configured certificates, in the order of the configuration.
    pub async fn list(&self) -> Result<Vec<CertificateStatus>, UpdateError> {
        let mut all = Vec::with_capacity(self.shared.slots.len());
        for slot in &self.shared.slots {
            all.push(self.status(slot).await?);
        }
        Ok(all)
    }

    /// One configured certificate; `None` if the configuration has none of this name.
    pub async fn show(&self, name: &str) -> Result<Option<CertificateStatus>, UpdateError> {
        match self.slot(name) {
            Some(slot) => self.status(slot).await.map(Some),
            None => Ok(None),
        }
    }

    /// Obtains a certificate now and tells each step; the last line is `Done` or `Failed`. Without `renew`, a valid
    /// certificate for the configured names is left alone. `None` if the configuration has none of this name.
    ///
    /// An attempt that is under way is followed instead. Must be called inside the runtime.
    pub fn issue(&self, name: &str, renew: bool) -> Option<mpsc::Receiver<Progress>> {
        let slot = self.slot(name)?;
        let (lines, running) = slot.begin_heard();
        if let Some(running) = running {
            self.start(running, schedule::Reason::Asked { renew });
        }
        Some(lines)
    }

    fn authority(&self, name: &str) -> Option<&Arc<Authority>> {
        self.shared.authorities.iter().find(|authority| authority.ca.name == name)
    }

    /// Runs the certificate's deploy program now and tells its lines; the last line is `Done` or `Failed`. `None` if
    /// the configuration has no certificate of this name. Must be called inside the runtime.
    pub fn deploy(&self, name: &str) -> Option<mpsc::Receiver<Progress>> {
        self.slot(name).map(|slot| self.deploy_heard(slot))
    }

    /// What has happened to a certificate, the oldest first; `None` if the configuration has none of this name.
    pub async fn history(&self, name: &str) -> Result<Option<Vec<CertificateEvent>>, UpdateError> {
        match self.slot(name) {
            Some(slot) => Ok(Some(history::told(&self.shared.writer, slot.name()).await?)),
            None => Ok(None),
        }
    }

    fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.shared.slots.iter().find(|slot| slot.name() == name)
    }

    async fn status(&self, slot: &Arc<Slot>) -> Result<CertificateStatus, UpdateError> {
        let (state, certificate) = self.load(slot).await?;
        let running = slot.is_running();
        let (pause, export_error) = {
            let memory = slot.memory();
            (memory.pause, memory.export_error.clone())
        };
        let is_current = |heard: &&Renewal| state.current == Some(heard.version) && certificate.is_some();
        let heard = state.renewal.as_ref().filter(is_current);
        let due = plan::due(&state, certificate.as_ref(), &slot.wanted, pause, now());
        // While records are missing, that is what keeps the certificate away.
        let failure = state.failure.as_ref().filter(|_| state.missing.is_empty()).map(|failure| LastError {
            at: time(failure.at),
            step: failure.step.clone(),
            message: failure.message.clone(),
            explanation: failure.explanation.clone(),
            failures: failure.failures,
        });
        Ok(CertificateStatus {
            name: slot.name().to_owned(),
            names: slot.certificate.names.clone(),
            cas: slot.certificate.cas.clone(),
            state: plan::summary(&state, certificate.as_ref(), &slot.wanted, running, now()),
            not_before: certificate.as_ref().map(|certificate| time(certificate.not_before)),
            not_after: certificate.as_ref().map(|certificate| time(certificate.not_after)),
            issued_at: certificate.as_ref().map(|certificate| time(certificate.issued_at)),
            issued_by: certificate.as_ref().map(|certificate| certificate.ca.clone()),
            serial: certificate.as_ref().map(|certificate| certificate.serial.clone()),
            revoked: certificate.as_ref().and_then(|certificate| certificate.revoked.map(|revoked| revoked.told())),
            revoking: certificate.as_ref().and_then(|certificate| certificate.revoking.map(|revoking| revoking.told())),
            path: certificate.as_ref().map(|_| self.path(slot)),
            next_attempt: (!running).then(|| time(due.max(now()))),
            last_error: failure.or(export_error),
            deployment: self.deployment_status(slot).await?,
            renewal: certificate.as_ref().map(|certificate| time(plan::renewal(certificate, heard))),
            renewal_window: heard
                .and_then(|heard| heard.window)
                .map(|window| RenewalWindow { start: time(window.start), end: time(window.end) }),
            renewal_explanation: heard.and_then(|heard| heard.explanation.clone()),
            renewal_problem: heard.and_then(|heard| heard.problem.clone()),
            missing_records: state.missing,
        })
    }

    /// The folder that other programs read.
    fn path(&self, slot: &Slot) -> String {
        self.shared.certs.join(slot.name()).display().to_string()
    }
}

/// A moment of ours as one of the API's; the end of time if it is beyond.
fn time(at: crate::zone::Timestamp) -> jiff::Timestamp {
    i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok()).unwrap_or(jiff::Timestamp::MAX)
}

/// For jitter alone: without random numbers there is none.
fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}
