//! The composition root: everything is put together here, for the binary and for every test alike.

mod tls;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acme::{Issuer, OwnListeners};
use crate::answer::{COOKIE_SECRET, Cookies, Ttls};
use crate::api::DnsCounters;
use crate::config::{ApiTls, Config, CookieSecret, RateLimit};
use crate::door::acmedns::storage::{self, Storages};
use crate::door::admin::{self, AdminState, AdminToken, Closed, Counters, ZoneFacts};
use crate::door::{Front, acmedns};
use crate::listen::{
    self, Answerer, BoundTcp, Caps, DnsSockets, Entrance, Limiter, LimiterSettings, Rare, Streams, Updates,
};
use crate::resolve::Resolver;
use crate::store::{Policy, Sqlite, StoreError, Writer, WriterHandle};
use crate::zone::{Live, Name, Zones};
use tls::Certificate;

/// How often expired values are taken out of store and memory, and idle clients out of the API's rate limits.
const SWEEP: Duration = Duration::from_secs(60);
/// 2 to this power networks have a bucket in the rate limiter: one megabyte.
const LIMITER_TABLE: u8 = 16;
/// Between two tries to open the API: twice as long each time.
const OPEN_AGAIN: Duration = Duration::from_millis(500);
const OPEN_AGAIN_LAST: Duration = Duration::from_secs(60);
/// How long tasks may take to end when the server stops.
const STOPPING: Duration = Duration::from_secs(10);

/// Why the server did not start: all reasons that were found. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct StartError {
    /// At least one.
    pub problems: Vec<String>,
}

impl StartError {
    fn one(problem: impl ToString) -> StartError {
        StartError { problems: vec![problem.to_string()] }
    }
}

/// Where a running server listens, with the ports it got where the configuration says 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dns_tls: Vec<SocketAddr>,
    pub api: Vec<SocketAddr>,
    pub admin: SocketAddr,
}

/// A running server. Dropping it stops it without waiting; `stop` waits.
#[derive(Debug)]
pub struct Handle {
    addresses: Addresses,
    stop: CancellationToken,
    tasks: TaskTracker,
    writer: Option<WriterHandle>,
    /// Held until everything is closed.
    lock: File,
}

/// The server, from a checked configuration to a [`Handle`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds, opens the store, loads what is served, and starts everything; or starts nothing and says all that is in
    /// the way. Must be called inside a Tokio runtime.
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        install_tls_provider();
        let started = jiff::Timestamp::now();
        let (lock, sockets) = claim(&config)?;
        let addresses = sockets.addresses().map_err(StartError::one)?;
        // Before the store is opened, so that files that do not fit change nothing.
        check(&config)?;

        let live = Arc::new(Live::new(Zones::new(config.zones.iter().map(|zone| zone.zone.clone()))));
        let policy = Policy {
            value_lifetime: config.dns.value_lifetime,
            zone: config.api.zone.clone(),
            reserved: config.api.hostname.iter().cloned().collect(),
            tsig_keys: config.tsig_keys.clone(),
        };
        let store = Sqlite::open(&config.store_file()).map_err(StartError::one)?;
        let (writer, writer_thread) = load(store, live.clone(), policy).await.map_err(StartError::one)?;
        check_labels(&live, config.api.hostname.as_ref())?;

        let resolver = Resolver::new(&config.resolver.nameservers);
        let own = OwnListeners { dns: addresses.dns.clone() };
        let issuer = Issuer::new(&config, writer.clone(), resolver.clone(), own).map_err(StartError::one)?;
        let certificate = Certificate::at_start(&config, &issuer).await?;
        if !sockets.dns_tls.is_empty() && certificate.is_none() {
            return Err(StartError::one("DNS over TLS needs a certificate: [api] has no `tls`"));
        }
        let token = AdminToken::create(&config.admin_token_file()).map_err(StartError::one)?;
        let facts = admin::Facts {
            config: config.file.clone(),
            data_dir: config.data_dir.clone(),
            started,
            dns: addresses.dns.clone(),
            dns_tls: addresses.dns_tls.clone(),
            api: addresses.api.clone(),
            admin: addresses.admin,
            zones: config.zones.iter().map(|zone| ZoneFacts::new(zone, config.api.zone.as_ref())).collect(),
        };
        let server_url = config.api.hostname.as_ref().and_then(|_| config.api.base_url());
        let storages = Storages { writer: writer.clone(), resolver, server_url };
        let behind = acmedns::router(writer.clone(), config.api.registration);
        let front = Front::new(&config.api);
        let api_router = front.before(storage::router(storages).fallback_service(behind));

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let ttls = Ttls { txt: config.dns.txt_ttl, negative: config.dns.negative_ttl };
        let caps = Caps { connections: config.dns.tcp_connections, per_prefix: config.dns.tcp_connections_per_prefix };
        let cookies = Arc::new(cookies(&config.dns.cookie_secret).map_err(StartError::one)?);
        let limiter = Arc::new(limiter(&config.dns.rate_limit));
        let answerer = Answerer { live, ttls, cookies, limiter: limiter.clone() };
        let rare = Arc::new(Rare::new(answerer).with_updates(Updates::new(writer.clone())));
        let streams = Streams::new(rare.clone(), caps, &tasks, &stop);
        let (facts, issuing) = (Arc::new(facts), issuer.clone());
        let counted = rare.clone();
        let count = move || DnsCounters { limited: limiter.limited(), dropped: counted.dropped() };
        let counters = Counters(Arc::new(count));
        let opening = Opening {
            api: sockets.api,
            dns_tls: sockets.dns_tls,
            lost: Vec::new(),
            certificate: certificate.as_ref().map(|certificate| certificate.shown.clone()),
            router: api_router,
            entrance: Entrance::of_api(&config.api),
            streams: streams.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let api_closed = start_api(opening, certificate).inspect_err(|_| stop.cancel())?;
        // Last: who gets an answer may count on the others.
        let served = listen::serve(sockets.dns, &streams, rare, &tasks, &stop).inspect_err(|_| stop.cancel());
        served.map_err(StartError::one)?;
        let state = AdminState { token, writer: writer.clone(), issuer: issuing, facts, counters, api_closed };
        let admin_router = admin::router(state);
        serve_http(sockets.admin, admin_router, None, Entrance::of_admin(), &tasks, &stop);
        tasks.spawn(sweep(writer, front, stop.clone()));
        tasks.spawn(issuer.run(stop.clone()));
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            dns = ?addresses.dns, dns_tls = ?addresses.dns_tls, api = ?addresses.api, admin = %addresses.admin, zones = config.zones.len(),
            certificates = config.certificates.len(), "ready"
        );
        Ok(Handle { addresses, stop, tasks, writer: Some(writer_thread), lock })
    }
}

impl Handle {
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Stops listening, finishes what is under way, closes the store.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOPPING, self.tasks.wait()).await.is_err() {
            tracing::warn!("some work did not end in {STOPPING:?} and is abandoned");
            return;
        }
        if let Some(writer) = self.writer.take() {
            // Ends when the last task that could write is gone, which was waited for.
            let _ = tokio::task::spawn_blocking(|| writer.join()).await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        // Closing the file is not enough: a child between fork and exec has it open as well.
        let _ = self.lock.unlock();
    }
}

/// Runs a server until the process is told to end (SIGTERM, SIGINT).
pub async fn run(config: Config) -> Result<(), StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::one)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::one)?;
    let handle = Server::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    handle.stop().await;
    Ok(())
}

/// Judges what the configuration names, beyond reading it, without starting anything: that the API's key belongs to its
/// certificate.
pub fn check(config: &Config) -> Result<(), StartError> {
    install_tls_provider();
    match &config.api.tls {
        Some(ApiTls::Files(files)) => listen::check_tls(files).map_err(StartError::one),
        // The certificate is in the store, or not there yet.
        Some(ApiTls::Acme { .. }) | None => Ok(()),
    }
}

/// The one TLS provider of the process.
fn install_tls_provider() {
    // An error says only that it is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Everything bound, before anything is served.
struct Sockets {
    dns: DnsSockets,
    dns_tls: Vec<BoundTcp>,
    api: Vec<BoundTcp>,
    admin: TcpListener,
}

impl Sockets {
    fn addresses(&self) -> io::Result<Addresses> {
        let of = |bound: &[BoundTcp]| bound.iter().map(BoundTcp::address).collect();
        Ok(Addresses {
            dns: self.dns.addresses()?,
            dns_tls: of(&self.dns_tls),
            api: of(&self.api),
            admin: self.admin.local_addr()?,
        })
    }
}

/// Takes the lock on the data folder and binds every address; all that is in the way is told at once.
fn claim(config: &Config) -> Result<(File, Sockets), StartError> {
    let mut problems = Vec::new();
    let mut keep = |problem: String| problems.push(problem);
    let lock = lock_data_dir(&config.data_dir).map_err(&mut keep).ok();
    let dns = DnsSockets::bind(&config.dns.listen).map_err(|error| keep(error.to_string())).ok();
    let mut bind = |addresses: &[SocketAddr], what: &str| -> Vec<BoundTcp> {
        let bound = addresses.iter().map(|address| BoundTcp::bind(*address));
        bound.filter_map(|bound| bound.map_err(|error| keep(format!("{what} {error}"))).ok()).collect()
    };
    let dns_tls = bind(&config.dns.tls_listen, "[dns] tls_listen:");
    let api = bind(&config.api.listen, "[api]");
    let admin = listen::bind_tcp(config.admin.listen).map_err(|error| keep(format!("[admin] {error}"))).ok();
    match (lock, dns, admin) {
        (Some(lock), Some(dns), Some(admin)) if problems.is_empty() => Ok((lock, Sockets { dns, dns_tls, api, admin })),
        _ => Err(StartError { problems }),
    }
}

/// What the API and DNS over TLS need to be served.
struct Opening {
    api: Vec<BoundTcp>,
    dns_tls: Vec<BoundTcp>,
    /// Why a listener will not be there before the next start.
    lost: Vec<String>,
    certificate: Option<Arc<listen::Shown>>,
    router: axum::Router,
    entrance: Entrance,
    streams: Streams,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Opening {
    /// From here on clients can connect. What could not be opened can be tried again.
    fn open(&mut self) -> Result<(), StartError> {
        let mut problems = self.lost.clone();
        for bound in std::mem::take(&mut self.api) {
            match bound.listen() {
                Ok(listener) => {
                    let tls = self.certificate.as_ref().map(listen::Shown::https);
                    serve_http(listener, self.router.clone(), tls, self.entrance.clone(), &self.tasks, &self.stop);
                }
                Err((bound, error)) => {
                    problems.push(format!("[api] {error}"));
                    self.api.push(bound);
                }
            }
        }
        for bound in std::mem::take(&mut self.dns_tls) {
            match bound.listen() {
                Ok(listener) => {
                    let tls = self.certificate.as_ref().map(listen::Shown::dot);
                    if let Err(error) = self.streams.serve(listener, tls) {
                        let problem = format!("[dns] tls_listen: {error}; start the server anew");
                        self.lost.push(problem.clone());
                        problems.push(problem);
                    }
                }
                Err((bound, error)) => {
                    problems.push(format!("[dns] tls_listen: {error}"));
                    self.dns_tls.push(bound);
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(StartError { problems }) }
    }

    /// Opens as soon as there is a certificate, and tries until that succeeds.
    async fn open_after(mut self, certificate: oneshot::Receiver<()>, closed: watch::Sender<Option<Closed>>) {
        let stop = self.stop.clone();
        let opened = async {
            if certificate.await.is_err() {
                // The issuer is gone: the server stops.
                return;
            }
            let mut wait = OPEN_AGAIN;
            while let Err(error) = self.open() {
                let error = error.to_string();
                let news = Some(Closed::Fails(error.clone()));
                if closed.send_replace(news.clone()) != news {
                    tracing::error!(%error, "API: not listening; trying again");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(OPEN_AGAIN_LAST);
            }
            closed.send_replace(None);
            tracing::info!("API: listening");
        };
        stop.run_until_cancelled(opened).await;
    }
}

/// Opens the API and DNS over TLS, at once or when their certificate is there: it is proved through our own DNS, which
/// answers meanwhile. What is returned says why they are not open.
fn start_api(
    mut opening: Opening,
    certificate: Option<Certificate>,
) -> Result<watch::Receiver<Option<Closed>>, StartError> {
    let waits = certificate.as_ref().and_then(Certificate::waits).map(str::to_owned);
    let (closed, why_closed) = watch::channel(waits.clone().map(Closed::WaitsFor));
    let (tasks, stop) = (opening.tasks.clone(), opening.stop.clone());
    let ready = match waits {
        None => {
            opening.open()?;
            None
        }
        Some(name) => {
            tracing::info!("API: waiting for its certificate, see `acmezone cert show {name}`");
            let (ready, is_ready) = oneshot::channel();
            tasks.spawn(opening.open_after(is_ready, closed));
            Some(ready)
        }
    };
    if let Some(certificate) = certificate {
        tasks.spawn(certificate.run(ready, stop));
    }
    Ok(why_closed)
}

/// Makes the folder (mode 0700) if it is missing and locks it for this process.
fn lock_data_dir(data_dir: &Path) -> Result<File, String> {
    let failed = |error: io::Error| format!("cannot use the data folder {}: {error}", data_dir.display());
    match fs::metadata(data_dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(format!("cannot use the data folder {}: it is not a folder", data_dir.display())),
        Err(_) => DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?,
    }
    close_to_others(data_dir)?;
    let path = data_dir.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            // For the message of a second one; the lock itself is the kernel's.
            lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
            write!(lock, "{}", std::process::id()).map_err(failed)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.parse::<u32>().map_or(String::new(), |id| format!(" (process {id})"));
            Err(format!("the data folder {} is in use by another acmezone{holder}", data_dir.display()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Takes the permissions of group and others away, if the folder is ours: a system's folder, named by mistake, must not
/// be shut.
fn close_to_others(data_dir: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot use the data folder {}: {error}", data_dir.display());
    let mode = fs::metadata(data_dir).map_err(failed)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let ours = data_dir.join("lock").exists() || fs::read_dir(data_dir).map_err(failed)?.next().is_none();
    if !ours {
        return Err(format!(
            "the data folder {} has files of somebody else in it and is open to other users: name another folder, or \
             make it yours with `chmod 700`",
            data_dir.display()
        ));
    }
    fs::set_permissions(data_dir, Permissions::from_mode(0o700)).map_err(failed)
}

/// Loads the store into memory, off the runtime's threads.
async fn load(store: Sqlite, live: Arc<Live>, policy: Policy) -> Result<(Writer, WriterHandle), StoreError> {
    match tokio::task::spawn_blocking(move || Writer::start(store, live, policy)).await {
        Ok(started) => started,
        Err(error) => Err(StoreError::Failed(error.to_string())),
    }
}

/// A zone file that takes the place of a registered label would silently break a delegation; and who holds the label of
/// the API's host, or one above it, could get a certificate for it.
fn check_labels(live: &Live, hostname: Option<&Name>) -> Result<(), StartError> {
    let names = std::iter::successors(hostname.cloned(), Name::parent).filter(|name| live.is_registered(name));
    let own = names.map(|name| (name, "the `hostname` of [api] is this name or lies below it"));
    let problems: Vec<String> = live
        .conflicts()
        .into_iter()
        .chain(own)
        .map(|(name, reason)| {
            format!("the registered label {name} cannot be served: {reason}. Change the zone file or the configuration")
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(StartError { problems }) }
}

/// The cookies of the configured secrets, or of one that nobody else has and that ends with the process.
fn cookies(secrets: &[CookieSecret]) -> Result<Cookies, getrandom::Error> {
    if let [signing, others @ ..] = secrets {
        let others: Vec<_> = others.iter().map(|secret| *secret.reveal()).collect();
        return Ok(Cookies::new(signing.reveal(), &others));
    }
    let mut random = [0; COOKIE_SECRET];
    getrandom::fill(&mut random)?;
    Ok(Cookies::new(&random, &[]))
}

fn limiter(limit: &RateLimit) -> Limiter {
    Limiter::new(LimiterSettings {
        per_second: limit.answers_per_second,
        ipv4_prefix: limit.ipv4_prefix,
        ipv6_prefix: limit.ipv6_prefix,
        exempt: limit.exempt.clone(),
        dry_run: limit.dry_run,
        table_bits: LIMITER_TABLE,
    })
}

fn serve_http(
    listener: TcpListener,
    router: axum::Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    entrance: Entrance,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = listen::serve_http(listener, router, tls, entrance, stop).await {
            tracing::error!(%error, "an HTTP listener ended");
        }
    });
}

async fn sweep(writer: Writer, front: Front, stop: CancellationToken) {
    let mut every = tokio::time::interval(SWEEP);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        front.limits().sweep();
        // A failing store is logged by the writer.
        let _ = writer.sweep().await;
    }
}
