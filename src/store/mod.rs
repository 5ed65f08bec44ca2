//! The durable state: accounts, labels, values, and the documents of the ACME client; and the one writer of it.

mod accounts;
mod aliases;
mod body;
mod permission;
mod records;
mod sqlite;
mod state;
mod storages;
mod tokens;
mod tsig_keys;
mod writer;

pub use body::{Body, Put};
pub use records::{Document, Holder, Job, Kept, LabelRecord, Records, Revision, Store, StoreError};
pub use sqlite::Sqlite;
pub use state::State;
pub use storages::StorageRefused;
pub use tokens::TokenRefused;
pub use tsig_keys::{NewTsigKey, Origin, TsigKeyEntry};
pub use writer::{Actor, Policy, RegisterLabel, Registration, UpdateError, Writer, WriterHandle, now};
