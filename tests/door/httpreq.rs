//! `httpreq` of lego and the API of acmeproxy: the contract, and what each known client really sends.

use std::net::SocketAddr;

use acmezone::account::AllowFrom;
use acmezone::config::Registration;
use acmezone::door::acmedns;
use acmezone::store::{self, RegisterLabel};
use acmezone::zone::{Change, Label};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::house::{FullDisk, House, name, serve, writer};
use crate::wire::{Answer, request, send};

const VALUE: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";
const JSON: &str = "Content-Type: application/json";
/// base64url(SHA-256(key authorization)) of `RAW_KEY`.
const RAW_VALUE: &str = "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM";
const RAW_KEY: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

struct Stage {
    house: House,
    address: SocketAddr,
    basic: String,
}

impl Stage {
    /// With an account that holds the label `customer`.
    async fn open() -> Stage {
        Stage::for_sources(&[]).await
    }

    async fn for_sources(allowfrom: &[&str]) -> Stage {
        let house = House::new();
        let address = house.acmedns(Registration::Closed).await;
        let account = account(&house, "customer", allowfrom).await;
        Stage { house, address, basic: basic(&account) }
    }

    /// Posts with the account's credentials, as JSON.
    async fn post(&self, path: &str, body: &str) -> Answer {
        self.post_as(path, &[&self.basic, JSON], body).await
    }

    async fn post_as(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        send(self.address, request(&format!("POST {path}"), headers, body)).await
    }

    fn values(&self) -> Vec<String> {
        self.house.values("customer.auth.example.org")
    }

    /// Sends octets with the credentials' header put in, on both paths; the value comes and goes and is echoed.
    #[track_caller]
    fn plays<'a>(&'a self, head: &'a [&'a str], body: &'a str, value: &'a str, echo: Value) -> impl Future + 'a {
        async move {
            let (line, headers) = head.split_first().unwrap();
            let basic = format!("Authorization: Basic {}", self.basic.rsplit(' ').next().unwrap());
            let length = format!("Content-Length: {}", body.len());
            for (path, values) in [("present", vec![value]), ("cleanup", vec![]), ("cleanup", vec![])] {
                let line = line.replace("PATH", path);
                let all = [&[line.as_str(), "Host: acmezone.example"], headers, &[&basic, &length]].concat();
                let answer = send(self.address, all.join("\r\n") + "\r\n\r\n" + body).await;
                assert_eq!((answer.status, answer.json::<Value>()), (200, echo.clone()), "{path}");
                assert_eq!(answer.body.lines().count(), 1);
                assert_eq!(self.values(), values, "{path}");
            }
        }
    }
}

async fn account(house: &House, label: &str, allowfrom: &[&str]) -> store::Registration {
    let label = RegisterLabel::Chosen(Label::parse(label).unwrap());
    house.writer.register(AllowFrom::parse(allowfrom).unwrap(), label).await.unwrap()
}

fn basic(account: &store::Registration) -> String {
    basic_of(&account.account.username.to_string(), account.credential.reveal())
}

fn basic_of(user: &str, key: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

fn record(fqdn: &str, value: &str) -> String {
    json!({ "fqdn": fqdn, "value": value }).to_string()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, format!(r#"{{"error": "{error}"}}"#).as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

// What each client sends

#[tokio::test]
async fn lego_httpreq() {
    let stage = Stage::open().await;
    let head = [
        "POST /PATH HTTP/1.1",
        "User-Agent: Go-http-client/1.1",
        "Accept: application/json",
        JSON,
        "Accept-Encoding: gzip",
    ];
    let fqdn = "customer.auth.example.org."; // the target of the CNAME
    let body = format!("{{\"fqdn\":\"{fqdn}\",\"value\":\"{VALUE}\"}}\n");
    stage.plays(&head, &body, VALUE, json!({ "fqdn": fqdn, "value": VALUE })).await;
}

#[tokio::test]
async fn lego_httpreq_with_a_slash_at_the_end_of_its_endpoint() {
    let stage = Stage::open().await;
    let body = format!("{{\"fqdn\":\"customer.auth.example.org.\",\"value\":\"{VALUE}\"}}\n");
    let echo = json!({ "fqdn": "customer.auth.example.org.", "value": VALUE });
    stage.plays(&["POST //PATH HTTP/1.1", JSON], &body, VALUE, echo).await;
}

#[tokio::test]
async fn lego_httpreq_in_mode_raw() {
    let stage = Stage::open().await;
    let head = ["POST /PATH HTTP/1.1", "User-Agent: Go-http-client/1.1", "Accept: application/json", JSON];
    let token = RAW_KEY.split('.').next().unwrap();
    let domain = "customer.auth.example.org";
    let body = format!("{{\"domain\":\"{domain}\",\"token\":\"{token}\",\"keyAuth\":\"{RAW_KEY}\"}}\n");
    stage.plays(&head, &body, RAW_VALUE, json!({ "domain": domain, "token": token, "keyAuth": RAW_KEY })).await;
}

#[tokio::test]
async fn acme_sh_with_challenge_alias_and_with_domain_alias() {
    let stage = Stage::open().await;
    let head = ["POST /PATH HTTP/1.1", "User-Agent: acme.sh/3.1.4", "Accept: application/json", JSON];
    for fqdn in ["_acme-challenge.customer.auth.example.org.", "customer.auth.example.org."] {
        let body = format!(r#"{{"fqdn": "{fqdn}", "value": "{VALUE}"}}"#);
        stage.plays(&head, &body, VALUE, json!({ "fqdn": fqdn, "value": VALUE })).await;
    }
}

#[tokio::test]
async fn acme_sh_looks_for_the_value_so_no_refusal_has_it() {
    let stage = Stage::open().await;
    account(&stage.house, "other", &[]).await;
    let body = |fqdn| record(fqdn, VALUE);
    let good = body("customer.auth.example.org.");
    for path in ["/present", "/cleanup"] {
        let answers = [
            (401, stage.post_as(path, &[JSON], &good).await),
            (403, stage.post(path, &body("other.auth.example.org.")).await),
            (400, stage.post(path, &body("customer..auth.example.org.")).await),
            (400, stage.post(path, &(good.clone() + "}")).await),
            (405, send(stage.address, request(&format!("PUT {path}"), &[&stage.basic], &good)).await),
            (404, stage.post(&format!("{path}/x"), &good).await),
        ];
        for (status, answer) in answers {
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(!answer.body.contains(VALUE) && answer.body.lines().count() == 1);
        }
        assert!(stage.post(path, &good).await.body.contains(&format!("\"{VALUE}\"")));
    }
}

#[tokio::test]
async fn certbot_lego_httpreq_with_a_form() {
    let stage = Stage::open().await;
    let head = [
        "POST /PATH HTTP/1.1",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        "User-Agent: python-httpx/0.28.1",
        "Content-Type: application/x-www-form-urlencoded",
    ];
    let fqdn = "_acme-challenge.customer.auth.example.org.";
    let body = format!("fqdn={fqdn}&value={VALUE}");
    stage.plays(&head, &body, VALUE, json!({ "fqdn": fqdn, "value": VALUE })).await;
}

// Names

#[tokio::test]
async fn every_spelling_of_a_label_is_the_label() {
    let stage = Stage::open().await;
    let spellings = [
        "customer.auth.example.org",
        "CUSTOMER.Auth.Example.ORG.",
        "_acme-challenge.customer.auth.example.org",
        "_ACME-Challenge.Customer.auth.example.org.",
        "*.customer.auth.example.org.",
    ];
    for fqdn in spellings {
        assert_eq!(stage.post("/present", &record(fqdn, VALUE)).await.status, 200, "{fqdn}");
        assert_eq!(stage.values(), [VALUE], "{fqdn}");
        assert_eq!(stage.post("/cleanup", &record(fqdn, VALUE)).await.status, 200, "{fqdn}");
        assert!(stage.values().is_empty(), "{fqdn}");
    }
    for domain in ["customer.auth.example.org", "*.Customer.auth.example.org."] {
        for key in ["keyAuth", "keyauth", "KeyAuth"] {
            let body = json!({ "domain": domain, key: RAW_KEY }).to_string();
            assert_eq!(stage.post("/present", &body).await.status, 200, "{body}");
            assert_eq!(stage.values(), [RAW_VALUE], "{body}");
            assert_eq!(stage.post("/cleanup", &body).await.status, 200, "{body}");
            assert!(stage.values().is_empty(), "{body}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_the_accounts_is_403() {
    let stage = Stage::open().await;
    account(&stage.house, "other", &[]).await;
    let names = [
        "other.auth.example.org.",
        "_acme-challenge.other.auth.example.org.",
        "nobody.auth.example.org.",
        "auth.example.org.",
        "_acme-challenge.auth.example.org.",
        "ns1.example.org.",
        "_acme-challenge.example.net.", // a zone of its own, which is nobody's
        "_acme-challenge.example.com.",
        "_acme-challenge._acme-challenge.customer.auth.example.org.",
        "x.customer.auth.example.org.",
        "_acme-challenge.*.auth.example.org.",
        "customer",
        ".",
    ];
    for fqdn in names {
        for path in ["/present", "/cleanup"] {
            assert_refused(&stage.post(path, &record(fqdn, VALUE)).await, 403, "name_not_owned");
        }
    }
    for domain in ["example.com", "other.auth.example.org", "example.net"] {
        let body = json!({ "domain": domain, "token": "t", "keyAuth": RAW_KEY }).to_string();
        assert_refused(&stage.post("/present", &body).await, 403, "name_not_owned");
    }
    assert!(stage.house.writer.live().values().is_empty());
}

#[tokio::test]
async fn one_credential_serves_every_label_of_its_account() {
    let stage = Stage::open().await;
    let account = account(&stage.house, "first", &[]).await;
    let label = RegisterLabel::Chosen(Label::parse("second").unwrap());
    stage.house.writer.add_label(account.account.username, label).await.unwrap();
    for fqdn in ["first.auth.example.org", "_acme-challenge.second.auth.example.org."] {
        let answer = stage.post_as("/present", &[&basic(&account)], &record(fqdn, VALUE)).await;
        assert_eq!(answer.status, 200, "{fqdn}");
    }
    for label in ["first", "second"] {
        assert_eq!(stage.house.values(&format!("{label}.auth.example.org")), [VALUE]);
    }
}

#[tokio::test]
async fn a_domain_with_an_alias_is_the_label_in_both_forms() {
    let stage = Stage::open().await;
    let label = Label::parse("customer").unwrap();
    stage.house.writer.add_alias(name("example.com"), label).await.unwrap();
    let bodies = [
        (record("_acme-challenge.example.com.", VALUE), VALUE), // lego that sees no CNAME, certbot-lego-httpreq
        (json!({ "domain": "example.com", "token": "t", "keyAuth": RAW_KEY }).to_string(), RAW_VALUE),
        (json!({ "domain": "*.Example.COM", "token": "t", "keyAuth": RAW_KEY }).to_string(), RAW_VALUE),
    ];
    for (body, value) in bodies {
        assert_eq!(stage.post("/present", &body).await.status, 200, "{body}");
        assert_eq!(stage.values(), [value], "{body}");
        assert_eq!(stage.post("/cleanup", &body).await.status, 200, "{body}");
        assert!(stage.values().is_empty(), "{body}");
    }
    // the alias is somebody's, but not everybody's
    let other = account(&stage.house, "other", &[]).await;
    let body = record("_acme-challenge.example.com.", VALUE);
    assert_refused(&stage.post_as("/present", &[&basic(&other)], &body).await, 403, "name_not_owned");
    assert_refused(&stage.post("/present", &record("example.com.", VALUE)).await, 403, "name_not_owned");
}

// Values

#[tokio::test]
async fn apex_and_wildcard_have_a_value_each_and_cleanup_takes_one() {
    let stage = Stage::open().await;
    let other = "a".repeat(43);
    for value in [VALUE, &other] {
        stage.post("/present", &record("customer.auth.example.org.", value)).await;
    }
    assert_eq!(stage.values(), [VALUE, &other]);
    assert_eq!(stage.post("/cleanup", &record("customer.auth.example.org.", VALUE)).await.status, 200);
    assert_eq!(stage.values(), [other]);
}

#[tokio::test]
async fn what_is_no_digest_of_a_key_authorization_is_400_rfc8555_8_4() {
    let stage = Stage::open().await;
    let long = "a".repeat(44);
    let odd = format!("{}=", "a".repeat(42));
    for value in ["", "a", &long, &odd, "täääääääääääääääääääääääääääääääääääääääää"]
    {
        let answer = stage.post("/present", &record("customer.auth.example.org.", value)).await;
        assert_refused(&answer, 400, "bad_value");
    }
    let empty = json!({ "domain": "customer.auth.example.org", "token": "", "keyAuth": "" }).to_string();
    assert_refused(&stage.post("/present", &empty).await, 400, "bad_value");
    assert!(stage.values().is_empty());
}

// Who may

#[tokio::test]
async fn without_the_accounts_credentials_it_is_401_with_a_challenge_rfc7617_2() {
    let stage = Stage::open().await;
    let other = account(&stage.house, "other", &[]).await;
    let (user, key) = (other.account.username.to_string(), other.credential.reveal().to_owned());
    let token = "a".repeat(43); // the form of the admin token
    let admin = format!("Authorization: Bearer {token}");
    let wrong = basic_of(&user, &"x".repeat(40));
    let mixed = basic_of(&user, &stage.basic[..40]);
    let stranger = basic_of("11111111-2222-4333-8444-555555555555", &key);
    let doubled = format!("{0}\r\n{0}", basic(&other));
    let cases = ["X-Other: 1", "Authorization: Basic", &admin, &wrong, &mixed, &stranger, &doubled];
    for path in ["/present", "/cleanup"] {
        // whoever it is learns nothing about names and values
        for body in [&record("other.auth.example.org", VALUE), "junk", &record("example.com", "junk")] {
            for credentials in cases {
                let answer = stage.post_as(path, &[credentials, JSON], body).await;
                assert_refused(&answer, 401, "forbidden");
                assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"acmezone\""), "{credentials}");
            }
            let by_acme_dns = format!("X-Api-User: {user}\r\nX-Api-Key: {key}");
            assert_refused(&stage.post_as(path, &[&by_acme_dns], body).await, 401, "forbidden");
        }
    }
}

#[tokio::test]
async fn allowfrom_is_held_against_the_address_of_the_socket() {
    let far = Stage::for_sources(&["10.0.0.0/8"]).await;
    let body = record("customer.auth.example.org", VALUE);
    let answer = far.post_as("/present", &[&far.basic, "X-Forwarded-For: 10.1.1.1"], &body).await;
    assert_refused(&answer, 401, "forbidden");
    assert!(answer.header("www-authenticate").is_some());
    let near = Stage::for_sources(&["10.0.0.0/8", "127.0.0.0/8"]).await;
    assert_eq!(near.post("/present", &body).await.status, 200);
}

// Routes and failures

#[tokio::test]
async fn odd_spellings_of_the_paths_are_served() {
    let stage = Stage::open().await;
    let body = record("customer.auth.example.org", VALUE);
    for path in ["//present", "/present/", "/PRESENT", "//Cleanup//", "/present?x=y", "http://localhost//cleanup"] {
        assert_eq!(stage.post(path, &body).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn json_is_read_under_any_content_type() {
    let stage = Stage::open().await;
    let body = record("customer.auth.example.org", VALUE);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "nonsense"] {
        let kind = format!("Content-Type: {kind}");
        assert_eq!(stage.post_as("/present", &[&stage.basic, &kind], &body).await.status, 200, "{kind}");
    }
    assert_eq!(stage.post_as("/present", &[&stage.basic], &body).await.status, 200);
}

#[tokio::test]
async fn a_wrong_method_is_405_with_allow() {
    let stage = Stage::open().await;
    for line in ["GET /present", "PUT /cleanup", "DELETE //present/", "OPTIONS /cleanup", "PATCH /present"] {
        let answer = send(stage.address, request(line, &[&stage.basic], "")).await;
        assert_refused(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"), "{line}");
    }
}

#[tokio::test]
async fn a_body_over_8_kib_is_413() {
    let stage = Stage::open().await;
    let body = record("customer.auth.example.org", VALUE);
    let padded = body.clone() + &" ".repeat(8192 - body.len());
    assert_eq!(stage.post("/present", &padded).await.status, 200);
    assert_refused(&stage.post("/present", &(padded + " ")).await, 413, "payload_too_large");
}

#[tokio::test]
async fn a_failing_store_is_503_without_its_words() {
    let writer = writer(FullDisk);
    writer.live().publish([Change::Registered { name: name("customer.auth.example.org") }], 1);
    let address = serve(acmedns::router(writer, Registration::Open)).await;
    let basic = basic_of("8e5700ea-a4bf-41c7-8a77-e990661dcc6a", &"k".repeat(40));
    for path in ["POST /present", "POST /cleanup"] {
        let answer = send(address, request(path, &[&basic], &record("customer.auth.example.org", VALUE))).await;
        assert_refused(&answer, 503, "db_error");
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
}
