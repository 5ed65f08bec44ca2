//! A certificate, from end to end, with a stand-in for acmezone: an acme-dns API whose values NSD serves.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::{Lego, Nsd, Pebble, PebbleVersion, Unbound, verify_chain};

const HEAD: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n";

/// The name server and the values of the one account.
struct Zones {
    nsd: Nsd,
    values: Vec<String>,
}

impl Zones {
    /// The domain with its delegation, and the zone that it points to.
    fn publish(&mut self) {
        let domain = format!("{HEAD}_acme-challenge CNAME one.auth.acme.test.\n");
        let values: String = self.values.iter().map(|value| format!("one TXT \"{value}\"\n")).collect();
        let target = format!("{HEAD}one AAAA ::1\n{values}");
        self.nsd.replace(&[("example.test", &domain), ("auth.acme.test", &target)]);
    }
}

async fn register() -> Json<Value> {
    Json(
        json!({"username": "u", "password": "p", "fulldomain": "one.auth.acme.test", "subdomain": "one", "allowfrom": []}),
    )
}

async fn update(State(zones): State<Arc<Mutex<Zones>>>, Json(body): Json<Value>) -> Json<Value> {
    let value = body["txt"].as_str().expect("a value").to_owned();
    let mut zones = zones.lock().unwrap();
    zones.values.push(value.clone());
    zones.publish();
    Json(json!({ "txt": value }))
}

async fn issues_with(version: PebbleVersion) {
    let nsd = Nsd::start(&[("example.test", HEAD), ("auth.acme.test", HEAD)]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("auth.acme.test", nsd.port())]);
    let pebble = Pebble::start(version, unbound.addr());
    let zones = Arc::new(Mutex::new(Zones { nsd, values: Vec::new() }));
    let api = Router::new().route("/register", post(register)).route("/update", post(update)).with_state(zones.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, api).await });

    // One name: lego waits some seconds for each, before and after it tells the CA.
    let names = ["*.example.test"];
    let lego = Lego::new(&pebble, "acme-dns", unbound.addr()).acme_dns(&base).domains(&names);
    // The first run registers, and asks for the CNAME.
    let asked = lego.run(&["run"]).expect_failure().output();
    assert!(asked.contains("one.auth.acme.test"), "{asked}");
    zones.lock().unwrap().publish();
    lego.run(&["run"]).expect_success();
    verify_chain(&lego.certificate_pem("*.example.test"), &pebble.issuance_root_pem(), &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_gets_a_wildcard_from_debians_pebble() {
    issues_with(PebbleVersion::Debian240).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_gets_a_wildcard_from_the_newer_pebble() {
    issues_with(PebbleVersion::V2_10_1).await;
}
