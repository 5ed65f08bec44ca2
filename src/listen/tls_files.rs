//! The certificate of the API in files that somebody else writes: looked at again and again, and used as soon as what
//! they hold is another certificate with its key.
//!
//! What they hold is compared, not when they were written: certbot, acmezone and others switch a symbolic link. Two files
//! are never written in one moment, so it is no trouble if they do not fit together for a while. A chain that was written
//! as far as the server's own certificate looks whole: so another certificate is used when two looks in a row have found
//! the same.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::tls::{Pair, Shown, Unusable};
use crate::config::TlsFiles;
use crate::store::now;
use crate::zone::Timestamp;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long the files may be unusable before that is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// A certificate with less time left than this is one that somebody forgot, seconds.
const SOON: u64 = 7 * 86_400;
/// How often that is told.
const DAY: Duration = Duration::from_secs(86_400);

/// Why the certificate of the API cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {path}: {reason}")]
pub struct TlsError {
    pub path: String,
    pub reason: String,
}

/// What the files hold, and whether it is in use.
#[derive(Debug)]
pub struct Watch {
    files: TlsFiles,
    shown: Arc<Shown>,
    /// Of what is in use.
    digest: [u8; 32],
    pair: Pair,
    /// Of another pair, at the last look: used if the next one finds the same.
    arriving: Option<[u8; 32]>,
    trouble: Option<Trouble>,
    /// When it was told that the certificate will not be valid for long.
    told_expiry: Option<Instant>,
}

/// The files cannot be used.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: Option<TlsError>,
}

/// What a look at the files came to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    /// Another pair, for the first time.
    Arriving,
    Swapped,
    /// Perhaps they are being written.
    Unusable,
    /// To be told, once.
    Trouble(TlsError),
}

/// Judges the files.
pub fn check(files: &TlsFiles) -> Result<(), TlsError> {
    Found::read(files)?.pair(files).map(|_| ())
}

impl Watch {
    /// Reads the files and shows what they hold.
    pub fn start(files: &TlsFiles, shown: Arc<Shown>) -> Result<Watch, TlsError> {
        let found = Found::read(files)?;
        let (digest, pair) = (found.digest, found.pair(files)?);
        shown.put(&pair);
        Ok(Watch { files: files.clone(), shown, digest, pair, arriving: None, trouble: None, told_expiry: None })
    }

    /// Looks at the files until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // Off the runtime's threads: the files may be on a slow disk.
            let looked = tokio::task::spawn_blocking(move || {
                let look = self.look(Instant::now());
                self.tell(&look, Instant::now(), now());
                self
            });
            self = match looked.await {
                Ok(watch) => watch,
                Err(error) => {
                    return tracing::error!(%error, "the files of the API's certificate are not watched any more");
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn look(&mut self, at: Instant) -> Look {
        let before = self.arriving.take();
        let error = match Found::read(&self.files) {
            Ok(found) if found.digest == self.digest => {
                self.trouble = None;
                return Look::Same;
            }
            Ok(found) => match found.pair(&self.files) {
                Ok(_) if before != Some(found.digest) => {
                    self.arriving = Some(found.digest);
                    return Look::Arriving;
                }
                Ok(pair) => {
                    self.shown.put(&pair);
                    (self.digest, self.pair, self.trouble, self.told_expiry) = (found.digest, pair, None, None);
                    return Look::Swapped;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        let trouble = self.trouble.get_or_insert(Trouble { since: at, told: None });
        if at.duration_since(trouble.since) < PATIENCE || trouble.told.as_ref() == Some(&error) {
            return Look::Unusable;
        }
        trouble.told = Some(error.clone());
        Look::Trouble(error)
    }

    fn tell(&mut self, look: &Look, at: Instant, now: Timestamp) {
        let certificate = self.files.certificate.display();
        let (serial, not_after) = (&self.pair.serial, self.pair.not_after());
        match look {
            Look::Same | Look::Arriving | Look::Unusable => {}
            Look::Swapped => {
                tracing::info!(%certificate, serial, %not_after, "API: the new certificate is in use");
            }
            Look::Trouble(error) => {
                tracing::warn!(%error, "API: the files of the certificate cannot be used; the one before stays in use");
            }
        }
        if let Some(expiry) = self.expiry(at, now) {
            let certificate = self.files.certificate.display();
            tracing::warn!(%certificate, serial = self.pair.serial, %not_after, "API: the certificate {expiry}");
        }
    }

    /// What is to be told of the time that the certificate has left, once a day.
    fn expiry(&mut self, at: Instant, now: Timestamp) -> Option<&'static str> {
        let told = self.told_expiry.is_some_and(|told| at.duration_since(told) < DAY);
        if told || self.pair.not_after >= now + SOON {
            return None;
        }
        self.told_expiry = Some(at);
        Some(if self.pair.not_after <= now { "has expired" } else { "expires soon" })
    }
}

/// The files' octets, and what is told apart by them.
struct Found {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    digest: [u8; 32],
}

impl Found {
    fn read(files: &TlsFiles) -> Result<Found, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| unusable(path, error));
        let (chain, key) = (read(&files.certificate)?, Zeroizing::new(read(&files.private_key)?));
        let digest = Sha256::new()
            .chain_update((chain.len() as u64).to_be_bytes())
            .chain_update(&chain)
            .chain_update(&key[..])
            .finalize();
        Ok(Found { chain, key, digest: digest.into() })
    }

    fn pair(&self, files: &TlsFiles) -> Result<Pair, TlsError> {
        Pair::from_pem(&self.chain, &self.key).map_err(|reason| match reason {
            Unusable::Certificate(reason) => unusable(&files.certificate, reason),
            Unusable::Key(reason) => unusable(&files.private_key, reason),
            Unusable::OtherKey => {
                let certificate = files.certificate.display();
                unusable(&files.private_key, format!("it is not the key of the certificate in {certificate}"))
            }
        })
    }
}

fn unusable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError { path: path.display().to_string(), reason: reason.to_string() }
}
