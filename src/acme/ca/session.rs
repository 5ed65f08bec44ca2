//! A conversation with a CA as the holder of an account.

use std::sync::Arc;

use bytes::Bytes;
use instant_acme::{Account, AccountCredentials, Order};
use tokio::time::Instant;

use super::account::{Kept, Stored, keep, stored};
use super::authority::Authority;
use super::directory::{Directory, Meta};
use super::error::{CaError, SessionError, protocol, told};
use super::http::Http;
use super::registration::register;
use super::rollover;
use crate::store::{Writer, now};
use crate::zone::Timestamp;

/// How often a request is made again whose nonce the CA does not take, each time with three nonces.
const NONCES: usize = 10;

/// Chains of one certificate that are fetched beside the one that the CA sends by itself.
const MOST_CHAINS: usize = 10;

/// Asks a session's CA, and asks again as long as it is only the nonce that the CA does not take: then it has not acted
/// (RFC 8555 section 6.5). instant-acme alone gives up after three. No function: what the request borrows, and that it
/// can be sent between threads, cannot be said in the types of one.
macro_rules! ask {
    ($session:expr, $request:expr) => {{
        let mut tries = 0;
        loop {
            if let Some(outcome) = $session.heard($request, &mut tries) {
                break outcome;
            }
        }
    }};
}
pub(in crate::acme) use ask;

/// A conversation with a CA as the holder of an account.
pub struct Session {
    pub account: Account,
    /// Thumbprints of the keys that the account had before.
    pub former_keys: Vec<String>,
    pub directory: Arc<Directory>,
    http: Http,
}

impl Session {
    /// Loads the account kept for the CA, or makes one, whose key is kept before the CA hears of it. Callers take turns,
    /// so that no CA gets two accounts; what keeps one of them from it, all hear who are waiting.
    pub async fn open(authority: &Authority, writer: &Writer) -> Result<Session, SessionError> {
        let asked = Instant::now();
        let http = authority.http().map_err(CaError::from)?;
        let directory = authority.directory(&http).await.map_err(CaError::from)?;
        let _turn = authority.turn.lock().await;
        if let Some(error) = authority.refused_since(asked) {
            return Err(error.into());
        }
        let opened = Session::open_in_turn(authority, http, directory, writer).await;
        if let Err(SessionError::Ca(error)) = &opened {
            authority.refused(error.clone());
        }
        opened
    }

    async fn open_in_turn(
        authority: &Authority,
        http: Http,
        directory: Arc<Directory>,
        writer: &Writer,
    ) -> Result<Session, SessionError> {
        let ca = &authority.ca;
        let kept = match stored(ca, writer).await? {
            Some(Stored::Account(kept)) => rollover::settle(ca, &http, &directory, writer, *kept).await?,
            Some(Stored::BeingMade(begun)) => register(ca, &http, &directory, writer, Some(begun)).await?,
            None => register(ca, &http, &directory, writer, None).await?,
        };
        let Kept { contact: known, credentials, created, next_key, former_keys } = kept;
        let again = copy(&credentials).map_err(|reason| protocol(&ca.directory, reason))?;
        let builder = Account::builder_with_http(Box::new(http.clone()));
        let account = builder.from_credentials(credentials).await.map_err(|error| told(error, &http))?;
        let session = Session { account, former_keys: former_keys.clone(), directory, http };
        let contact = ca.contact.clone();
        if known != contact && authority.hears_contact(now()) && session.tell_contact(authority).await {
            keep(ca, writer, &Kept { contact, credentials: again, created, next_key, former_keys }).await?;
        }
        Ok(session)
    }

    /// Tells the CA new contact addresses; whether it took them. Issuing does not depend on it.
    async fn tell_contact(&self, authority: &Authority) -> bool {
        let ca = &authority.ca;
        let contact: Vec<&str> = ca.contact.iter().map(String::as_str).collect();
        self.http.is_aside(self.account.id());
        match ask!(self, self.account.update_contacts(&contact).await) {
            Ok(()) => true,
            Err(error) => {
                authority.refused_contact(now(), error.retry_at());
                tracing::warn!(ca = %ca.name, %error, "the CA did not take the new contact addresses");
                false
            }
        }
    }

    /// Whether the CA can be asked for this profile.
    pub fn check_profile(&self, wanted: &str) -> Result<(), CaError> {
        check_profile(&self.directory.meta, wanted)
    }

    /// The names that the CA takes for its own in CAA records (RFC 8555 section 7.1.1).
    pub fn caa_identities(&self) -> &[String] {
        &self.directory.meta.caa_identities
    }

    /// Fetches all authorizations of an order, so that going through them asks nothing any more: what the CA has
    /// answered, for what instant-acme does not read of it.
    pub async fn fetch_authorizations(&self, order: &mut Order) -> Result<Vec<Bytes>, CaError> {
        let mut bodies = Vec::new();
        for index in 0..order.state().authorizations.len() {
            ask!(self, fetch_authorization(order, index).await)?;
            bodies.push(self.http.last().body);
        }
        Ok(bodies)
    }

    /// All chains that the CA offers for the certificate that it has just sent (RFC 8555 section 7.4.2), that one first.
    pub async fn chains(&self, sent: String) -> Vec<String> {
        let urls: Vec<String> = self.http.last().linked("alternate").take(MOST_CHAINS).map(str::to_owned).collect();
        let mut chains = vec![sent];
        for url in urls {
            self.http.is_aside(&url);
            // instant-acme fetches orders alone. This is none, and is taken from the answer.
            let outcome = ask!(self, self.account.order(url.clone()).await);
            let answer = self.http.last();
            match (String::from_utf8(answer.body.to_vec()), outcome) {
                (Ok(chain), _) if answer.url == url && answer.status.is_success() && !chain.is_empty() => {
                    chains.push(chain);
                }
                (_, Err(error)) => tracing::warn!(%error, "the CA offers another chain, and does not send it"),
                (_, Ok(_)) => {}
            }
        }
        chains
    }

    /// The outcome of a request, if it is not to be made again.
    pub fn heard<T>(&self, outcome: Result<T, instant_acme::Error>, tries: &mut usize) -> Option<Result<T, CaError>> {
        heard(&self.http, outcome, tries)
    }

    /// The error with what the last answer said beside it.
    pub fn told(&self, error: instant_acme::Error) -> CaError {
        told(error, &self.http)
    }

    /// The URL of what the CA made last, if its last answer was that it made something.
    pub fn created(&self) -> Option<String> {
        let last = self.http.last();
        last.location.filter(|_| last.status == http::StatusCode::CREATED)
    }

    /// Whether the CA's last answer is a success, so that a problem in it is one of what it shows.
    pub fn is_answered(&self) -> bool {
        self.http.last().status.is_success()
    }

    /// Until when the order holds that the CA's last answer shows, if it says so (RFC 8555 section 7.1.3).
    pub fn expires(&self) -> Option<Timestamp> {
        let order: serde_json::Value = serde_json::from_slice(&self.http.last().body).ok()?;
        let at: jiff::Timestamp = order.get("expires")?.as_str()?.parse().ok()?;
        u64::try_from(at.as_second()).ok()
    }

    /// When the CA's last answer asked us to come back.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.http.last().retry_at
    }
}

/// Whether a CA that says this of itself can be asked for this profile.
pub fn check_profile(meta: &Meta, wanted: &str) -> Result<(), CaError> {
    if meta.profiles.contains_key(wanted) {
        return Ok(());
    }
    Err(CaError::NoProfile { wanted: wanted.to_owned(), offered: meta.profiles.keys().cloned().collect() })
}

/// Goes through what is fetched already to the one that may not be.
async fn fetch_authorization(order: &mut Order, index: usize) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..index {
        authorizations.next().await.transpose()?;
    }
    authorizations.next().await.transpose().map(drop)
}

/// The outcome of a request, unless the CA did not take its nonce and `tries` are left.
fn heard<T>(http: &Http, outcome: Result<T, instant_acme::Error>, tries: &mut usize) -> Option<Result<T, CaError>> {
    let outcome = outcome.map_err(|error| told(error, http));
    *tries += 1;
    match outcome {
        Err(CaError::Refused(refusal)) if refusal.is("badNonce") && *tries < NONCES => None,
        outcome => Some(outcome),
    }
}

/// Credentials can be written and read, but not cloned.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, String> {
    let text = serde_json::to_string(credentials).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
