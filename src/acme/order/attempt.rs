//! One attempt to get a certificate: from the delegation to the checked chain in the store.
//!
//! The CA's view of the order decides what comes next, so that an attempt can begin in the middle: with an order that
//! an earlier attempt, or a server that was killed, left behind. What cannot be taken back is in the store first.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Order, OrderStatus};
use tokio::time::{Instant, sleep};

use super::challenge::Method;
use super::check::OwnListeners;
use super::delegation::{Found, Missing, Place, Wanted, base_domain, domains, locate};
use super::entrance::no_session;
use super::failure::{AttemptError, Failure, ca_failed, failed, failed_look_up, failure, store_failed, useless};
use super::resume::{expiry, without_reason};
use crate::acme::ca::authority::Authority;
use crate::acme::ca::breaker::Pass;
use crate::acme::ca::budget::Renews;
use crate::acme::ca::error::CaError;
use crate::acme::ca::lost::forget;
use crate::acme::ca::problem::Class;
use crate::acme::ca::session::{Session, ask};
use crate::acme::certificate::Certificate;
use crate::acme::certificate::key::{key_for_order, signing_request};
use crate::acme::history::History;
use crate::acme::renewal::{allowed_at, renews};
use crate::acme::request::Request;
use crate::acme::secret::Secret;
use crate::acme::state::{Issuance, Phase, Published, Step};
use crate::config::Challenge;
use crate::resolve::Resolver;
use crate::store::{Actor, Body, Document, UpdateError, Writer, now};
use crate::zone::{Edit, TxtValue, Update};

/// How long the CA may take to validate, or to issue, before the attempt ends; the order is taken up again later.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// An order needs four steps; a CA that never gets on is left alone.
const MOST_STEPS: usize = 8;
/// After so many failures that back off, the last of them a day ago, an order is not worth more patience.
pub const LONG: u32 = 4;

/// What an attempt works with, and how far it has come.
pub struct Attempt<'a> {
    pub name: &'a str,
    pub request: &'a Request,
    pub authority: &'a Authority,
    /// All CAs: an order of an earlier attempt may be at another one.
    pub authorities: &'a [Arc<Authority>],
    pub writer: &'a Writer,
    pub resolver: &'a Resolver,
    pub own: &'a OwnListeners,
    /// Neither the key of an order under way nor that of the certificate in use is good enough.
    pub new_key: bool,
    /// Whether a program or a webhook is to hear of a new certificate.
    pub deploys: bool,
    pub tell: &'a (dyn Fn(String) + Send + Sync),
    pub history: &'a History,
    /// Held while the version in use is looked at and another takes its place.
    pub switch: &'a tokio::sync::Mutex<()>,
    /// The certificate in use.
    pub current: Option<&'a Certificate>,
    /// Its key is to serve the next one too.
    pub reuse_key: bool,
    /// How many versions of the certificate stay in the store.
    pub versions: usize,
    /// The certificate is thrown away: this is a rehearsal of an order at another CA.
    pub rehearsal: bool,
    /// Nobody has asked for it: a CA that is left alone is left alone.
    pub due: bool,
    /// Since it wants to speak with the CA.
    pub pass: Option<Pass<'a>>,
    /// Whether the CA has answered for the order that there was before.
    pub heard: bool,
    pub state: Issuance,
}

impl Attempt<'_> {
    /// Gets a certificate, or says why not. Either way `state` is what the store has.
    pub async fn run(&mut self) -> Result<Certificate, AttemptError> {
        let _signing = self.authority.signing.read().await;
        let before = self.state.step.order_for(self.request).map(str::to_owned);
        let outcome = self.run_or_begin_anew().await;
        if let Err(AttemptError::Failed(failure)) = &outcome {
            self.lose_patience(before.as_deref(), failure).await?;
        }
        outcome
    }

    async fn run_or_begin_anew(&mut self) -> Result<Certificate, AttemptError> {
        if self.new_key {
            self.give_up_order().await?;
            self.state.step = Step::Idle;
        }
        let mut account = None;
        match (self.run_with_account(&mut account).await, account) {
            (Err(AttemptError::Failed(failure)), Some(account)) if failure.unknown_account => {
                self.say("the CA says that it does not know our account, asking for it by its key".into());
                if forget(self.authority, self.writer, &account).await.map_err(no_session)? {
                    self.say("the CA does not know our account any more, making a new one".into());
                    self.give_up_order().await?;
                }
                self.run_with_account(&mut None).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Tells as which account it speaks as soon as it does.
    async fn run_with_account(&mut self, account: &mut Option<String>) -> Result<Certificate, AttemptError> {
        let (mut places, mut is_allowed) = (None, false);
        if self.state.step.order_for(self.request).is_none() {
            self.give_up_order().await?;
            // With the others the names, or the values, depend on the account.
            if self.request.challenge == Challenge::Dns01 {
                places = Some(self.locate(&Method::Dns01).await?);
            }
        }
        let session = self.session().await?;
        let method = Method::of(self.request.challenge, &session);
        *account = Some(session.account.id().to_owned());
        self.permit(&session).await?;
        let mut order = match self.taken_up(&session).await? {
            Some(order) => order,
            None => {
                if places.is_none() {
                    places = Some(self.locate(&method).await?);
                }
                self.check_caa(&session).await?;
                is_allowed = true;
                self.new_order(&session).await?
            }
        };
        for _ in 0..MOST_STEPS {
            let status = order.state().status;
            if status != OrderStatus::Pending {
                if status == OrderStatus::Ready && !self.state.published.is_empty() {
                    // In one commit.
                    self.state.phase = Phase::Finalizing;
                }
                self.withdraw().await?;
            }
            match status {
                OrderStatus::Pending => {
                    if places.is_none() {
                        places = Some(self.locate(&method).await?);
                    }
                    if !is_allowed {
                        self.check_caa(&session).await?;
                        is_allowed = true;
                    }
                    self.prove(&session, &method, &mut order, places.as_deref().unwrap_or_default()).await?;
                }
                OrderStatus::Ready => self.finalize(&session, &mut order).await?,
                OrderStatus::Processing => {
                    self.wait(&session, &mut order, OrderStatus::Processing, "issuance").await?;
                }
                OrderStatus::Valid => match self.download(&session, &mut order).await? {
                    Some(certificate) => return Ok(certificate),
                    None => order = self.new_order(&session).await?,
                },
                OrderStatus::Invalid => {
                    let refused = self.refused(&session, &mut order).await?;
                    return Err(AttemptError::Failed(refused.unwrap_or_else(without_reason)));
                }
            }
        }
        self.give_up_order().await?;
        Err(useless("order", format!("the order {} does not get on", order.url())))
    }

    /// Lets the CA issue for names in zones whose CAA records are ours to make.
    async fn permit(&self, session: &Session) -> Result<(), AttemptError> {
        let account = session.account.id();
        for name in &self.request.names {
            let Ok(domain) = base_domain(name) else { continue };
            let Some(zone) = self.writer.live().zones().find(domain.as_wire()).cloned() else { continue };
            for identity in session.caa_identities() {
                if zone.permitting(identity, account).is_some() {
                    let permitted =
                        self.writer.permit(zone.origin().clone(), identity.clone(), account.to_owned()).await;
                    permitted.map_err(|error| store_failed(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Finds out where the challenges of all names go, or everything that is missing.
    async fn locate(&mut self, method: &Method) -> Result<Vec<Place>, AttemptError> {
        let mut places: Vec<Place> = Vec::new();
        let mut missing: Vec<Missing> = Vec::new();
        let wanted = domains(&self.request.names).map_err(|error| failed_look_up(&error))?;
        for wanted in &wanted {
            match method {
                // The record can only be told when the CA has said what is to be in it.
                Method::DnsPersist01(holder) if holder.issuers.is_empty() => {}
                _ => match self.locate_one(wanted, method).await? {
                    Ok(Found::Place(place)) => {
                        self.say(place.way.clone());
                        places.push(place);
                    }
                    Ok(Found::Standing(seen)) => self.say(seen),
                    Err(lacking) => missing.push(lacking),
                },
            }
        }
        self.unless_missing(missing).await?;
        Ok(places)
    }

    /// Where the challenges of a domain go, or what is missing.
    pub async fn locate_one(&self, wanted: &Wanted, method: &Method) -> Result<Result<Found, Missing>, AttemptError> {
        locate(wanted, method, self.writer, self.resolver, self.tell).await.map_err(|error| failed_look_up(&error))
    }

    /// Waits for what is missing. Nobody can see what an earlier attempt published, and there may be many looks before
    /// the next attempt.
    pub async fn unless_missing(&mut self, missing: Vec<Missing>) -> Result<(), AttemptError> {
        if missing.is_empty() {
            return Ok(());
        }
        self.withdraw().await?;
        Err(AttemptError::Waiting(missing))
    }

    async fn new_order(&mut self, session: &Session) -> Result<Order, AttemptError> {
        let request = self.request.clone();
        if let Some(profile) = &request.profile {
            session.check_profile(profile).map_err(|error| ca_failed("order", &error))?;
        }
        let renews = renews(self.current, &self.state, &request, &session.directory, now());
        self.keep_to_limits(renews).await?;
        let key = match self.state.step.key_for(&request) {
            Some(key) => key.clone(),
            None => {
                let may_stay = self.reuse_key && !self.new_key && !self.rehearsal && !self.state.key_refused;
                let reused = self.current.filter(|current| may_stay && current.keeps_key());
                let key = key_for_order(request.key_type, reused).await;
                key.map_err(|error| failed("key", error.to_string()))?
            }
        };
        self.state.step = Step::Prepared { request: request.clone(), key: key.clone() };
        self.state.phase = Phase::Begun;
        self.save().await?;

        let mut order = match self.order(session).await? {
            Ok(order) => order,
            Err(error) => {
                self.settle(false, &[]).await?;
                return Err(ca_failed("order", &error));
            }
        };
        let url = order.url().to_owned();
        let (expires, account) = (Some(expiry(session)), Some(session.account.id().to_owned()));
        self.state.step = Step::Ordered { request: request.clone(), key, url, expires, account };
        self.save().await?;
        self.say(format!("ordered {} at {}", request.names.join(", "), self.authority.ca.name));

        match &request.profile {
            Some(profile) if order.state().profile.as_ref() != Some(profile) => {
                self.give_up_order().await?;
                Err(ca_failed("order", &CaError::ProfileIgnored { wanted: profile.clone() }))
            }
            _ => Ok(order),
        }
    }

    /// Counts the order that is about to be made, unless one of the CA's limits would be exceeded.
    pub async fn keep_to_limits(&self, renews: Renews) -> Result<(), AttemptError> {
        let Authority { ca, budget, .. } = self.authority;
        match budget.order(ca, self.writer, self.name, &self.request.names, renews, now()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(exceeded)) => Err(AttemptError::Failed(Failure {
                retry_at: Some(allowed_at(exceeded.until, self.current, &self.state, now())),
                backs_off: false,
                class: Class::Elsewhere,
                ..failure("limits", exceeded.to_string())
            })),
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// Counts how the order ended, at the CA that has it.
    pub async fn settle(&self, issued: bool, failed: &[String]) -> Result<(), AttemptError> {
        let Some(request) = self.state.step.request() else { return Ok(()) };
        let has_it = |authority: &&Authority| authority.ca.directory == request.directory;
        let mut all = std::iter::once(self.authority).chain(self.authorities.iter().map(Arc::as_ref));
        let Some(Authority { ca, budget, .. }) = all.find(has_it) else { return Ok(()) };
        let settled = budget.settle(ca, self.writer, self.name, issued, failed, now()).await;
        settled.map_err(|error| store_failed(&error))
    }

    /// Writes down what is about to be done with the order.
    pub async fn enter(&mut self, phase: Phase) -> Result<(), AttemptError> {
        if self.state.phase == phase {
            return Ok(());
        }
        self.state.phase = phase;
        self.save().await
    }

    /// Waits until the CA has left this status. The order stays if that takes too long.
    pub async fn wait(
        &mut self,
        session: &Session,
        order: &mut Order,
        busy: OrderStatus,
        step: &'static str,
    ) -> Result<(), AttemptError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_WAIT;
        loop {
            let asked = session.retry_at().map_or(0, |at| at.saturating_sub(now()));
            let wait = pause.max(Duration::from_secs(asked));
            if Instant::now() + wait > deadline {
                let message = format!("the CA is still at work on the order {}; it will be asked again", order.url());
                let (retry_at, class) = (session.retry_at(), Class::Elsewhere);
                return Err(AttemptError::Failed(Failure { retry_at, class, ..failure(step, message) }));
            }
            sleep(wait).await;
            match ask!(session, order.refresh().await.map(|state| state.status)) {
                Ok(status) if status == busy => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(ca_failed(step, &error)),
            }
            pause = (pause * 2).min(LONGEST_WAIT);
        }
    }

    async fn finalize(&mut self, session: &Session, order: &mut Order) -> Result<(), AttemptError> {
        self.say("the CA has validated all names".into());
        self.enter(Phase::Finalizing).await?;
        let key = self.key()?;
        let csr = signing_request(&self.request.names, &key).map_err(|error| failed("key", error.to_string()))?;
        match ask!(session, order.finalize_csr(&csr).await) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.ended(("issuance", error)).await?),
        }
    }

    /// Forgets the order, if there is one, and takes its values out of the DNS.
    pub async fn give_up_order(&mut self) -> Result<(), AttemptError> {
        self.end_order(self.state.phase == Phase::Downloading, &[]).await
    }

    /// The same, with what the CA's limits count: whether it has issued, and the names whose authorization failed.
    pub async fn end_order(&mut self, issued: bool, failed: &[String]) -> Result<(), AttemptError> {
        self.withdraw().await?;
        if self.state.is_ordered() {
            self.settle(issued, failed).await?;
            self.state.step = Step::Idle;
            self.state.phase = Phase::Begun;
            self.save().await?;
        }
        Ok(())
    }

    /// Takes all published values out of the DNS.
    pub async fn withdraw(&mut self) -> Result<(), AttemptError> {
        if self.state.published.is_empty() {
            return Ok(());
        }
        withdraw(self.writer, &self.state.published).await.map_err(|error| store_failed(&error))?;
        self.state.published.clear();
        self.save().await
    }

    pub fn key(&self) -> Result<Secret, AttemptError> {
        let key = self.state.step.key_for(self.request).cloned();
        key.ok_or_else(|| failed("key", "the order has no stored key".into()))
    }

    pub async fn save(&self) -> Result<(), AttemptError> {
        save(self.writer, self.name, &self.state).await.map_err(|error| store_failed(&error))
    }

    pub fn say(&self, line: String) {
        (self.tell)(line);
    }
}

/// Keeps the state of a certificate.
pub async fn save(writer: &Writer, name: &str, state: &Issuance) -> Result<(), UpdateError> {
    writer.put_documents(vec![(Document::Issuance, name.to_owned(), Some(Body::of(state)?))]).await
}

/// Takes values out of the DNS. A name that is ours no more has none.
pub async fn withdraw(writer: &Writer, published: &[Published]) -> Result<(), UpdateError> {
    let removal = |Published { name, value }: &Published| {
        let value = TxtValue::new(value.as_bytes()).ok()?;
        Some(Update { name: name.clone(), edit: Edit::Remove(value) })
    };
    let removals: Vec<Update> = published.iter().filter_map(removal).collect();
    match writer.update(Actor::AcmeClient, removals.clone()).await {
        Err(UpdateError::NotAChallengeName(_)) => {}
        done => return done,
    }
    for removal in removals {
        match writer.update(Actor::AcmeClient, vec![removal]).await {
            Ok(()) | Err(UpdateError::NotAChallengeName(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The key of a certificate's document.
pub fn key_of(name: &str, version: u64) -> String {
    format!("{name}/{version}")
}
