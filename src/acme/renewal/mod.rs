//! Renewal as the CA wants it (RFC 9773): asking when, and saying in an order which certificate it takes the place of.

pub mod ari;
pub mod plan;

use std::borrow::Cow;

use instant_acme::{CertificateIdentifier, Identifier, NewOrder, Order};

use crate::acme::ca::authority::Authority;
use crate::acme::ca::breaker::Pass;
use crate::acme::ca::budget::Renews;
use crate::acme::ca::directory::Directory;
use crate::acme::ca::error::CaError;
use crate::acme::ca::http::HttpError;
use crate::acme::ca::problem::Refusal;
use crate::acme::ca::session::{Session, ask};
use crate::acme::certificate::Certificate;
use crate::acme::order::attempt::{Attempt, save};
use crate::acme::order::failure::AttemptError;
use crate::acme::request::Request;
use crate::acme::slot::Slot;
use crate::acme::state::Issuance;
use crate::acme::{Issuer, random, time};
use crate::store::{UpdateError, now};
use crate::zone::Timestamp;
use ari::{Answer, News, Renewal};

/// After so many orders that the CA refused, the next one does not say what it replaces: that may have been the reason.
const IN_VAIN: u32 = 2;

/// Why the CA did not say when, and when it wants to be asked again.
type Unsaid = (String, Option<Timestamp>);

impl Issuer {
    /// Asks the CA when the certificate in use is to be renewed, and keeps what it says.
    pub(in crate::acme) async fn ask(&self, slot: &Slot, authority: &Authority) -> Result<(), UpdateError> {
        let Ok(pass) = authority.breaker.pass(now(), None) else { return Ok(()) };
        let (_, Some(certificate)) = self.load(slot).await? else { return Ok(()) };
        let (answer, retry_at) = match fetch(authority, pass, &certificate).await {
            Ok((answer, retry_at)) => (Ok(answer), retry_at),
            Err((problem, retry_at)) => (Err(problem), retry_at),
        };
        let _turn = slot.turn.lock().await;
        let (mut state, now_in_use) = self.load(slot).await?;
        if state.current != Some(certificate.version) {
            return Ok(());
        }
        let known = state.renewal.take().filter(|known| known.version == certificate.version);
        let mut renewal = known.unwrap_or_else(|| Renewal::of(&certificate));
        // Without random numbers it is the beginning of the window.
        let news = renewal.hear(answer, retry_at, now(), getrandom::u64().unwrap_or(0));
        for news in news {
            tell(slot, news);
        }
        if now_in_use.is_some_and(|now_in_use| now_in_use.revoked != certificate.revoked) {
            // The answer may be from before.
            renewal.ask_again = now();
        }
        state.renewal = Some(renewal);
        save(&self.shared.writer, slot.name(), &state).await
    }
}

async fn fetch(
    authority: &Authority,
    mut pass: Pass<'_>,
    certificate: &Certificate,
) -> Result<(Answer, Option<Timestamp>), Unsaid> {
    let http = authority.http().map_err(|error| (error.to_string(), None))?;
    let directory = match authority.directory(&http).await.map_err(CaError::from) {
        Ok(directory) => directory,
        Err(error) => {
            if error.is_outage() {
                pass.failed(now(), random());
            }
            return Err((error.to_string(), error.retry_at()));
        }
    };
    pass.entered();
    let Some(renewal_info) = &directory.renewal_info else { return Ok((Answer::NoRenewalInfo, None)) };
    let identifier = ari::identifier(&certificate.chain).map_err(|problem| (problem, None))?;
    let url = ari::page(renewal_info, &identifier);
    http.is_aside(&url);
    let page = http.get(&url).await.map_err(|error| {
        let retry_at = if let HttpError::Status { retry_at, .. } = &error { *retry_at } else { None };
        (error.to_string(), retry_at)
    })?;
    match ari::read(&page.body) {
        Ok(answer) => Ok((answer, page.retry_at)),
        Err(problem) => Err((format!("the renewal information at {url} is of no use: {problem}"), page.retry_at)),
    }
}

fn tell(slot: &Slot, news: News) {
    let certificate = slot.name();
    match news {
        News::Window { window, moment } => {
            let (start, end, renewal) = (time(window.start), time(window.end), time(moment));
            tracing::info!(certificate, %start, %end, %renewal, "the CA suggests when to renew the certificate");
        }
        News::Explanation(url) => {
            tracing::warn!(certificate, url, "the CA explains why the certificate is to be renewed when it suggests");
        }
        News::Problem(problem) => {
            tracing::warn!(certificate, problem, "the CA does not say when to renew the certificate");
        }
    }
}

impl Attempt<'_> {
    /// Orders what is wanted, in place of the certificate in use if the CA can be told so (RFC 9773 section 5).
    pub async fn order(&mut self, session: &Session) -> Result<Result<Order, CaError>, AttemptError> {
        let request = self.request;
        let identifiers: Vec<Identifier> = request.names.iter().cloned().map(Identifier::Dns).collect();
        let wanted = || {
            let wanted = NewOrder::new(&identifiers);
            match &request.profile {
                Some(profile) => wanted.profile(profile),
                None => wanted,
            }
        };
        if let Some((certificate, identifier)) = self.replaced(session) {
            let replaced = || CertificateIdentifier {
                authority_key_identifier: Cow::Borrowed(&identifier.authority_key_identifier),
                serial: Cow::Borrowed(&identifier.serial),
            };
            let error = match ask!(session, session.account.new_order(&wanted().replaces(replaced())).await) {
                Ok(order) => return Ok(Ok(order)),
                Err(error) => error,
            };
            // An order that does not say what it replaces is an order.
            if let Some(url) = session.created() {
                return Ok(ask!(session, session.account.order(url.clone()).await));
            }
            let refused = is_about_replacement(&error);
            if !refused && !matches!(&error, CaError::Refused(refusal) if refusal.is("serverInternal")) {
                if may_be_about_replacement(&error) {
                    self.note(certificate, |renewal| renewal.refusals = renewal.refusals.saturating_add(1)).await?;
                }
                return Ok(Err(error));
            }
            self.say(format!("the CA takes no order in place of {identifier}: {error}; ordering without that"));
            // An internal error may have had nothing to do with it.
            if refused {
                self.note(certificate, |renewal| renewal.irreplaceable = true).await?;
            }
            // Now it is an order that the CA's limits count.
            self.keep_to_limits(renews_names(self.current, request)).await?;
        }
        Ok(match (ask!(session, session.account.new_order(&wanted()).await), session.created()) {
            // What cannot be read of the answer is read of the order.
            (Err(_), Some(url)) => ask!(session, session.account.order(url.clone()).await),
            (outcome, _) => outcome,
        })
    }

    /// Keeps what an order has shown of the certificate that it was to replace.
    async fn note(
        &mut self,
        certificate: &Certificate,
        note: impl FnOnce(&mut Renewal) + Send,
    ) -> Result<(), AttemptError> {
        let known = self.state.renewal.take().filter(|known| known.version == certificate.version);
        note(self.state.renewal.insert(known.unwrap_or_else(|| Renewal::of(certificate))));
        self.save().await
    }
}

impl<'a> Attempt<'a> {
    /// The certificate that the order takes the place of, if this CA issued it and wants to know.
    fn replaced(&self, session: &Session) -> Option<(&'a Certificate, CertificateIdentifier<'static>)> {
        replaced(self.current, &self.state, self.request, &session.directory)
    }
}

/// The certificate that an order for this request takes the place of, if the CA of this directory issued it and wants to
/// know.
fn replaced<'c>(
    current: Option<&'c Certificate>,
    state: &Issuance,
    request: &Request,
    directory: &Directory,
) -> Option<(&'c Certificate, CertificateIdentifier<'static>)> {
    let current = current.filter(|_| directory.renewal_info.is_some())?;
    let known = state.renewal.as_ref().filter(|known| known.version == current.version);
    // Better an order like any other than none.
    let in_vain = known.is_some_and(|known| known.irreplaceable || known.refusals >= IN_VAIN);
    let shares = current.names.iter().any(|name| request.names.contains(name));
    if in_vain || !shares || current.directory != request.directory {
        return None;
    }
    // What cannot be read is not named: the order matters more.
    Some((current, ari::identifier(&current.chain).ok()?))
}

/// What an order for this request is to the limits of the CA of this directory. One that names what it replaces meets
/// none, but only while the CA suggests it.
pub fn renews(
    current: Option<&Certificate>,
    state: &Issuance,
    request: &Request,
    directory: &Directory,
    now: Timestamp,
) -> Renews {
    let suggests = |certificate| state.renewal.as_ref().is_some_and(|known| known.suggests(now, certificate));
    match replaced(current, state, request, directory) {
        Some((certificate, _)) if suggests(certificate) => Renews::Replaces,
        _ => renews_names(current, request),
    }
}

/// When an order may be made after one that a limit forbids until then: it ends no renewal that the CA suggests earlier,
/// which meets none.
pub fn allowed_at(until: Timestamp, current: Option<&Certificate>, state: &Issuance, now: Timestamp) -> Timestamp {
    let known = state.renewal.as_ref().zip(current);
    let suggested = known.and_then(|(known, certificate)| known.moment_for(certificate));
    suggested.filter(|suggested| now < *suggested).map_or(until, |suggested| until.min(suggested))
}

/// The same as [`renews`] for an order that does not name what it replaces.
fn renews_names(current: Option<&Certificate>, request: &Request) -> Renews {
    match current {
        Some(current) if current.names == request.names && current.directory == request.directory => Renews::SameNames,
        _ => Renews::Nothing,
    }
}

/// Whether an order may be taken that is the same but for `replaces`: the certificate was replaced already, came to
/// another account, or the CA does not understand the field.
fn is_about_replacement(error: &CaError) -> bool {
    let CaError::Refused(Refusal { kind, status, words, .. }) = error else { return false };
    let is = |name: &str| kind.ends_with(name);
    *status == Some(409)
        || is(":alreadyReplaced")
        || is(":malformed")
        || is(":unauthorized")
        || (error.is_final() && words.to_ascii_lowercase().contains("replac"))
}

/// Whether the CA has looked at the order and refused it, for a reason that may be the replacement.
fn may_be_about_replacement(error: &CaError) -> bool {
    let CaError::Refused(refusal) = error else { return false };
    let is_busy = refusal.is("rateLimited") || matches!(refusal.status, Some(429 | 503));
    !is_busy && !error.is_unknown_account()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::ca::problem::About;

    #[test]
    fn an_order_is_made_again_only_if_the_replacement_was_the_reason_rfc9773_5() {
        let refused = |kind: &str, status: u16, words: &str| {
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            CaError::Refused(Refusal {
                about: About::Request,
                kind,
                parts: Vec::new(),
                status: Some(status),
                words: words.into(),
                retry_at: None,
                see: None,
            })
        };
        for error in [
            refused("alreadyReplaced", 409, "certificate with serial 1 already has a replacement order"),
            refused("conflict", 409, "no"),
            refused("malformed", 400, "parsing ARI CertID failed"),
            refused("unauthorized", 403, "requester account did not request the certificate being replaced"),
            refused("notFound", 404, "the certificate to be replaced is not known"),
        ] {
            assert!(is_about_replacement(&error), "{error:?}");
        }
        for error in [
            refused("rateLimited", 429, "too many; use replaces"),
            refused("rejectedIdentifier", 400, "forbidden by policy"),
            refused("serverInternal", 500, "no"),
            CaError::ProfileIgnored { wanted: "x".into() },
        ] {
            assert!(!is_about_replacement(&error), "{error:?}");
        }
    }
}
