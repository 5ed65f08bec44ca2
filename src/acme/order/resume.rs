//! What becomes of an order that is there already: it is taken up again, or it is over, and why.

use http::StatusCode;
use instant_acme::{AuthorizationStatus, Order, OrderStatus};

use super::attempt::Attempt;
use super::failure::{AttemptError, Failure, ca_failed, failure};
use crate::acme::ca::http::HttpError;
use crate::acme::ca::problem::{About, Refusal};
use crate::acme::ca::session::{CaError, Session, ask};
use crate::store::now;

impl Attempt<'_> {
    /// The order that was left behind, if the CA still has it.
    pub async fn taken_up(&mut self, session: &Session) -> Result<Option<Order>, AttemptError> {
        let Some(url) = self.state.step.order_for(self.request).map(str::to_owned) else { return Ok(None) };
        match ask!(session, session.account.order(url.clone()).await) {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    self.say(format!("going on with the order {url}"));
                    return Ok(Some(order));
                }
                self.say(format!("the order {url} of an earlier attempt is invalid"));
            }
            Err(error) => {
                // Also when something before the CA says so.
                let is_gone = matches!(&error, CaError::Http(HttpError::Status { status, .. })
                    if matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE));
                if error.is_unknown_account() || !(error.is_final() || is_gone) {
                    return Err(ca_failed("order", &error));
                }
                self.say(format!("the order {url} of an earlier attempt is gone: {error}"));
            }
        }
        self.give_up_order().await?;
        Ok(None)
    }

    /// The failure of an order that the CA holds for invalid, in the CA's words. The order is given up.
    pub async fn refused(&mut self, session: &Session, order: &mut Order) -> Result<AttemptError, AttemptError> {
        let (mut refusals, mut failed): (Vec<Refusal>, Vec<String>) = (Vec::new(), Vec::new());
        let order_error = order.state().error.as_ref().map(|error| Refusal::new(error, About::Request));
        // Without them there are the order's own words.
        let _ = session.fetch_authorizations(order).await;
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            if authorization.status == AuthorizationStatus::Invalid {
                failed.push(name.clone());
            }
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            refusals.extend(errors.map(|error| Refusal::new(error, About::Validation).of(&name)));
        }
        if refusals.is_empty() {
            refusals.extend(order_error);
        }
        let retry_at = session.retry_at();
        self.settle(false, &failed).await?;
        self.give_up_order().await?;
        let failure = failure("validation", "the CA declared the order invalid without a reason".into());
        Ok(AttemptError::Failed(match Refusal::all(refusals, now()) {
            Some((message, refusal)) => Failure {
                message,
                class: refusal.class(now()),
                explanation: Some(refusal.explanation()),
                retry_at,
                ..failure
            },
            None => Failure { retry_at, ..failure },
        }))
    }

    /// What the CA's error means for the order: a decision ends it, anything else leaves it for the next attempt.
    pub async fn ended(&mut self, (step, error): (&'static str, CaError)) -> Result<AttemptError, AttemptError> {
        if error.is_final() {
            self.give_up_order().await?;
        }
        Ok(ca_failed(step, &error))
    }
}
