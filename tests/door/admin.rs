//! The admin API: who gets in, and what each route does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use acmezone::acme::{Issuer, OwnListeners};
use acmezone::api::{
    Account, ApiError, CreatedAccount, CreatedStorage, CreatedToken, DnsCounters, Status, Token, TokenState, TxtName,
    Zone,
};
use acmezone::config::{Api, Config, Dns, ZoneSource};
use acmezone::door::admin::{self, AdminState, AdminToken, Counters, Facts, ZoneFacts};
use acmezone::resolve::Resolver;
use acmezone::store::Writer;
use tempfile::TempDir;

use crate::house::{FullDisk, House, name, serve, writer};
use crate::wire::{Answer, request, send};

pub struct Admin {
    pub house: House,
    pub address: SocketAddr,
    authorization: String,
}

impl Admin {
    pub async fn start() -> Admin {
        let house = House::new();
        let (address, authorization) = start(&house, house.writer.clone()).await;
        Admin { house, address, authorization }
    }

    pub async fn ask(&self, line: &str, body: &str) -> Answer {
        send(self.address, request(line, &[&self.authorization], body)).await
    }

    pub async fn refused(&self, line: &str, body: &str) -> (u16, String) {
        let answer = self.ask(line, body).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{line}");
        let error: ApiError = answer.json();
        assert!(!error.message.is_empty());
        (answer.status, error.error)
    }

    pub async fn account(&self, body: &str) -> CreatedAccount {
        let answer = self.ask("POST /v1/accounts", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    pub async fn values(&self, line: &str, body: &str) -> Vec<String> {
        let answer = self.ask(line, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json::<TxtName>().values.into_iter().map(|held| held.value).collect()
    }
}

async fn start(house: &House, writer: Writer) -> (SocketAddr, String) {
    let (address, path) = serve_admin(&house.folder, writer).await;
    let token = std::fs::read_to_string(path).unwrap();
    (address, format!("Authorization: Bearer {}", token.trim_end()))
}

/// Serves the admin API with a token in the folder; its address and the token's path.
pub async fn serve_admin(folder: &TempDir, writer: Writer) -> (SocketAddr, PathBuf) {
    let path = folder.path().join("admin-token");
    let token = AdminToken::create(&path).unwrap();
    let facts = |origin: &str, registration| ZoneFacts {
        origin: name(origin),
        source: ZoneSource::Nameservers(vec![name("ns1.example.org")]),
        registration,
    };
    let facts = Facts {
        config: "acmezone.toml".into(),
        data_dir: folder.path().into(),
        started: jiff::Timestamp::now(),
        dns: Vec::new(),
        dns_tls: Vec::new(),
        api: Vec::new(),
        admin: "127.0.0.1:8054".parse().unwrap(),
        zones: vec![facts("auth.example.org", true), facts("_acme-challenge.example.net", false)],
    };
    let issuer = issuer(folder, writer.clone());
    let counters = Counters(Arc::new(|| DnsCounters { limited: 17, dropped: 4 }));
    let api_closed = tokio::sync::watch::channel(None).1;
    let state = AdminState { token, writer, issuer, facts: Arc::new(facts), counters, api_closed };
    (serve(admin::router(state)).await, path)
}

/// Without certificates.
fn issuer(folder: &TempDir, writer: Writer) -> Issuer {
    let config = Config {
        file: "acmezone.toml".into(),
        data_dir: folder.path().into(),
        dns: Dns::default(),
        api: Api::default(),
        admin: acmezone::config::Admin::default(),
        zones: Vec::new(),
        tsig_keys: Vec::new(),
        resolver: Default::default(),
        acme: Default::default(),
        cas: Vec::new(),
        certificates: Vec::new(),
    };
    Issuer::new(&config, writer, Resolver::new(&[]), OwnListeners::default()).unwrap()
}

// Registration tokens

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_and_only_a_hash_is_kept() {
    let admin = Admin::start().await;
    let made = admin.ask("POST /v1/tokens", r#"{"uses":3,"expires":"2999-01-01T00:00:00Z","note":"web 7"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made: CreatedToken = made.json();
    assert_eq!((made.token.len(), made.facts.uses_left, made.facts.state), (40, Some(3), TokenState::Valid));
    let unbound: CreatedToken = admin.ask("POST /v1/tokens", "").await.json();
    assert_eq!((unbound.facts.uses_left, unbound.facts.expires), (None, None));
    let listed = admin.ask("GET /v1/tokens", "").await;
    assert!(!listed.body.contains(&made.token) && !listed.body.contains(&unbound.token));
    let tokens: Vec<Token> = listed.json();
    assert_eq!(tokens.len(), 2);
    assert!(tokens.iter().any(|token| token.id == made.facts.id && token.note == "web 7"));
    let revoked: Token = admin.ask(&format!("DELETE /v1/tokens/{}", made.facts.id), "").await.json();
    assert_eq!((revoked.state, revoked.uses_left), (TokenState::Revoked, Some(3)));
    let stored = std::fs::read(admin.house.folder.path().join("acmezone.db-wal")).unwrap();
    assert!(!stored.windows(40).any(|octets| octets == made.token.as_bytes()));
    assert!(stored.windows(5).any(|octets| octets == b"web 7"), "this is where it would be");
}

#[tokio::test]
async fn a_token_that_nobody_could_use_is_refused() {
    let admin = Admin::start().await;
    let long = format!(r#"{{"note":"{}"}}"#, "x".repeat(201));
    for body in [r#"{"uses":0}"#, r#"{"expires":"2001-01-01T00:00:00Z"}"#, r#"{"note":"a\nb"}"#, &long, r#"{"use":1}"#]
    {
        assert_eq!(admin.refused("POST /v1/tokens", body).await, (400, "bad_request".into()), "{body}");
    }
    assert_eq!(admin.refused("DELETE /v1/tokens/123456789abc", "").await, (404, "not_found".into()));
}

// HTTP storages

#[tokio::test]
async fn a_storage_binds_domains_to_the_label_of_an_account_however_it_is_named() {
    let admin = Admin::start().await;
    let www = admin.account(r#"{"label":"www"}"#).await;
    for id in [www.username.to_string(), "WWW".into(), "www.auth.example.org".into()] {
        let body = format!(r#"{{"domains":["a.example","*.b.example","B.example."],"account":"{id}"}}"#);
        let answer = admin.ask("POST /v1/storages", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let storage: CreatedStorage = answer.json();
        let bound: Vec<String> = storage.facts.domains.iter().map(|stored| stored.domain.to_string()).collect();
        assert_eq!(bound, ["a.example", "b.example"]);
        for stored in &storage.facts.domains {
            assert_eq!((stored.username, &stored.fulldomain), (www.username, &www.fulldomain));
        }
    }
    let made: CreatedStorage = admin.ask("POST /v1/storages", r#"{"domains":["c.example"]}"#).await.json();
    let stored = std::fs::read(admin.house.folder.path().join("acmezone.db-wal")).unwrap();
    assert!(!stored.windows(40).any(|octets| octets == made.secret.as_bytes()));
    assert!(!admin.ask("GET /v1/storages", "").await.body.contains(&made.secret));
    assert_eq!(admin.ask("GET /v1/accounts", "").await.json::<Vec<Account>>().len(), 2);
}

#[tokio::test]
async fn a_storage_for_no_domain_or_no_account_is_refused_and_makes_nothing() {
    let admin = Admin::start().await;
    let many: Vec<String> = (0..101).map(|n| format!("n{n}.example")).collect();
    let many = serde_json::json!({ "domains": many }).to_string();
    let long =
        serde_json::json!({ "domains": [format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(50))] }).to_string();
    let bodies =
        ["", "{}", r#"{"domains":[]}"#, r#"{"domains":["."]}"#, r#"{"domains":["*.*.example"]}"#, &many, &long];
    for body in bodies {
        assert_eq!(admin.refused("POST /v1/storages", body).await, (400, "bad_request".into()), "{body}");
    }
    let unknown = r#"{"domains":["a.example"],"account":"nobody"}"#;
    assert_eq!(admin.refused("POST /v1/storages", unknown).await, (404, "not_found".into()));
    assert_eq!(admin.refused("DELETE /v1/storages/123456789abc", "").await, (404, "not_found".into()));
    assert!(admin.house.writer.accounts().await.unwrap().is_empty());
}

// Who gets in

#[tokio::test]
async fn without_the_token_nothing_is_told_rfc6750_3() {
    let admin = Admin::start().await;
    let wrong = format!("Authorization: Bearer {}", "x".repeat(40));
    for headers in [vec![], vec!["Authorization: Bearer"], vec!["Authorization: Basic eDp5"], vec![wrong.as_str()]] {
        for line in ["GET /v1/status", "GET /v1/nothing", "PUT /v1/status", "DELETE /v1/txt/a"] {
            let answer = send(admin.address, request(line, &headers, "")).await;
            assert_eq!(answer.status, 401, "{line}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.json::<ApiError>().error, "unauthorized");
        }
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_even_with_the_token() {
    let admin = Admin::start().await;
    let get = |host: &str| format!("GET /v1/status HTTP/1.1\r\n{host}{}\r\n\r\n", admin.authorization);
    for host in ["Host: evil.example\r\n", "Host: 192.0.2.1\r\n", "Host: localhost.evil.example:8054\r\n", ""] {
        let answer = send(admin.address, get(host)).await;
        assert_eq!((answer.status, answer.json::<ApiError>().error.as_str()), (403, "bad_host"), "{host}");
    }
    for host in ["Host: 127.0.0.1:8054\r\n", "Host: [::1]:8054\r\n", "Host: LOCALHOST\r\n"] {
        assert_eq!(send(admin.address, get(host)).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_too() {
    let admin = Admin::start().await;
    assert_eq!(admin.refused("GET /v1/nothing", "").await, (404, "not_found".into()));
    assert_eq!(admin.refused("GET /", "").await, (404, "not_found".into()));
    assert_eq!(admin.refused("PUT /v1/status", "").await, (405, "method_not_allowed".into()));
    assert_eq!(admin.ask("PATCH /v1/txt/a", "").await.header("allow"), Some("GET,HEAD,POST,PUT,DELETE"));
}

#[tokio::test]
async fn a_failing_store_is_503() {
    let house = House::new();
    let (address, authorization) = start(&house, writer(FullDisk)).await;
    let answer = send(address, request("GET /v1/accounts", &[&authorization], "")).await;
    assert_eq!((answer.status, answer.json::<ApiError>().error.as_str()), (503, "unavailable"));
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let admin = Admin::start().await;
    let head = "POST /v1/accounts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n";
    let answer = send(admin.address, format!("{head}{}\r\n\r\n", admin.authorization)).await;
    assert_eq!((answer.status, answer.json::<ApiError>().error.as_str()), (413, "payload_too_large"));
}

// Status

#[tokio::test]
async fn status_counts_labels_and_names() {
    let admin = Admin::start().await;
    let account = admin.account("").await;
    admin.values(&format!("POST /v1/txt/{}", account.fulldomain), r#"{"values":["a"]}"#).await;
    let status: Status = admin.ask("GET /v1/status", "").await.json();
    assert_eq!((status.zones, status.labels, status.names_with_values), (2, 1, 1));
    assert_eq!(status.dns_counters, DnsCounters { limited: 17, dropped: 4 });
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
}

// Accounts

#[tokio::test]
async fn an_account_is_found_by_user_name_label_and_full_domain() {
    let admin = Admin::start().await;
    let chosen = admin.account(r#"{"label":"www","allowfrom":["10.0.0.0/8"]}"#).await;
    let random = admin.account("").await;
    assert_eq!(chosen.fulldomain, name("www.auth.example.org"));
    let ids = [
        (chosen.username.to_string(), &chosen),
        ("www".into(), &chosen),
        ("WWW.auth.example.org.".into(), &chosen),
        ("_acme-challenge.www.auth.example.org".into(), &chosen),
        (random.subdomain.to_string(), &random),
        (random.username.simple().to_string(), &random),
    ];
    for (id, account) in ids {
        let found: Account = admin.ask(&format!("GET /v1/accounts/{id}"), "").await.json();
        assert_eq!((found.username, found.fulldomains), (account.username, vec![account.fulldomain.clone()]), "{id}");
        assert_eq!((found.allowfrom, found.credentials), (account.allowfrom.clone(), 1));
    }
    let all: Vec<Account> = admin.ask("GET /v1/accounts", "").await.json();
    assert_eq!(all.len(), 2);
    for unknown in ["nobody", "www.example.org", "auth.example.org", "%2F", "11111111-2222-4333-8444-555555555555"] {
        assert_eq!(admin.refused(&format!("GET /v1/accounts/{unknown}"), "").await, (404, "not_found".into()));
    }
}

#[tokio::test]
async fn bad_accounts_are_refused() {
    let admin = Admin::start().await;
    admin.account(r#"{"label":"www"}"#).await;
    let post = "POST /v1/accounts";
    assert_eq!(admin.refused(post, r#"{"label":"www"}"#).await, (409, "label_taken".into()));
    for body in
        [r#"{"label":"_a"}"#, r#"{"allowfrom":["10.0.0.1"]}"#, r#"{"lable":"a"}"#, "[", r#"{} x"#, r#" ["a",[]]"#]
    {
        assert_eq!(admin.refused(post, body).await, (400, "bad_request".into()), "{body}");
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_a_tombstone() {
    let admin = Admin::start().await;
    let account = admin.account(r#"{"label":"www"}"#).await;
    admin.values("POST /v1/txt/www.auth.example.org", r#"{"values":["a"]}"#).await;
    let deleted: Account = admin.ask("DELETE /v1/accounts/www", "").await.json();
    assert_eq!(deleted.username, account.username);
    assert!(admin.house.writer.live().txt_set(&account.fulldomain).is_none());
    assert_eq!(admin.refused("DELETE /v1/accounts/www", "").await, (404, "not_found".into()));
    assert_eq!(admin.refused("POST /v1/accounts", r#"{"label":"www"}"#).await, (409, "label_taken".into()));
}

// TXT

#[tokio::test]
async fn values_are_added_replaced_and_removed() {
    let admin = Admin::start().await;
    let name = "/v1/txt/_acme-challenge.example.net";
    assert!(admin.values(&format!("GET {name}"), "").await.is_empty());
    assert_eq!(admin.values(&format!("POST {name}"), r#"{"values":["a","b"]}"#).await, ["a", "b"]);
    assert_eq!(admin.values(&format!("POST {name}"), r#"{"values":["a"]}"#).await, ["b", "a"]);
    assert_eq!(admin.values(&format!("DELETE {name}?value=b"), "").await, ["a"]);
    assert_eq!(admin.values(&format!("DELETE {name}?value=unknown"), "").await, ["a"]);
    assert_eq!(admin.values(&format!("PUT {name}"), r#"{"values":["c","d"]}"#).await, ["c", "d"]);
    assert_eq!(admin.values(&format!("GET {name}"), "").await, ["c", "d"]);
    let all: Vec<TxtName> = admin.ask("GET /v1/txt", "").await.json();
    assert_eq!((all.len(), all[0].name.to_string()), (1, "_acme-challenge.example.net".into()));
    assert!(admin.values(&format!("DELETE {name}"), "").await.is_empty());
    assert!(admin.ask("GET /v1/txt", "").await.json::<Vec<TxtName>>().is_empty());
}

#[tokio::test]
async fn every_spelling_of_a_challenge_name_is_one_name() {
    let admin = Admin::start().await;
    admin.account(r#"{"label":"www"}"#).await;
    for spelling in ["www.auth.example.org", "WWW.auth.example.org.", "_acme-challenge.www.auth.example.org"] {
        let answer = admin.ask(&format!("POST /v1/txt/{spelling}"), r#"{"values":["a"]}"#).await.json::<TxtName>();
        assert_eq!(answer.name.to_string(), "www.auth.example.org");
    }
    assert_eq!(admin.house.values("www.auth.example.org"), ["a"]);
}

#[tokio::test]
async fn odd_octets_come_back_as_they_were_put() {
    let admin = Admin::start().await;
    let name = "/v1/txt/_acme-challenge.example.net";
    let put = admin.values(&format!("PUT {name}"), r#"{"values":["a\\\"\\\\\\000ä"]}"#).await;
    assert_eq!(put, [r#"a\"\\\000\195\164"#]);
    let removed = admin.values(&format!("DELETE {name}?value=a%5C%22%5C%5C%5C000%5C195%5C164"), "").await;
    assert!(removed.is_empty());
}

#[tokio::test]
async fn bad_values_and_names_are_refused() {
    let admin = Admin::start().await;
    let name = "_acme-challenge.example.net";
    let long = format!(r#"{{"values":["{}"]}}"#, "x".repeat(4097));
    let many = format!(r#"{{"values":{:?}}}"#, (0..65).map(|n| n.to_string()).collect::<Vec<_>>());
    for body in ["", "{}", "null", r#"{"values":[]}"#, r#"{"values":["\\999"]}"#, r#"{"values":[1]}"#, &long, &many] {
        let refused = admin.refused(&format!("POST /v1/txt/{name}"), body).await;
        assert_eq!(refused, (400, "bad_request".into()), "{body:.40}");
    }
    assert_eq!(admin.refused(&format!("PUT /v1/txt/{name}"), "").await, (400, "bad_request".into()));
    assert_eq!(admin.refused(&format!("DELETE /v1/txt/{name}?valeu=a"), "").await, (400, "bad_request".into()));
    assert_eq!(admin.refused("GET /v1/txt/a..b", "").await, (400, "bad_request".into()));
    assert_eq!(admin.refused("GET /v1/txt/%FF", "").await, (400, "bad_request".into()));
    for unknown in ["example.com", "auth.example.org", "unknown.auth.example.org"] {
        let refused = admin.refused(&format!("PUT /v1/txt/{unknown}"), r#"{"values":["a"]}"#).await;
        assert_eq!(refused, (404, "not_a_challenge_name".into()), "{unknown}");
    }
}

// Zones

#[tokio::test]
async fn one_zone_shows_its_records_in_master_file_form() {
    let admin = Admin::start().await;
    admin.values("POST /v1/txt/_acme-challenge.example.net", r#"{"values":["a"]}"#).await;
    let all: Vec<Zone> = admin.ask("GET /v1/zones", "").await.json();
    let facts: Vec<_> =
        all.iter().map(|zone| (zone.origin.to_string(), zone.registration, zone.names_with_values)).collect();
    assert_eq!(facts, [("auth.example.org".into(), true, 0), ("_acme-challenge.example.net".into(), false, 1)]);
    assert!(all.iter().all(|zone| zone.records.is_empty() && zone.static_names == 1));
    let zone: Zone = admin.ask("GET /v1/zones/AUTH.example.org.", "").await.json();
    assert_eq!((zone.serial, zone.nameservers), (2, vec!["ns1.example.org".into()]));
    assert_eq!(
        zone.records,
        [
            "auth.example.org. 300 IN SOA ns1.example.org. hostmaster.example.org. 1 14400 3600 1209600 300",
            "auth.example.org. 3600 IN NS ns1.example.org.",
            "auth.example.org. 1 IN CAA 0 issue \";\"",
        ]
    );
    assert_eq!(admin.refused("GET /v1/zones/example.org", "").await, (404, "not_found".into()));
}

// Certificates

#[tokio::test]
async fn an_unknown_certificate_is_404() {
    let admin = Admin::start().await;
    assert_eq!(admin.ask("GET /v1/certificates", "").await.status, 200);
    let actions = ["issue", "renew", "deploy"].map(|action| format!("POST /v1/certificates/x/{action}"));
    for line in actions.iter().map(String::as_str).chain(["GET /v1/certificates/x"]) {
        assert_eq!(admin.refused(line, "").await, (404, "not_found".into()));
    }
    assert_eq!(admin.refused("GET /v1/certificates/x/issue", "").await, (405, "method_not_allowed".into()));
}
