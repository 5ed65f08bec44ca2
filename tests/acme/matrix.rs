//! Apex and wildcard, issued and renewed, at CAs of every kind that Pebble can be: one row, one CA.

use acmezone::api::{CertificateState, Progress};
use futures_util::future::join_all;
use serde_json::json;

use crate::house::{Ca, House, orders};
use crate::support::PebbleVersion::{self, Debian240, V2_10_1};
use crate::support::{Pebble, PebbleBuilder, verify_chain};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];
const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
/// As two orders for two authorizations each are validated when none is used again, and when all are.
const NEVER_AGAIN: usize = 4;
const ALWAYS_AGAIN: usize = 2;

struct Row {
    what: &'static str,
    version: PebbleVersion,
    set: fn(PebbleBuilder) -> PebbleBuilder,
    /// How often the CA validates in two orders.
    validations: usize,
    more: &'static str,
}

fn row(what: &'static str, version: PebbleVersion, set: fn(PebbleBuilder) -> PebbleBuilder) -> Row {
    Row { what, version, set, validations: NEVER_AGAIN, more: "" }
}

fn bound(builder: PebbleBuilder) -> PebbleBuilder {
    let keys = json!({ "kid-1": HMAC_KEY });
    builder.config("externalAccountBindingRequired", json!(true)).config("externalAccountMACKeys", keys)
}

fn with_profiles(builder: PebbleBuilder) -> PebbleBuilder {
    let profile = |days: u32| json!({ "description": format!("{days} days"), "validityPeriod": days * 24 * 60 * 60 });
    builder.config("profiles", json!({ "short": profile(6), "middle": profile(45), "long": profile(90) }))
}

fn patient(builder: PebbleBuilder) -> PebbleBuilder {
    builder.config("retryAfter", json!({ "authz": 1, "order": 1 }))
}

fn with_roots(builder: PebbleBuilder) -> PebbleBuilder {
    builder.env("PEBBLE_ALTERNATE_ROOTS", "2").env("PEBBLE_CHAIN_LENGTH", "2")
}

const BOUND: &str = "eab = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }";

fn rows() -> Vec<Row> {
    vec![
        row("nonces refused", V2_10_1, |builder| builder.nonce_reject(20)),
        row("no authorization used again", V2_10_1, |builder| builder.authz_reuse(0)),
        Row {
            validations: ALWAYS_AGAIN,
            ..row("authorizations used again", V2_10_1, |builder| builder.authz_reuse(100))
        },
        row("a random profile", V2_10_1, with_profiles),
        row("asks for patience", V2_10_1, patient),
        row("more roots", V2_10_1, with_roots),
        Row { more: BOUND, ..row("bound accounts", V2_10_1, bound) },
        Row {
            more: BOUND,
            validations: ALWAYS_AGAIN,
            ..row("everything", V2_10_1, |builder| {
                patient(with_roots(with_profiles(bound(builder)))).nonce_reject(20).authz_reuse(100)
            })
        },
        row("nonces refused", Debian240, |builder| builder.nonce_reject(20)),
        row("no authorization used again", Debian240, |builder| builder.authz_reuse(0)),
        Row {
            validations: ALWAYS_AGAIN,
            ..row("authorizations used again", Debian240, |builder| builder.authz_reuse(100))
        },
        row("more roots", Debian240, with_roots),
        Row { more: BOUND, ..row("bound accounts", Debian240, bound) },
        Row {
            more: BOUND,
            validations: ALWAYS_AGAIN,
            ..row("everything", Debian240, |builder| with_roots(bound(builder)).nonce_reject(20).authz_reuse(100))
        },
    ]
}

fn validations(pebble: &Pebble) -> usize {
    pebble.log().matches("Pulled a task").count()
}

async fn issued_and_renewed(row: Row) {
    let Row { what, version, set, validations: wanted, more } = row;
    let what = format!("{what}, {version:?}");
    let house = House::new();
    std::fs::write(house.folder.path().join("eab.key"), HMAC_KEY).unwrap();
    let pebble = set(house.pebble(version)).start();
    let server = house.serve(&Ca { more, ..Ca::of(&pebble) }, &NAMES).await;
    let first = server.wait_for(CertificateState::Valid).await;
    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{what}: {lines:#?}");

    let second = server.show().await;
    assert!(second.state == CertificateState::Valid && second.last_error.is_none(), "{what}: {second:?}");
    assert_ne!(second.serial, first.serial, "{what}");
    verify_chain(&house.pem("fullchain.pem"), &pebble.issuance_root_pem(), &NAMES);
    assert_eq!((orders(&pebble), validations(&pebble)), (2, wanted), "{what}");
    let values = server.client.names().await.unwrap();
    assert!(values.iter().all(|name| name.values.is_empty()), "{what}: values are left: {values:?}");
    server.handle.stop().await;
}

/// The CAs start one after the other and wait all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn apex_and_wildcard_are_issued_and_renewed_at_every_kind_of_ca() {
    let rows = rows().into_iter().map(|row| tokio::spawn(issued_and_renewed(row)));
    join_all(rows).await.into_iter().for_each(|row| row.unwrap());
}
