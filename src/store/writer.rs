//! The one way to change anything: authorise, check, commit, publish; in this order, by one thread.
//!
//! Work that waits while a commit reaches the disk goes into the next commit together (group commit), so that the
//! rate of updates is not bound to the rate of disk flushes. A caller gets its answer after the commit is durable and
//! every later query sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::records::{Document, Holder, Job, Kept, LabelRecord, Records, Revision, Store, StoreError};
use super::{Body, Put, State};
use crate::account::{Account, Credential, CredentialHash, Grant, KeyRing, MAX_CREDENTIALS, TsigKey};
use crate::zone::{
    Change, Edit, Label, LabelError, Live, Name, NotAChallengeName, Timestamp, TxtSet, Update, proven_domain,
};

/// Most pieces of work that wait for the writer; further callers wait for a place.
const QUEUE: usize = 4096;
/// Most pieces of work in one commit.
const BATCH: usize = 1024;

/// Who asks for a change.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Somebody with a user name and a key. May change the account's own labels.
    Account { username: Uuid, credential: CredentialHash, source: IpAddr },
    /// Somebody who signs with this key. May change what the key is granted.
    TsigKey(Arc<TsigKey>),
    /// The holder of the admin token. May change every challenge name.
    Administrator,
    /// The embedded ACME client. May change every challenge name.
    AcmeClient,
}

/// Which label a new account gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterLabel {
    /// A random UUIDv4.
    Random,
    Chosen(Label),
}

/// A new account, with its credential in clear: to be shown once.
#[derive(Clone, Debug)]
pub struct Registration {
    pub account: Account,
    pub credential: Credential,
    pub grant: Grant,
}

/// Why a change did not happen. Nothing of it did.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpdateError {
    /// Unknown user, wrong key, address not allowed, or a name of somebody else: a stranger learns no more.
    #[error("forbidden")]
    Forbidden,
    #[error(transparent)]
    NotAChallengeName(#[from] NotAChallengeName),
    #[error(transparent)]
    BadLabel(#[from] LabelError),
    #[error("the label `{label}` cannot be registered: {reason}")]
    LabelTaken { label: Label, reason: String },
    #[error("no zone to register labels in: set `zone` in [api], or add a [[zone]] that is no `_acme-challenge` zone")]
    NoZone,
    #[error("there is no account {0}")]
    UnknownAccount(Uuid),
    #[error("no account has the label `{0}`")]
    UnknownLabel(Label),
    #[error("the challenge name of {domain} cannot be an alias: {reason}")]
    AliasTaken { domain: Name, reason: String },
    #[error("{0} has no alias")]
    UnknownAlias(Name),
    #[error("the label `{0}` is not the account's")]
    NotTheLabel(Label),
    #[error("`{0}` is the only label of its account: add another one before, or delete the account")]
    LastLabel(Label),
    #[error(
        "the account has {MAX_CREDENTIALS} credentials, which is the most: `acmezone account rotate` puts one new \
         credential in their place"
    )]
    TooManyCredentials,
    #[error(
        "the account {0} has other labels too, which the credentials of a storage would open: take one with one label"
    )]
    ManyLabels(Uuid),
    #[error(
        "the account {0} has an HTTP storage, whose credentials would open the new label too: take another account"
    )]
    AccountOfStorage(Uuid),
    #[error("there is no key {0}")]
    UnknownTsigKey(Name),
    #[error("the key {0} cannot be made: {1}")]
    TsigKeyRefused(Name, String),
    #[error("the key {0} stands in the configuration file: take its [[tsig_key]] out there and restart the server")]
    ConfiguredTsigKey(Name),
    #[error("there is no {what} with the id `{id}`")]
    UnknownId { what: &'static str, id: String },
    #[error("no random numbers from the operating system: {0}")]
    NoRandomness(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server is stopping")]
    Stopping,
}

/// What the writer must know of the configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a value is served unless it is refreshed, seconds.
    pub value_lifetime: u64,
    /// Origin of the zone that labels are registered in.
    pub zone: Option<Name>,
    /// Names that no label can have: the API's host name.
    pub reserved: Vec<Name>,
    /// Keys of the configuration: one of the same name in the store does not count beside them.
    pub tsig_keys: Vec<TsigKey>,
}

/// The handle that every door holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Queued>>,
    pub(super) live: Arc<Live>,
    pub(super) keys: Arc<KeyRing>,
    pub(super) policy: Arc<Policy>,
    /// Of the zones of the configuration.
    pub(super) origins: Arc<[Name]>,
}

/// Waits for the writer's thread to end, which it does when the last [`Writer`] is gone.
#[derive(Debug)]
pub struct WriterHandle(std::thread::JoinHandle<()>);

impl WriterHandle {
    /// Blocks until everything asked for is done and the store is closed.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the writer's thread panicked");
        }
    }
}

/// Seconds since 1970; 0 if the clock is set before.
pub fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Writer {
    /// Loads the store into `live` and starts the writer's thread.
    pub fn start(mut store: impl Store, live: Arc<Live>, policy: Policy) -> Result<(Writer, WriterHandle), StoreError> {
        let mut aliases = Vec::new();
        let revision = store.load(&mut |change| match change {
            Change::Aliased { .. } => aliases.push(change),
            change => live.publish([change], 0),
        })?;
        let zones = live.zones();
        aliases.retain(|change| {
            let Change::Aliased { name, .. } = change else { return true };
            let zone = zones.find(name.as_wire());
            if let Some(zone) = zone {
                tracing::warn!(%name, zone = %zone.origin(), "an alias is not served: it lies in a zone of the configuration");
            }
            zone.is_none()
        });
        let origins = live.zones().iter().map(|zone| zone.origin().clone()).collect();
        live.publish(aliases, revision as u32);
        let keys = Arc::new(KeyRing::new(policy.tsig_keys.iter().cloned()));
        keys.add(super::tsig_keys::stored(&mut store)?);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shown = live.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || write(store, &shown, waiting))
            .map_err(|error| StoreError::Failed(format!("cannot start the writer's thread: {error}")))?;
        Ok((Writer { queue, live, keys, policy: Arc::new(policy), origins }, WriterHandle(thread)))
    }

    /// Says whether `actor` may change `name`, without changing anything.
    pub async fn authorise(&self, actor: Actor, name: Name) -> Result<(), UpdateError> {
        let writer = self.clone();
        self.submit(move |records, _| writer.authorised_name(records, &actor, &name).map(|_| ())).await
    }

    /// [`Writer::update`], but when it is known that the actor may, and before anything is done, `admit` has a say.
    pub async fn update_admitted<E>(
        &self,
        actor: Actor,
        updates: Vec<Update>,
        admit: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<(), E>
    where
        E: From<UpdateError> + Send + 'static,
    {
        let writer = self.clone();
        let done = self.submit(move |records, changes| {
            let updates = writer.authorised(records, &actor, updates)?;
            match admit() {
                Ok(()) => writer.apply(records, changes, &actor, updates).map(Ok),
                Err(refused) => Ok(Err(refused)),
            }
        });
        done.await?
    }

    /// Does all the updates or none. When it returns `Ok` they are durable and seen by every later query.
    pub async fn update(&self, actor: Actor, updates: Vec<Update>) -> Result<(), UpdateError> {
        let writer = self.clone();
        self.submit(move |records, changes| {
            let updates = writer.authorised(records, &actor, updates)?;
            writer.apply(records, changes, &actor, updates)
        })
        .await
    }

    /// Decides on updates by what there is, and does all of them or none, with nothing in between. When it returns `Ok`
    /// they are durable and seen by every later query.
    pub async fn update_if<E>(
        &self,
        actor: Actor,
        decide: impl FnOnce(&mut State<'_>) -> Result<Vec<Update>, E> + Send + 'static,
    ) -> Result<(), E>
    where
        E: From<UpdateError> + Send + 'static,
    {
        let writer = self.clone();
        let done = self.submit(move |records, changes| {
            match decide(&mut State { records: &mut *records, live: &writer.live, now: now() }) {
                Ok(updates) => {
                    let updates = writer.authorised(records, &actor, updates)?;
                    writer.apply(records, changes, &actor, updates).map(Ok)
                }
                Err(refused) => Ok(Err(refused)),
            }
        });
        done.await?
    }

    /// The label reserved for the challenges of `domain`; made at the first call, the same ever after.
    pub async fn reserve(&self, domain: Name) -> Result<Grant, UpdateError> {
        let zone = self.policy.zone.clone().ok_or(UpdateError::NoZone)?;
        let fresh = random_uuid().map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        let writer = self.clone();
        self.submit(move |records, changes| {
            if let Some(record) = records.label_of_domain(&domain, &zone)? {
                return Ok(record.grant);
            }
            let grant = Grant { label: Label::parse(&fresh.to_string())?, zone };
            let name = writer.check_new_label(records, &grant)?;
            records.put_label(&LabelRecord { grant: grant.clone(), holder: Holder::Domain(domain) })?;
            changes.push(Change::Registered { name });
            Ok(grant)
        })
        .await
    }

    /// Lets an account at a CA have certificates for names in the zone, where the zone is one made from name servers. For
    /// as long as the server runs.
    pub async fn permit(&self, origin: Name, identity: String, account: String) -> Result<(), UpdateError> {
        self.submit(|_, changes| {
            changes.push(Change::Permitted { origin, identity, account });
            Ok(())
        })
        .await
    }

    /// Takes back what [`Writer::permit`] gave to an account, in all zones.
    pub async fn forbid(&self, account: String) -> Result<(), UpdateError> {
        self.submit(|_, changes| {
            changes.push(Change::Forbidden { account });
            Ok(())
        })
        .await
    }

    /// Who a label is registered for.
    pub async fn label(&self, label: Label) -> Result<Option<LabelRecord>, UpdateError> {
        self.submit(move |records, _| Ok(records.label(&label)?)).await
    }

    /// Takes expired values out of the store and the memory. They are not served since the moment of their expiry.
    pub async fn sweep(&self) -> Result<usize, UpdateError> {
        self.submit(|records, changes| {
            let now = now();
            let names = records.names_with_expired(now)?;
            for name in &names {
                let mut set = records.txt(name)?;
                set.expire(now);
                records.put_txt(name, &set)?;
                changes.push(Change::Txt { name: name.clone(), set });
            }
            Ok(names.len())
        })
        .await
    }

    pub async fn document(&self, kind: Document, key: &str) -> Result<Option<Body>, UpdateError> {
        let key = key.to_owned();
        self.submit(move |records, _| Ok(records.document(kind, &key)?)).await
    }

    /// All documents of the kind with their keys, in the order of the keys.
    pub async fn documents(&self, kind: Document) -> Result<Vec<(String, Body)>, UpdateError> {
        self.submit(move |records, _| Ok(records.documents(kind)?)).await
    }

    /// Writes all of the documents (`None` deletes one) or none.
    pub async fn put_documents(&self, documents: Vec<Put>) -> Result<(), UpdateError> {
        self.submit(move |records, _| {
            for (kind, key, body) in &documents {
                records.put_document(*kind, key, body.as_deref())?;
            }
            Ok(())
        })
        .await
    }

    /// `<label>.<zone>` of a registered label: in the zone that labels are registered in now, else in the one where it
    /// was registered before.
    pub fn name_of(&self, label: &Label) -> Option<Name> {
        let registered = |origin: &Name| {
            let name = origin.child(label.as_str().as_bytes()).ok()?;
            self.live.is_registered(&name).then_some(name)
        };
        let now = self.policy.zone.as_ref().and_then(registered);
        // Anybody may ask, and challenge zones, which have no labels, can be many.
        let mut others = self.origins.iter().filter(|origin| proven_domain(origin).is_none());
        now.or_else(|| others.find_map(registered))
    }

    /// The served state that this writer publishes to.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Who may sign messages now.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The updates with the names under which values are kept, if `actor` may do all of them.
    fn authorised(
        &self,
        records: &mut dyn Records,
        actor: &Actor,
        updates: Vec<Update>,
    ) -> Result<Vec<Update>, UpdateError> {
        let mut authorised = |Update { name, edit }| {
            let name = self.authorised_name(records, actor, &name)?;
            Ok(Update { name, edit })
        };
        updates.into_iter().map(&mut authorised).collect()
    }

    /// Does authorised updates in their order.
    fn apply(
        &self,
        records: &mut dyn Records,
        changes: &mut Vec<Change>,
        actor: &Actor,
        updates: Vec<Update>,
    ) -> Result<(), UpdateError> {
        let now = now();
        for Update { name, edit } in updates {
            let mut set = records.txt(&name)?;
            set.expire(now);
            apply(&mut set, edit, now, self.policy.value_lifetime);
            records.put_txt(&name, &set)?;
            changes.push(Change::Txt { name, set });
        }
        if let Actor::Account { username, .. } = actor {
            records.touch_account(*username, now)?;
        }
        Ok(())
    }

    /// The name of a new label, if it can be registered at all.
    pub(super) fn check_new_label(&self, records: &mut dyn Records, grant: &Grant) -> Result<Name, UpdateError> {
        let taken = |reason: &str| UpdateError::LabelTaken { label: grant.label.clone(), reason: reason.to_owned() };
        if let Some(record) = records.label(&grant.label)? {
            return Err(match record.holder {
                Holder::Nobody => taken("it was used before, and a forgotten CNAME may still point to it"),
                _ => taken("it is registered already"),
            });
        }
        let name = grant.name().map_err(|error| taken(&error.to_string()))?;
        // A wildcard certificate for the label would be good for what lies below it.
        let covers = |other: &Name| other.is_at_or_below(&name);
        if self.policy.reserved.iter().any(covers) {
            return Err(taken("the host name of the API is this name or lies below it"));
        }
        let zones = self.live.zones();
        let zone = zones.get(&grant.zone).ok_or(UpdateError::NoZone)?;
        if self.origins.iter().any(covers) {
            return Err(taken("another zone begins at this name or below it"));
        }
        if zone.cut_above(name.as_wire()).is_some() {
            return Err(taken("it is delegated away in the zone file"));
        }
        if zone.node(&name.key()).is_some() {
            return Err(taken("the zone file has this name"));
        }
        Ok(name)
    }

    /// Queues a piece of work and waits until it is committed and published, or refused.
    pub(super) async fn submit<T, F>(&self, decide: F) -> Result<T, UpdateError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Records, &mut Vec<Change>) -> Result<T, UpdateError> + Send + 'static,
    {
        self.submit_then(decide, |_| {}).await
    }

    /// The same; `publish` shows what was decided beside changes of the DNS, on the writer's thread, after the commit.
    pub(super) async fn submit_then<T, F, P>(&self, decide: F, publish: P) -> Result<T, UpdateError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Records, &mut Vec<Change>) -> Result<T, UpdateError> + Send + 'static,
        P: FnOnce(&T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { decide: Some(decide), publish: Some(publish), decided: None, changes: Vec::new(), reply };
        self.queue.send(Box::new(task)).await.map_err(|_| UpdateError::Stopping)?;
        answer.await.map_err(|_| UpdateError::Stopping)?
    }
}

/// `lifetime`: of a value from when it was last put in, seconds.
fn apply(set: &mut TxtSet, edit: Edit, now: Timestamp, lifetime: u64) {
    let expires = now.saturating_add(lifetime);
    match edit {
        Edit::Add(value) => set.add(value, expires),
        Edit::Remove(value) => {
            set.remove(&value);
        }
        Edit::RemoveOlder(seconds) => {
            set.expire(expires.saturating_sub(seconds));
        }
        Edit::Replace(values) => {
            *set = TxtSet::default();
            for value in values {
                set.add(value, expires);
            }
        }
    }
}

pub(super) fn random_uuid() -> Result<Uuid, getrandom::Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// A job with somebody who waits for its outcome.
trait Queued: Job + Send {
    /// Shows what was decided to everybody.
    fn publish(&mut self, live: &Live, revision: Revision);
    /// Tells the caller; `committed` is the fate of the whole transaction.
    fn reply(self: Box<Self>, committed: Result<(), StoreError>);
}

impl std::fmt::Debug for dyn Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queued")
    }
}

struct Task<T, F, P> {
    decide: Option<F>,
    publish: Option<P>,
    decided: Option<Result<T, UpdateError>>,
    changes: Vec<Change>,
    reply: oneshot::Sender<Result<T, UpdateError>>,
}

impl<T, F, P> Job for Task<T, F, P>
where
    T: Send,
    F: FnOnce(&mut dyn Records, &mut Vec<Change>) -> Result<T, UpdateError> + Send,
    P: Send,
{
    fn run(&mut self, records: &mut dyn Records) -> Result<Kept, StoreError> {
        let Some(decide) = self.decide.take() else { return Ok(Kept::No) };
        match decide(records, &mut self.changes) {
            Ok(value) => {
                self.decided = Some(Ok(value));
                Ok(Kept::Yes)
            }
            Err(UpdateError::Store(error)) => Err(error),
            Err(refused) => {
                self.changes.clear();
                self.decided = Some(Err(refused));
                Ok(Kept::No)
            }
        }
    }
}

impl<T, F, P> Queued for Task<T, F, P>
where
    T: Send,
    F: FnOnce(&mut dyn Records, &mut Vec<Change>) -> Result<T, UpdateError> + Send,
    P: FnOnce(&T) + Send,
{
    fn publish(&mut self, live: &Live, revision: Revision) {
        live.publish(std::mem::take(&mut self.changes), revision as u32);
        if let (Some(Ok(decided)), Some(publish)) = (&self.decided, self.publish.take()) {
            publish(decided);
        }
    }

    fn reply(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = match committed {
            Err(error) => Err(UpdateError::Store(error)),
            Ok(()) => self.decided.unwrap_or(Err(UpdateError::Stopping)),
        };
        // The caller may have gone away meanwhile.
        let _ = self.reply.send(outcome);
    }
}

/// The writer's thread: takes what waits, commits it together, publishes, answers.
fn write(mut store: impl Store, live: &Live, mut waiting: mpsc::Receiver<Box<dyn Queued>>) {
    let mut batch: Vec<Box<dyn Queued>> = Vec::with_capacity(BATCH);
    while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
        let committed = commit(&mut store, &mut batch);
        match &committed {
            Ok(revision) => {
                for task in &mut batch {
                    task.publish(live, *revision);
                }
            }
            Err(error) => tracing::error!(%error, updates = batch.len(), "nothing was committed"),
        }
        for task in batch.drain(..) {
            task.reply(committed.clone().map(|_| ()));
        }
    }
}

fn commit(store: &mut impl Store, batch: &mut [Box<dyn Queued>]) -> Result<Revision, StoreError> {
    let mut jobs: Vec<&mut dyn Job> = batch.iter_mut().map(|task| task.as_mut() as &mut dyn Job).collect();
    store.transact(&mut jobs)
}
