//! The keys that were made while the server ran. A shared secret has to be known to be used, so unlike a password it is
//! in the database itself, whose mode is 0600.

use serde::{Deserialize, Serialize};

use super::records::{Document, Holder, Records, Store, StoreError, parsed};
use super::{Body, UpdateError, Writer, now};
use crate::account::{Replace, TsigAlgorithm, TsigGrant, TsigKey, TsigSecret};
use crate::zone::{ACME_CHALLENGE, Label, Name, Timestamp};

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewTsigKey {
    pub name: Name,
    pub algorithm: TsigAlgorithm,
    /// Registered ones.
    pub labels: Vec<Label>,
    pub below: Vec<Name>,
    /// Domains whose challenge name is, or will be, an alias of a label.
    pub domains: Vec<Name>,
    pub replace: Replace,
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Config,
    Store {
        created: Timestamp,
        /// The configuration has another key of this name, which is the one that counts.
        hidden: bool,
    },
}

/// A key and where it comes from.
#[derive(Clone, Debug)]
pub struct TsigKeyEntry {
    pub key: TsigKey,
    pub origin: Origin,
}

/// The form in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    algorithm: TsigAlgorithm,
    /// In base64.
    secret: String,
    grants: Vec<TsigGrant>,
    replace: Replace,
    created: Timestamp,
}

impl Drop for Kept {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

impl Kept {
    fn new(key: &TsigKey, created: Timestamp) -> Kept {
        Kept {
            algorithm: key.algorithm,
            secret: key.secret.to_base64().to_string(),
            grants: key.grants.clone(),
            replace: key.replace,
            created,
        }
    }

    fn read(name: &str, body: &str) -> Result<(TsigKey, Timestamp), StoreError> {
        let kept: Kept = parsed(Document::TsigKey, name, body)?;
        let damaged = |what: &str| StoreError::Damaged(format!("{:?} {name}: {what}", Document::TsigKey));
        let key = TsigKey {
            name: Name::parse(name).map_err(|_| damaged("its name is none"))?,
            algorithm: kept.algorithm,
            secret: TsigSecret::from_base64(&kept.secret).ok_or_else(|| damaged("its secret is not in base64"))?,
            grants: kept.grants.clone(),
            replace: kept.replace,
        };
        Ok((key, kept.created))
    }
}

/// All keys of the store.
pub(super) fn stored(store: &mut impl Store) -> Result<Vec<TsigKey>, StoreError> {
    let read = |(name, body): (String, Body)| Kept::read(&name, &body).map(|(key, _)| key);
    store.documents(Document::TsigKey)?.into_iter().map(read).collect()
}

impl Writer {
    /// Makes a key with a random secret; it counts at once.
    pub async fn create_tsig_key(&self, new: NewTsigKey) -> Result<TsigKeyEntry, UpdateError> {
        let secret = TsigSecret::random(new.algorithm);
        let secret = secret.map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        let (writer, ring) = (self.clone(), self.keys.clone());
        let decide = move |records: &mut dyn Records, _: &mut Vec<_>| {
            let grants = writer.grants_of_key(records, &new)?;
            let key = TsigKey { name: new.name, algorithm: new.algorithm, secret, grants, replace: new.replace };
            let (name, created) = (key.name.to_string(), now());
            records.write(Document::TsigKey, &name, &Kept::new(&key, created))?;
            Ok(TsigKeyEntry { key, origin: Origin::Store { created, hidden: false } })
        };
        self.submit_then(decide, move |made| ring.add([made.key.clone()])).await
    }

    /// Takes a key out of the store. When it returns, nobody is believed with it.
    pub async fn revoke_tsig_key(&self, name: Name) -> Result<TsigKeyEntry, UpdateError> {
        let (writer, ring) = (self.clone(), self.keys.clone());
        let decide = move |records: &mut dyn Records, _: &mut Vec<_>| {
            let text = name.to_string();
            let Some(body) = records.document(Document::TsigKey, &text)? else {
                let configured = writer.keys.is_configured(&name);
                let why = if configured { UpdateError::ConfiguredTsigKey } else { UpdateError::UnknownTsigKey };
                return Err(why(name));
            };
            records.put_document(Document::TsigKey, &text, None)?;
            writer.entry(&text, &body).map_err(UpdateError::from)
        };
        self.submit_then(decide, move |revoked| ring.remove(&revoked.key.name)).await
    }

    /// All keys: those of the configuration, then those of the store, each by name.
    pub async fn tsig_keys(&self) -> Result<Vec<TsigKeyEntry>, UpdateError> {
        let writer = self.clone();
        let configured = self.keys.configured();
        let configured = configured.map(|key| TsigKeyEntry { key: TsigKey::clone(key), origin: Origin::Config });
        let mut all: Vec<_> = configured.collect();
        all.sort_by_cached_key(|entry| entry.key.name.to_string());
        self.submit(move |records, _| {
            for (name, body) in records.documents(Document::TsigKey)? {
                all.push(writer.entry(&name, &body)?);
            }
            Ok(all)
        })
        .await
    }

    /// The key that counts of those with this name.
    pub async fn tsig_key(&self, name: Name) -> Result<TsigKeyEntry, UpdateError> {
        let all = self.tsig_keys().await?;
        all.into_iter().find(|entry| entry.key.name == name).ok_or(UpdateError::UnknownTsigKey(name))
    }

    fn entry(&self, name: &str, body: &str) -> Result<TsigKeyEntry, StoreError> {
        let (key, created) = Kept::read(name, body)?;
        let hidden = self.keys.is_configured(&key.name);
        Ok(TsigKeyEntry { key, origin: Origin::Store { created, hidden } })
    }

    /// What a new key may change, if it can be made.
    fn grants_of_key(&self, records: &mut dyn Records, new: &NewTsigKey) -> Result<Vec<TsigGrant>, UpdateError> {
        let refused = |why: String| UpdateError::TsigKeyRefused(new.name.clone(), why);
        let names = [&new.name].into_iter().chain(&new.below).chain(&new.domains);
        if let Some(name) = names.into_iter().find(|name| !is_plain(name)) {
            return Err(refused(format!("`{name}` must be of letters, digits, hyphens and underscores")));
        }
        if self.keys.is_configured(&new.name) {
            return Err(refused("the configuration file has a [[tsig_key]] of this name".to_owned()));
        }
        if records.document(Document::TsigKey, &new.name.to_string())?.is_some() {
            return Err(refused("there is one of this name; revoke it first".to_owned()));
        }
        let mut grants = Vec::new();
        for label in &new.labels {
            let record = records.label(label)?;
            match record {
                Some(record) if matches!(record.holder, Holder::Account(_)) => {
                    grants.push(TsigGrant::Label(record.grant));
                }
                Some(record) => {
                    let why = match record.holder {
                        Holder::Domain(domain) => format!("is reserved for the certificates of {domain}"),
                        _ => "belonged to an account that was deleted".to_owned(),
                    };
                    return Err(refused(format!("the label `{label}` {why}")));
                }
                None => {
                    let how = format!("register it first: `acmezone account create --label {label}`");
                    return Err(refused(format!("the label `{label}` is not registered; {how}")));
                }
            }
        }
        for name in &new.below {
            if !self.origins.iter().any(|origin| name.is_at_or_below(origin)) {
                return Err(refused(format!("{name} is in no zone of this server")));
            }
            grants.push(TsigGrant::Below(name.clone()));
        }
        for domain in &new.domains {
            if domain.labels().any(|label| label == ACME_CHALLENGE || label == b"*") {
                let how = "name the domain itself, without `_acme-challenge` or `*`";
                return Err(refused(format!("{domain} is no domain that has a challenge name: {how}")));
            }
            grants.push(TsigGrant::Domain(domain.clone()));
        }
        if grants.is_empty() {
            return Err(refused("it could change nothing: give it a label, a name or a domain".to_owned()));
        }
        Ok(grants)
    }
}

/// Whether a name can stand in every client's configuration as it is.
fn is_plain(name: &Name) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_root() && name.labels().all(|label| label.iter().all(plain))
}
