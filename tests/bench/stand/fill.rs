//! Stores full of accounts, each with one label and one value at it.

use std::fs;
use std::path::{Path, PathBuf};

use acmezone::account::{Account, AllowFrom, Credential, Grant};
use acmezone::store::{Holder, Job, Kept, LabelRecord, Records, Sqlite, Store, StoreError, now};
use acmezone::zone::{Label, Name, Timestamp, TxtSet, TxtValue};

use super::labels::{self, ORIGIN};

/// The key of every account.
pub const KEY: &str = "benchmark-benchmark-benchmark-benchmark-";
/// Accounts in one transaction.
const BATCH: usize = 20_000;
/// Long enough for a store that is kept and used again.
const LIFETIME: Timestamp = 10 * 365 * 86_400;
/// Raised when what `store` writes changes, so that old files are not used again.
const FORM: u32 = 1;

/// A label to be put into a store, with its values.
pub struct Entry {
    pub username: uuid::Uuid,
    pub label: String,
    pub values: Vec<String>,
}

impl Entry {
    /// The account, label and value of this number.
    pub fn numbered(number: u64) -> Entry {
        let (username, label) = (labels::username(number), labels::label(number));
        Entry { username, label, values: vec![labels::value(number)] }
    }
}

/// A store file with the entries of all numbers below `count`; filled once, then used again. To be copied, not opened.
pub fn store(count: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stores");
    let finished = folder.join(format!("{count}-{FORM}.db"));
    if finished.exists() {
        return finished;
    }
    fs::create_dir_all(&folder).expect("a folder for the stores");
    let unfinished = folder.join(format!("{count}-{FORM}.unfinished"));
    for leftover in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{leftover}", unfinished.display()));
    }
    eprintln!("filling a store with {count} accounts, once: {}", finished.display());
    add(&unfinished, (0..count).map(Entry::numbered));
    // Closing the last connection took the write-ahead log in.
    fs::rename(&unfinished, &finished).expect("the store can be renamed");
    finished
}

/// Puts entries into a store that no server has open, and which is made if it is not there.
pub fn add(path: &Path, entries: impl IntoIterator<Item = Entry>) {
    let mut store = Sqlite::open(path).expect("the store opens");
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let mut job = Add(entries.by_ref().take(BATCH).collect());
        store.transact(&mut [&mut job]).expect("the store takes the entries");
    }
}

struct Add(Vec<Entry>);

impl Job for Add {
    fn run(&mut self, records: &mut dyn Records) -> Result<Kept, StoreError> {
        let zone = Name::parse(ORIGIN).expect("a name");
        let hash = Credential::parse(KEY).expect("a key").hash();
        let created = now();
        for Entry { username, label, values } in &self.0 {
            let grant = Grant { label: Label::parse(label).expect("a label"), zone: zone.clone() };
            let name = grant.name().expect("a name");
            records.put_account(&Account {
                username: *username,
                credentials: vec![hash.clone()],
                allow_from: AllowFrom::default(),
                grants: Vec::new(),
                created,
                updated: Some(created),
            })?;
            records.put_label(&LabelRecord { grant, holder: Holder::Account(*username) })?;
            let mut set = TxtSet::default();
            for value in values {
                set.add(TxtValue::new(value.as_bytes()).expect("a value"), created + LIFETIME);
            }
            records.put_txt(&name, &set)?;
        }
        Ok(Kept::Yes)
    }
}
