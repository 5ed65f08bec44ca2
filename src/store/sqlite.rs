//! The store on one machine: SQLite in WAL mode, every commit on the disk before it is acknowledged.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::records::{Document, Holder, Job, Kept, LabelRecord, Records, Revision, Store, StoreError};
use super::{Body, aliases};
use crate::account::{Account, AllowFrom, CredentialHash, Grant};
use crate::zone::{Change, Held, Label, Name, Timestamp, TxtSet, TxtValue};

/// One step per schema version, from the one before; never edited once released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE revision (number INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (0);
    CREATE TABLE account (
        username   TEXT PRIMARY KEY,
        allow_from TEXT NOT NULL,           -- JSON list of CIDRs
        created    INTEGER NOT NULL,        -- seconds since 1970
        updated    INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE credential (
        account TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
        hash    BLOB NOT NULL,              -- SHA-256
        PRIMARY KEY (account, hash)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE label (
        label   TEXT PRIMARY KEY,
        zone    TEXT NOT NULL,
        account TEXT REFERENCES account,    -- one of account and domain, or none: a tombstone
        domain  TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX label_account ON label (account) WHERE account IS NOT NULL;
    CREATE UNIQUE INDEX label_domain ON label (domain, zone) WHERE domain IS NOT NULL;
    CREATE TABLE txt (
        name    TEXT NOT NULL,
        id      INTEGER NOT NULL,           -- the smallest of a name is its oldest
        value   BLOB NOT NULL,
        expires INTEGER NOT NULL,           -- seconds since 1970
        PRIMARY KEY (name, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX txt_expires ON txt (expires);
    CREATE TABLE document (
        kind TEXT NOT NULL,
        key  TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;
"];

/// A store in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens or makes the file (mode 0600) and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Sqlite, StoreError> {
        let failed = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        // The file exists with its mode before SQLite opens it; the -wal and -shm files take the mode over. A restored
        // backup may have another one.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
            .map_err(|error| failed(error.to_string()))?;
        let connection = Connection::open(path).map_err(|error| failed(error.to_string()))?;
        let mut store = Sqlite { connection };
        store.prepare().map_err(|error| failed(error.to_string()))?;
        store.migrate(path.to_owned())?;
        Ok(store)
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(std::time::Duration::from_secs(5))?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "foreign_keys", "ON")?;
        // What is deleted may be a private key: its place is overwritten. That costs writing pages that would only have
        // been given back, of documents longer than a page.
        self.connection.pragma_update(None, "secure_delete", "ON")?;
        self.connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        self.connection.set_prepared_statement_cache_capacity(64);
        Ok(())
    }

    fn migrate(&mut self, path: PathBuf) -> Result<(), StoreError> {
        let found: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let known = MIGRATIONS.len() as i64;
        let Some(pending) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
            return Err(StoreError::NewerSchema { path: path.display().to_string(), found, known });
        };
        if pending.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        for step in pending {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        Ok(transaction.commit()?)
    }
}

impl Store for Sqlite {
    fn load(&mut self, show: &mut dyn FnMut(Change)) -> Result<Revision, StoreError> {
        let transaction = self.connection.transaction()?;
        let revision = transaction.query_row("SELECT number FROM revision", [], |row| row.get::<_, i64>(0))?;
        let mut statement =
            transaction.prepare("SELECT label, zone FROM label WHERE account IS NOT NULL OR domain IS NOT NULL")?;
        let mut rows = statement.query([])?;
        let mut origin = Name::root();
        let mut origin_text = String::from(".");
        while let Some(row) = rows.next()? {
            let zone = row.get_ref(1)?.as_str().map_err(damaged)?;
            if zone != origin_text {
                (origin, origin_text) = (name(zone)?, zone.to_owned());
            }
            let label = row.get_ref(0)?.as_str().map_err(damaged)?;
            show(Change::Registered { name: origin.child(label.as_bytes()).map_err(damaged)? });
        }
        drop(rows);
        drop(statement);
        let mut statement = transaction.prepare("SELECT name, value, expires FROM txt ORDER BY name, id")?;
        let mut rows = statement.query([])?;
        let (mut of, mut values) = (String::new(), Vec::new());
        let mut show_values = |of: &str, values: &mut Vec<Held>| -> Result<(), StoreError> {
            if !values.is_empty() {
                show(Change::Txt { name: name(of)?, set: TxtSet::from_held(std::mem::take(values)) });
            }
            Ok(())
        };
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().map_err(damaged)?;
            if text != of {
                show_values(&of, &mut values)?;
                text.clone_into(&mut of);
            }
            values.push(held(row.get_ref(1)?.as_blob().map_err(damaged)?, row.get(2)?)?);
        }
        show_values(&of, &mut values)?;
        drop(rows);
        drop(statement);
        let mut records = InTransaction { connection: &transaction, changed: false, before: 0 };
        aliases::shown(&mut records)?.into_iter().for_each(show);
        Ok(revision as u64)
    }

    fn documents(&mut self, kind: Document) -> Result<Vec<(String, Body)>, StoreError> {
        InTransaction { connection: &self.connection, changed: false, before: 0 }.documents(kind)
    }

    fn transact(&mut self, jobs: &mut [&mut dyn Job]) -> Result<Revision, StoreError> {
        // Rolls back when dropped before the commit.
        let transaction = self.connection.transaction()?;
        let mut changed = false;
        for job in jobs {
            transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
            let before = transaction.total_changes();
            match job.run(&mut InTransaction { connection: &transaction, changed, before })? {
                Kept::Yes => changed |= transaction.total_changes() != before,
                Kept::No => drop(transaction.prepare_cached("ROLLBACK TO job")?.execute([])?),
            }
            transaction.prepare_cached("RELEASE job")?.execute([])?;
        }
        if changed {
            transaction.prepare_cached("UPDATE revision SET number = number + 1")?.execute([])?;
        }
        let revision: i64 =
            transaction.prepare_cached("SELECT number FROM revision")?.query_row([], |row| row.get(0))?;
        transaction.commit()?;
        Ok(revision as u64)
    }
}

struct InTransaction<'a> {
    connection: &'a Connection,
    /// By the jobs before this one.
    changed: bool,
    /// Rows that the connection had changed before this job.
    before: u64,
}

impl Records for InTransaction<'_> {
    fn is_changed(&mut self) -> bool {
        self.changed || self.connection.total_changes() != self.before
    }

    fn account(&mut self, username: Uuid) -> Result<Option<Account>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT username, allow_from, created, updated FROM account WHERE username = ?")?;
        let found = statement.query_row([username.to_string()], |row| Ok(account_row(row))).optional()?.transpose()?;
        // Everything is looked for also when there is no such account: a stranger who measures time learns nothing.
        let credentials = self.credentials_of(&username.to_string())?;
        let grants = self.grants_of(&username.to_string())?;
        Ok(found.map(|account| Account { credentials, grants, ..account }))
    }

    fn accounts(&mut self) -> Result<Vec<Account>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT username, allow_from, created, updated FROM account ORDER BY created, username")?;
        let rows = statement.query_map([], |row| Ok(account_row(row)))?;
        let complete = |account: Account| {
            let username = account.username.to_string();
            let (credentials, grants) = (self.credentials_of(&username)?, self.grants_of(&username)?);
            Ok(Account { credentials, grants, ..account })
        };
        rows.map(|row| complete(row??)).collect()
    }

    fn put_account(&mut self, account: &Account) -> Result<(), StoreError> {
        let username = account.username.to_string();
        let entries: Vec<&str> = account.allow_from.entries().collect();
        let allow_from = serde_json::to_string(&entries).map_err(damaged)?;
        self.connection
            .prepare_cached(
                "INSERT INTO account (username, allow_from, created, updated) VALUES (?, ?, ?, ?)
                 ON CONFLICT (username) DO UPDATE SET allow_from = excluded.allow_from, updated = excluded.updated",
            )?
            .execute(params![username, allow_from, account.created as i64, account.updated.map(|at| at as i64)])?;
        self.connection.prepare_cached("DELETE FROM credential WHERE account = ?")?.execute([&username])?;
        for hash in &account.credentials {
            self.connection
                .prepare_cached("INSERT INTO credential (account, hash) VALUES (?, ?)")?
                .execute(params![username, hash.as_bytes()])?;
        }
        Ok(())
    }

    fn touch_account(&mut self, username: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE account SET updated = ? WHERE username = ?")?
            .execute(params![now as i64, username.to_string()])?;
        Ok(())
    }

    fn delete_account(&mut self, username: Uuid) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM account WHERE username = ?")?.execute([username.to_string()])?;
        Ok(())
    }

    fn label(&mut self, label: &Label) -> Result<Option<LabelRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT label, zone, account, domain FROM label WHERE label = ?")?;
        statement.query_row([label.as_str()], |row| Ok(label_record(row))).optional()?.transpose()
    }

    fn label_of_domain(&mut self, domain: &Name, zone: &Name) -> Result<Option<LabelRecord>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT label, zone, account, domain FROM label WHERE domain = ? AND zone = ?")?;
        statement.query_row([domain.to_string(), zone.to_string()], |row| Ok(label_record(row))).optional()?.transpose()
    }

    fn put_label(&mut self, record: &LabelRecord) -> Result<(), StoreError> {
        let (account, domain) = match &record.holder {
            Holder::Account(username) => (Some(username.to_string()), None),
            Holder::Domain(domain) => (None, Some(domain.to_string())),
            Holder::Nobody => (None, None),
        };
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO label (label, zone, account, domain) VALUES (?, ?, ?, ?)")?
            .execute(params![record.grant.label.as_str(), record.grant.zone.to_string(), account, domain])?;
        Ok(())
    }

    fn txt(&mut self, name: &Name) -> Result<TxtSet, StoreError> {
        Ok(TxtSet::from_held(self.rows_of(&name.to_string())?.into_iter().map(|(_, held)| held).collect()))
    }

    /// Touches only the rows that change: a value more or less must not cost a rewrite of the other 63.
    fn put_txt(&mut self, name: &Name, set: &TxtSet) -> Result<(), StoreError> {
        let name = name.to_string();
        let mut wanted = set.held();
        let mut last = 0;
        let mut delete = self.connection.prepare_cached("DELETE FROM txt WHERE name = ? AND id = ?")?;
        for (id, held) in self.rows_of(&name)? {
            last = id;
            match wanted.split_first() {
                Some((first, rest)) if *first == held => wanted = rest,
                _ => drop(delete.execute(params![name, id])?),
            }
        }
        let mut insert =
            self.connection.prepare_cached("INSERT INTO txt (name, id, value, expires) VALUES (?, ?, ?, ?)")?;
        for (id, held) in (last + 1..).zip(wanted) {
            insert.execute(params![name, id, held.value.octets(), held.expires as i64])?;
        }
        Ok(())
    }

    fn names_with_expired(&mut self, now: Timestamp) -> Result<Vec<Name>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT DISTINCT name FROM txt WHERE expires <= ?")?;
        let names = statement.query_map([now as i64], |row| row.get::<_, String>(0))?;
        names.map(|text| name(&text?)).collect()
    }

    fn document(&mut self, kind: Document, key: &str) -> Result<Option<Body>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT body FROM document WHERE kind = ? AND key = ?")?;
        Ok(statement.query_row([kind_text(kind), key], |row| row.get::<_, String>(0).map(Body::from)).optional()?)
    }

    fn documents(&mut self, kind: Document) -> Result<Vec<(String, Body)>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT key, body FROM document WHERE kind = ? ORDER BY key")?;
        let rows = statement.query_map([kind_text(kind)], |row| Ok((row.get(0)?, row.get::<_, String>(1)?.into())))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_document(&mut self, kind: Document, key: &str, body: Option<&str>) -> Result<(), StoreError> {
        match body {
            Some(body) => self
                .connection
                .prepare_cached("INSERT OR REPLACE INTO document (kind, key, body) VALUES (?, ?, ?)")?
                .execute([kind_text(kind), key, body])?,
            None => self
                .connection
                .prepare_cached("DELETE FROM document WHERE kind = ? AND key = ?")?
                .execute([kind_text(kind), key])?,
        };
        Ok(())
    }
}

impl InTransaction<'_> {
    /// The rows of a name, oldest first.
    fn rows_of(&self, name: &str) -> Result<Vec<(i64, Held)>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, value, expires FROM txt WHERE name = ? ORDER BY id")?;
        let mut rows = statement.query([name])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((row.get(0)?, held(row.get_ref(1)?.as_blob().map_err(damaged)?, row.get(2)?)?));
        }
        Ok(found)
    }

    fn credentials_of(&self, username: &str) -> Result<Vec<CredentialHash>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT hash FROM credential WHERE account = ?")?;
        let hashes = statement.query_map([username], |row| row.get::<_, [u8; 32]>(0))?;
        Ok(hashes.map(|hash| hash.map(CredentialHash::from_bytes)).collect::<rusqlite::Result<_>>()?)
    }

    fn grants_of(&self, username: &str) -> Result<Vec<Grant>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT label, zone, account, domain FROM label WHERE account = ? ORDER BY label")?;
        let labels = statement.query_map([username], |row| Ok(label_record(row)))?;
        labels.map(|record| Ok(record??.grant)).collect()
    }
}

fn account_row(row: &Row<'_>) -> Result<Account, StoreError> {
    let entries: Vec<String> = serde_json::from_str(row.get_ref(1)?.as_str().map_err(damaged)?).map_err(damaged)?;
    Ok(Account {
        username: Uuid::parse_str(row.get_ref(0)?.as_str().map_err(damaged)?).map_err(damaged)?,
        credentials: Vec::new(),
        allow_from: AllowFrom::parse(&entries).map_err(damaged)?,
        grants: Vec::new(),
        created: row.get::<_, i64>(2)? as u64,
        updated: row.get::<_, Option<i64>>(3)?.map(|at| at as u64),
    })
}

fn label_record(row: &Row<'_>) -> Result<LabelRecord, StoreError> {
    let account = row.get_ref(2)?.as_str_or_null().map_err(damaged)?;
    let domain = row.get_ref(3)?.as_str_or_null().map_err(damaged)?;
    Ok(LabelRecord {
        grant: Grant {
            label: Label::parse(row.get_ref(0)?.as_str().map_err(damaged)?).map_err(damaged)?,
            zone: name(row.get_ref(1)?.as_str().map_err(damaged)?)?,
        },
        holder: match (account, domain) {
            (Some(username), _) => Holder::Account(Uuid::parse_str(username).map_err(damaged)?),
            (None, Some(domain)) => Holder::Domain(name(domain)?),
            (None, None) => Holder::Nobody,
        },
    })
}

fn held(octets: &[u8], expires: i64) -> Result<Held, StoreError> {
    Ok(Held { value: TxtValue::new(octets).map_err(damaged)?, expires: expires as u64 })
}

fn name(text: &str) -> Result<Name, StoreError> {
    Name::parse(text).map_err(damaged)
}

fn kind_text(kind: Document) -> &'static str {
    match kind {
        Document::CaAccount => "ca-account",
        Document::Issuance => "issuance",
        Document::Certificate => "certificate",
        Document::Deployment => "deployment",
        Document::CaLedger => "ca-ledger",
        Document::History => "history",
        Document::RegistrationToken => "registration-token",
        Document::HttpStorage => "http-storage",
        Document::TsigKey => "tsig-key",
        Document::Alias => "alias",
    }
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(error.to_string())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError::Failed(error.to_string())
    }
}
