//! One configured CA at run time, shared by all certificates that may come from it: its connections and its directory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::budget::Budget;
use super::directory::{BadDirectory, Directory};
use super::error::CaError;
use super::http::{Http, HttpError, NoClient, Pool};
use crate::acme::pause::{DAY, Pause};
use crate::config::{Ca, Proxy};
use crate::zone::Timestamp;

/// How long a directory is taken for what the CA says.
const FRESH: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub struct Authority {
    pub ca: Ca,
    proxy: Option<Proxy>,
    /// Held while the account at the CA is loaded or made.
    pub turn: tokio::sync::Mutex<()>,
    /// Read by whoever signs requests with the account's key, and written to give it another: nobody signs meanwhile.
    pub signing: tokio::sync::RwLock<()>,
    pub breaker: Arc<Breaker>,
    /// One for all CAs of the same directory.
    pub budget: Arc<Budget>,
    /// Made when it is needed, because that reads the system's roots. What fails is tried again.
    pool: Mutex<Option<Pool>>,
    /// Held while the directory is fetched.
    directory: tokio::sync::Mutex<Option<Fetched>>,
    /// Why there was no session the last time, and since when that is known.
    refused: Mutex<Option<(Instant, CaError)>>,
    /// The CA did not take the contact addresses and is not told again meanwhile.
    contact: Mutex<Option<Pause>>,
}

/// The last fetch of the directory.
#[derive(Clone, Debug)]
struct Fetched {
    at: Instant,
    outcome: Result<(Arc<Directory>, Bytes), NoDirectory>,
}

/// Why there is no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDirectory {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the answer from {url} is not an ACME directory: {error}")]
    Bad { url: String, error: BadDirectory },
}

impl Authority {
    pub fn new(ca: Ca, proxy: Option<Proxy>) -> Authority {
        Authority {
            ca,
            proxy,
            turn: tokio::sync::Mutex::default(),
            signing: tokio::sync::RwLock::default(),
            breaker: Arc::default(),
            budget: Arc::default(),
            pool: Mutex::default(),
            directory: tokio::sync::Mutex::default(),
            refused: Mutex::default(),
            contact: Mutex::default(),
        }
    }

    /// A new conversation with the CA.
    pub fn http(&self) -> Result<Http, NoClient> {
        let began = Instant::now();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match &mut *pool {
            Some(pool) => pool,
            none => none.insert(Pool::new(self.ca.root.as_deref(), self.proxy.as_ref())?),
        };
        let mut http = pool.conversation(self.breaker.clone());
        http.began = began;
        http.is_common(&self.ca.directory);
        Ok(http)
    }

    /// What the CA says of itself, not older than a few minutes; fetched once for all who ask at the same time. The
    /// conversation knows it from then on.
    pub async fn directory(&self, http: &Http) -> Result<Arc<Directory>, NoDirectory> {
        let mut fetched = self.directory.lock().await;
        let outcome = match &*fetched {
            Some(Fetched { at, outcome: Ok(known) }) if at.elapsed() < FRESH => Ok(known.clone()),
            // Somebody else has asked in vain, since this one made up his mind to ask.
            Some(Fetched { at, outcome: Err(error) }) if *at >= http.began => Err(error.clone()),
            _ => {
                let outcome = self.fetch(http).await;
                *fetched = Some(Fetched { at: Instant::now(), outcome: outcome.clone() });
                outcome
            }
        };
        let (directory, body) = outcome?;
        http.know(self.ca.directory.clone(), body);
        http.is_common(&directory.new_nonce);
        http.is_common(&directory.new_account);
        for url in directory.revoke_cert.iter().chain(&directory.key_change) {
            http.is_aside(url);
        }
        Ok(directory)
    }

    /// What the CA said to somebody else who wanted a session, if it was after this moment: who was waiting meanwhile
    /// need not ask the same.
    pub fn refused_since(&self, asked: Instant) -> Option<CaError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|(at, _)| *at >= asked).map(|(_, error)| error.clone())
    }

    /// Remembers why there is no session.
    pub fn refused(&self, error: CaError) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error));
    }

    /// Whether the CA may be told the contact addresses: it has not refused them a while ago.
    pub fn hears_contact(&self, now: Timestamp) -> bool {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.is_none_or(|refused| refused.end(now) <= now)
    }

    /// Remembers that the CA did not take the contact addresses, and when it wants to be asked again.
    pub fn refused_contact(&self, now: Timestamp, retry_at: Option<Timestamp>) {
        let pause = Pause::after_failure(now, DAY, retry_at, None);
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(pause);
    }

    /// Lets the next one who asks for the directory fetch it anew: the CA may have moved.
    pub async fn doubt_directory(&self) {
        let mut fetched = self.directory.lock().await;
        if fetched.as_ref().is_some_and(|fetched| fetched.outcome.is_ok()) {
            *fetched = None;
        }
    }

    async fn fetch(&self, http: &Http) -> Result<(Arc<Directory>, Bytes), NoDirectory> {
        let url = &self.ca.directory;
        let body = http.get(url).await?.body;
        let directory = Directory::read(&body).map_err(|error| NoDirectory::Bad { url: url.clone(), error })?;
        Ok((Arc::new(directory), body))
    }
}
