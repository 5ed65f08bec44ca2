//! The certificate in use, for who serves with it in this process.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::Issuer;
use super::certificate::Certificate;
use super::secret::Secret;
use crate::store::UpdateError;

/// A certificate with its key. The key is wiped from memory when the last copy goes, never in `Debug`.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    version: u64,
    chain: String,
    private_key: Secret,
}

impl Serving {
    /// The certificate and the ones that lead to a root, in PEM.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// PKCS#8 in PEM.
    pub fn private_key(&self) -> &str {
        self.private_key.reveal()
    }
}

/// Where those who follow a certificate hear of the next one. Without them nothing is kept.
pub(super) struct Offer(watch::Sender<Option<Arc<Serving>>>);

impl Offer {
    /// Tells of a certificate, unless it is as old as the one that is known, or older.
    pub(super) fn put(&self, certificate: &Certificate) {
        if self.0.receiver_count() == 0 {
            return;
        }
        self.0.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|known| known.version < certificate.version);
            if newer {
                *known = Some(Arc::new(Serving {
                    version: certificate.version,
                    chain: certificate.chain.clone(),
                    private_key: certificate.private_key.clone(),
                }));
            }
            newer
        });
    }
}

impl Default for Offer {
    fn default() -> Offer {
        Offer(watch::Sender::new(None))
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer(…)")
    }
}

impl Issuer {
    /// The certificate in use, as it is in the store, and from then on each one that takes its place. `None` if the
    /// configuration has none of this name.
    pub async fn follow(&self, name: &str) -> Result<Option<watch::Receiver<Option<Arc<Serving>>>>, UpdateError> {
        let Some(slot) = self.slot(name) else { return Ok(None) };
        let offers = slot.offer.0.subscribe();
        if let (_, Some(certificate)) = self.load(slot).await? {
            slot.offer.put(&certificate);
        }
        Ok(Some(offers))
    }
}
