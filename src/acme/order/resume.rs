//! What becomes of an order that is there already: it is taken up again, or it is over, and why.
//!
//! Only the order says when it is over, or that it is gone. An error that answers a request about it may come from
//! something before the CA, or be one of a bad day: then the order, and the certificate that may be in it, is left for the
//! next attempt. See [`Attempt::lose_patience`] for the end of that.

use http::StatusCode;
use instant_acme::{AuthorizationStatus, Order, OrderStatus};

use super::attempt::{Attempt, LONG};
use super::failure::{AttemptError, Failure, ca_failed, failure};
use crate::acme::ca::error::CaError;
use crate::acme::ca::http::HttpError;
use crate::acme::ca::problem::{About, Refusal};
use crate::acme::ca::session::{Session, ask};
use crate::acme::pause::DAY;
use crate::acme::state::{Failed, Step};
use crate::store::now;
use crate::zone::Timestamp;

/// How long an order holds at a CA that does not say, seconds.
const LIFE: u64 = 7 * DAY;

impl Failed {
    /// Whether all patience was had, pauses included: somebody who asks again and again does not cost orders.
    fn is_long_ago(&self) -> bool {
        self.backed_off >= LONG && self.next_attempt <= now()
    }
}

impl Attempt<'_> {
    /// The order that was left behind, if the CA still has it and it may become a certificate.
    ///
    /// # Errors
    ///
    /// The CA's reason if the order has failed while nobody looked: another one is for the next attempt.
    pub async fn taken_up(&mut self, session: &Session) -> Result<Option<Order>, AttemptError> {
        let Some(url) = self.state.step.order_for(self.request).map(str::to_owned) else { return Ok(None) };
        if let Step::Ordered { account: Some(account), .. } = &self.state.step
            && account != session.account.id()
        {
            self.say(format!("the order {url} of an earlier attempt is of another account, {account}"));
            self.give_up_order().await?;
            return Ok(None);
        }
        let mut order = match ask!(session, session.account.order(url.clone()).await) {
            Ok(order) => order,
            Err(error) => {
                self.heard = error.is_final();
                if error.is_unknown_account() || !is_gone(&error) {
                    return Err(ca_failed("order", &error));
                }
                self.say(format!("the order {url} of an earlier attempt is gone: {error}"));
                self.give_up_order().await?;
                return Ok(None);
            }
        };
        self.heard = true;
        if let (Step::Ordered { expires, .. }, Some(told)) = (&mut self.state.step, session.expires()) {
            *expires = Some(told);
        }
        if order.state().status != OrderStatus::Invalid {
            self.say(format!("going on with the order {url}"));
            return Ok(Some(order));
        }
        self.say(format!("the order {url} of an earlier attempt is invalid"));
        match self.refused(session, &mut order).await? {
            Some(failure) => Err(AttemptError::Failed(failure)),
            // It has expired, most likely.
            None => Ok(None),
        }
    }

    /// Gives up an order that the CA holds for invalid: why, in the CA's words. `None` if it gives no reason.
    ///
    /// # Errors
    ///
    /// If the reason cannot be had now: then the order stays, so that what failed is told and counted the next time.
    pub async fn refused(&mut self, session: &Session, order: &mut Order) -> Result<Option<Failure>, AttemptError> {
        let (mut refusals, mut failed): (Vec<Refusal>, Vec<String>) = (Vec::new(), Vec::new());
        let order_error = order.state().error.as_ref().map(|error| Refusal::new(error, About::Request));
        match session.fetch_authorizations(order).await {
            Ok(_) => {}
            // As those of an order that has expired.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(ca_failed("validation", &error)),
        }
        let retry_at = session.retry_at();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Invalid => failed.push(name.clone()),
                // What failed on the way to it is not the reason.
                AuthorizationStatus::Valid => continue,
                _ => {}
            }
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            refusals.extend(errors.map(|error| Refusal::new(error, About::Validation).of(&name)));
        }
        if refusals.is_empty() {
            refusals.extend(order_error);
        }
        self.note_bad_key(&refusals);
        self.end_order(false, &failed).await?;
        Ok(match Refusal::all(refusals, now()) {
            Some((message, refusal)) => Some(Failure {
                class: refusal.class(now()),
                explanation: Some(refusal.explanation()),
                retry_at,
                ..failure("validation", message)
            }),
            None if failed.is_empty() => None,
            None => Some(Failure { retry_at, ..without_reason() }),
        })
    }

    /// What the CA's error means for the order: a decision about what is asked for ends it, as another order would be
    /// needed; anything else leaves it for the next attempt.
    pub async fn ended(&mut self, (step, error): (&'static str, CaError)) -> Result<AttemptError, AttemptError> {
        let is_decided = match &error {
            CaError::NoSuchChallenge { .. } => true,
            CaError::Refused(refusal) => {
                let decisions = ["badCSR", "badPublicKey", "rejectedIdentifier"];
                step == "issuance" && error.is_final() && decisions.iter().any(|kind| refusal.is(kind))
            }
            _ => false,
        };
        if is_decided {
            if let CaError::Refused(refusal) = &error {
                self.note_bad_key(std::slice::from_ref(refusal));
            }
            self.give_up_order().await?;
        }
        Ok(ca_failed(step, &error))
    }

    /// A key that the CA does not take is not reused.
    fn note_bad_key(&mut self, refusals: &[Refusal]) {
        let is_about_key = |refusal: &Refusal| {
            refusal.is("badPublicKey") || refusal.is("badCSR") && refusal.words.to_ascii_lowercase().contains("key")
        };
        // Rehearsals have keys of their own.
        if !self.rehearsal && refusals.iter().any(is_about_key) {
            self.state.key_refused = true;
        }
    }

    /// Looks, after an attempt in vain that began with the order `before`, whether that is worth another one.
    ///
    /// It is given up when four failures and the pauses after them, a day at last, were not enough, and the CA answers for
    /// it all the same: nothing is down, and yet it does not get on, or its certificate does not arrive. An outage alone,
    /// of whatever length, costs no order that still holds. Values that nobody can ask for any more leave the DNS.
    pub async fn lose_patience(&mut self, before: Option<&str>, failure: &Failure) -> Result<(), AttemptError> {
        let Step::Ordered { request, url, expires, .. } = &self.state.step else { return Ok(()) };
        let is_over = expires.is_some_and(|at| at <= now());
        let is_same = request == self.request && before == Some(url);
        let was_enough = failure.backs_off && self.state.failure.as_ref().is_some_and(Failed::is_long_ago);
        if is_same && was_enough && (self.heard || is_over) {
            self.say(format!("giving up the order {url}, which has failed again and again"));
            return self.give_up_order().await;
        }
        if is_over {
            self.withdraw().await?;
        }
        Ok(())
    }
}

/// Until when an order that was made just now holds.
pub fn expiry(session: &Session) -> Timestamp {
    session.expires().unwrap_or_else(|| now() + LIFE)
}

/// An order that is invalid, and the CA does not say why.
pub fn without_reason() -> Failure {
    failure("validation", "the CA declared the order invalid without a reason".into())
}

/// Whether what was asked for is no more there, also when something before the CA says so.
fn is_gone(error: &CaError) -> bool {
    let status = match error {
        CaError::Refused(refusal) => refusal.status,
        CaError::Http(HttpError::Status { status, .. }) => Some(status.as_u16()),
        _ => None,
    };
    status.is_some_and(|status| [StatusCode::NOT_FOUND, StatusCode::GONE].iter().any(|gone| gone.as_u16() == status))
}
