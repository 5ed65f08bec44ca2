//! The certificate of the API while the server runs: where it comes from, and what has to wait for it.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::acme::{Issuer, Serving};
use crate::config::{ApiTls, Config};
use crate::listen::{Pair, Shown, Unusable, Watch};
use crate::store::now;

/// The certificate that HTTPS and DNS over TLS show.
pub(super) struct Certificate {
    pub(super) shown: Arc<Shown>,
    source: Source,
}

enum Source {
    Files(Box<Watch>),
    Acme(Acme),
}

/// A certificate of the embedded ACME client.
struct Acme {
    name: String,
    offers: watch::Receiver<Option<Arc<Serving>>>,
    /// There is one that clients would accept.
    ready: bool,
}

impl Certificate {
    /// What there is at the start; `None` if the API speaks no TLS. Of an ACME certificate there may be none that is
    /// valid: then [`Certificate::waits`] has its name.
    pub(super) async fn at_start(config: &Config, issuer: &Issuer) -> Result<Option<Certificate>, StartError> {
        let shown = Shown::new();
        let source = match &config.api.tls {
            None => return Ok(None),
            Some(ApiTls::Files(files)) => {
                let watch = Watch::start(files, shown.clone()).map_err(StartError::one)?;
                Source::Files(Box::new(watch))
            }
            Some(ApiTls::Acme { certificate: name }) => {
                let offers = issuer.follow(name).await.map_err(StartError::one)?;
                let unknown = || StartError::one(format!("[api] tls: there is no certificate `{name}`"));
                let mut offers = offers.ok_or_else(unknown)?;
                let stored = offers.borrow_and_update().as_deref().map(pair);
                let host = config.api.hostname.as_ref().map(ToString::to_string).unwrap_or_default();
                let good = |pair: &Pair| pair.not_after > now() && pair.is_for(&host);
                let good = stored.and_then(Result::ok).filter(good);
                if let Some(pair) = &good {
                    shown.put(pair);
                }
                Source::Acme(Acme { name: name.clone(), offers, ready: good.is_some() })
            }
        };
        Ok(Some(Certificate { shown, source }))
    }

    /// The name of the certificate without which there is nothing to show.
    pub(super) fn waits(&self) -> Option<&str> {
        match &self.source {
            Source::Acme(acme) if !acme.ready => Some(&acme.name),
            _ => None,
        }
    }

    /// Shows each new certificate until `stop` is cancelled. `ready` hears of the first one, if there was none.
    pub(super) async fn run(self, ready: Option<oneshot::Sender<()>>, stop: CancellationToken) {
        let Acme { name, mut offers, .. } = match self.source {
            Source::Files(watch) => return watch.run(stop).await,
            Source::Acme(acme) => acme,
        };
        let mut ready = ready;
        // An error says that the issuer is gone.
        while let Some(Ok(())) = stop.run_until_cancelled(offers.changed()).await {
            let Some(offered) = offers.borrow_and_update().clone() else { continue };
            match pair(&offered) {
                Ok(pair) => {
                    self.shown.put(&pair);
                    let (serial, not_after) = (&pair.serial, pair.not_after());
                    tracing::info!(certificate = name, serial, %not_after, "API: the new certificate is in use");
                    if let Some(ready) = ready.take() {
                        // An error says that the server stops.
                        let _ = ready.send(());
                    }
                }
                // It was judged when it arrived.
                Err(error) => tracing::error!(certificate = name, %error, "API: the new certificate cannot be used"),
            }
        }
    }
}

fn pair(serving: &Serving) -> Result<Pair, Unusable> {
    Pair::from_pem(serving.chain().as_bytes(), serving.private_key().as_bytes())
}
