//! What a store can do. The comments here are the contract; one battery of tests holds every store to it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Body;
use crate::account::{Account, Grant};
use crate::zone::{Change, Label, Name, Timestamp, TxtSet};

/// How many commits there have been; never falls, also not over a restart.
pub type Revision = u64;

/// Why the store could not do its work. The update that asked for it has not happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the store {path}: {reason}")]
    Open { path: String, reason: String },
    #[error(
        "the store {path} has schema version {found}; this acmezone knows versions up to {known}. Use a newer acmezone, or restore an older backup"
    )]
    NewerSchema { path: String, found: i64, known: i64 },
    #[error("the store cannot be written or read: {0}")]
    Failed(String),
    #[error("the store holds a damaged entry: {0}")]
    Damaged(String),
}

/// Who a label is registered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Account(Uuid),
    /// Reserved by the embedded ACME client for the challenges of this domain.
    Domain(Name),
    /// A tombstone: once used, never given away again, because a forgotten CNAME may still point here.
    Nobody,
}

/// A label that is or was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRecord {
    pub grant: Grant,
    pub holder: Holder,
}

/// What is kept as text, of which only its owner knows the form: JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Key: name of the CA, a space, URL of its directory.
    CaAccount,
    /// Key: name of the certificate. The step that its issuance has reached, and the last failure.
    Issuance,
    /// Key: name of the certificate, `/`, version. Private key and chain.
    Certificate,
    /// Key: name of the certificate. Which program still has to run and who has to be told.
    Deployment,
    /// Key: URL of the CA's directory. What counts against the CA's rate limits.
    CaLedger,
    /// Key: name of the certificate. What has happened to it.
    History,
    /// Key: hexadecimal SHA-256 of the token.
    RegistrationToken,
    /// Key: hexadecimal SHA-256 of the secret. The domains that it opens, with their labels.
    HttpStorage,
    /// Key: name of the key.
    TsigKey,
    /// Key: the domain. The label that its challenge name is an alias of.
    Alias,
}

/// Typed reads and writes inside one transaction. Reads see the writes made before them.
pub trait Records {
    /// Whether anything was written in this transaction, so that its commit will be another revision.
    fn is_changed(&mut self) -> bool;

    fn account(&mut self, username: Uuid) -> Result<Option<Account>, StoreError>;
    /// All accounts, oldest first.
    fn accounts(&mut self) -> Result<Vec<Account>, StoreError>;
    /// Inserts the account, or replaces everything of it but its grants, which are labels (see `put_label`).
    fn put_account(&mut self, account: &Account) -> Result<(), StoreError>;
    /// Notes that the account has put in a value.
    fn touch_account(&mut self, username: Uuid, now: Timestamp) -> Result<(), StoreError>;
    /// Deletes the account and its credentials. Its labels are the caller's to turn into tombstones.
    fn delete_account(&mut self, username: Uuid) -> Result<(), StoreError>;

    fn label(&mut self, label: &Label) -> Result<Option<LabelRecord>, StoreError>;
    /// Labels reserved for a domain.
    fn label_of_domain(&mut self, domain: &Name, zone: &Name) -> Result<Option<LabelRecord>, StoreError>;
    /// Inserts or replaces the record of this label.
    fn put_label(&mut self, record: &LabelRecord) -> Result<(), StoreError>;

    /// The values kept for a name, expired ones included.
    fn txt(&mut self, name: &Name) -> Result<TxtSet, StoreError>;
    /// Replaces all values of the name.
    fn put_txt(&mut self, name: &Name, set: &TxtSet) -> Result<(), StoreError>;
    /// Names that have a value whose expiry is at or before `now`.
    fn names_with_expired(&mut self, now: Timestamp) -> Result<Vec<Name>, StoreError>;

    fn document(&mut self, kind: Document, key: &str) -> Result<Option<Body>, StoreError>;
    /// All documents of the kind with their keys, in the order of the keys.
    fn documents(&mut self, kind: Document) -> Result<Vec<(String, Body)>, StoreError>;
    /// Inserts or replaces; `None` deletes.
    fn put_document(&mut self, kind: Document, key: &str, body: Option<&str>) -> Result<(), StoreError>;
}

/// Documents as what they say.
impl dyn Records + '_ {
    pub fn read<T: DeserializeOwned>(&mut self, kind: Document, key: &str) -> Result<Option<T>, StoreError> {
        self.document(kind, key)?.map(|body| parsed(kind, key, &body)).transpose()
    }

    /// All of the kind, in the order of their keys.
    pub fn read_all<T: DeserializeOwned>(&mut self, kind: Document) -> Result<Vec<(String, T)>, StoreError> {
        let parse = |(key, body): (String, Body)| parsed(kind, &key, &body).map(|value| (key, value));
        self.documents(kind)?.into_iter().map(parse).collect()
    }

    /// Inserts or replaces.
    pub fn write<T: Serialize>(&mut self, kind: Document, key: &str, value: &T) -> Result<(), StoreError> {
        self.put_document(kind, key, Some(&Body::of(value)?))
    }
}

pub(super) fn parsed<T: DeserializeOwned>(kind: Document, key: &str, body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged(format!("{kind:?} {key}: {error}")))
}

/// Whether what a job wrote is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
}

/// A piece of work inside a transaction.
pub trait Job {
    /// Reads, decides, writes. An error aborts the whole transaction; [`Kept::No`] undoes this job's writes alone.
    fn run(&mut self, records: &mut dyn Records) -> Result<Kept, StoreError>;
}

/// A durable store with one writer.
///
/// When `transact` returns `Ok`, everything that its jobs kept survives a power cut; when it returns an error,
/// nothing of it has happened. Jobs run in order, each sees what the ones before it kept.
pub trait Store: Send + 'static {
    /// Shows everything that is served from memory, name by name: all that are registered, then all values, then the
    /// aliases. A million names are never in memory twice.
    fn load(&mut self, show: &mut dyn FnMut(Change)) -> Result<Revision, StoreError>;

    /// All documents of the kind with their keys, in the order of the keys.
    fn documents(&mut self, kind: Document) -> Result<Vec<(String, Body)>, StoreError>;

    /// Runs the jobs in one transaction and commits it durably; the revision after it.
    fn transact(&mut self, jobs: &mut [&mut dyn Job]) -> Result<Revision, StoreError>;
}
