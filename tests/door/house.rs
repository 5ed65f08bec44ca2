//! A house with a store, a writer and one door, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use acmezone::config::{Api, Registration};
use acmezone::door::acmedns::storage::{self, Storages};
use acmezone::door::{Front, acmedns};
use acmezone::listen;
use acmezone::resolve::Resolver;
use acmezone::store::{Body, Document, Job, Policy, Revision, Sqlite, Store, StoreError, Writer};
use acmezone::zone::{Change, Live, Name, TxtValue, Zone, Zones};
use axum::Router;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub struct House {
    pub writer: Writer,
    pub folder: TempDir,
}

impl House {
    pub fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("acmezone.db")).unwrap();
        House { writer: writer(store), folder }
    }

    pub async fn acmedns(&self, registration: Registration) -> SocketAddr {
        serve(acmedns::router(self.writer.clone(), registration)).await
    }

    /// HTTP storages with this resolver, and behind them the API of acme-dns.
    pub async fn storages(&self, resolver: Resolver, server_url: Option<&str>) -> SocketAddr {
        let storages = Storages { writer: self.writer.clone(), resolver, server_url: server_url.map(str::to_owned) };
        let behind = acmedns::router(self.writer.clone(), Registration::Closed);
        serve(storage::router(storages).fallback_service(behind)).await
    }

    /// The values of a name, oldest first, as the DNS would give them.
    pub fn values(&self, fulldomain: &str) -> Vec<String> {
        let existing = self.writer.live().txt_set(&name(fulldomain));
        let set = existing.expect("the name exists");
        set.live(acmezone::store::now()).map(TxtValue::to_string).collect()
    }
}

pub fn writer(store: impl Store) -> Writer {
    writer_with_lifetime(store, 3600)
}

/// `lifetime`: of values, seconds.
pub fn writer_with_lifetime(store: impl Store, lifetime: u64) -> Writer {
    let zone = |origin: &str| Zone::from_nameservers(name(origin), &[name("ns1.example.org")]).unwrap();
    let live = Live::new(Zones::new([zone("auth.example.org"), zone("_acme-challenge.example.net")]));
    let policy = Policy {
        value_lifetime: lifetime,
        zone: Some(name("auth.example.org")),
        reserved: Vec::new(),
        tsig_keys: Vec::new(),
    };
    Writer::start(store, Arc::new(live), policy).unwrap().0
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Serves a door of the API as it is by default.
pub async fn serve(router: Router) -> SocketAddr {
    serve_behind(&Api::default(), router).await
}

/// Serves a door with the front of this API before it.
pub async fn serve_behind(api: &Api, router: Router) -> SocketAddr {
    let router = Front::new(api).before(router);
    let listener = listen::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = listen::Entrance::of_api(api);
    tokio::spawn(listen::serve_http(listener, router, None, entrance, CancellationToken::new()));
    address
}

/// A store whose disk is full.
pub struct FullDisk;

impl Store for FullDisk {
    fn load(&mut self, _: &mut dyn FnMut(Change)) -> Result<Revision, StoreError> {
        Ok(0)
    }

    fn documents(&mut self, _: Document) -> Result<Vec<(String, Body)>, StoreError> {
        Ok(Vec::new())
    }

    fn transact(&mut self, _: &mut [&mut dyn Job]) -> Result<Revision, StoreError> {
        Err(StoreError::Failed("database or disk is full".into()))
    }
}
