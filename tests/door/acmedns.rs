//! Every row of the wire contract of acme-dns, and what each known client really sends.

use std::net::SocketAddr;

use acmezone::api::CreatedAccount;
use acmezone::config::Registration;
use acmezone::door::acmedns;
use acmezone::zone::Change;

use crate::house::{FullDisk, House, name, serve, writer};
use crate::wire::{Answer, request, send};

pub const TXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_-";
pub const FORBIDDEN: &str = r#"{"error": "forbidden"}"#;
pub const BAD_TXT: &str = r#"{"error": "bad_txt"}"#;
const MALFORMED: &str = r#"{"error": "malformed_json_payload"}"#;

pub async fn open() -> (House, SocketAddr) {
    let house = House::new();
    let address = house.acmedns(Registration::Open).await;
    (house, address)
}

pub async fn with_account() -> (House, SocketAddr, CreatedAccount) {
    let (house, address) = open().await;
    let account = register(address, "").await.json();
    (house, address, account)
}

pub async fn register(address: SocketAddr, body: &str) -> Answer {
    send(address, request("POST /register", &["Content-Type: application/json"], body)).await
}

async fn update_as(address: SocketAddr, user: &str, key: &str, body: &str) -> Answer {
    let headers = [format!("X-Api-User: {user}"), format!("X-Api-Key: {key}")];
    send(address, request("POST /update", &[&headers[0], &headers[1], "Content-Type: application/json"], body)).await
}

pub async fn update(address: SocketAddr, account: &CreatedAccount, body: &str) -> Answer {
    update_as(address, &account.username.to_string(), &account.password, body).await
}

pub fn body(account: &CreatedAccount, txt: &str) -> String {
    format!(r#"{{"subdomain":"{}","txt":"{txt}"}}"#, account.subdomain)
}

pub fn assert_json(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

// Register

#[tokio::test]
async fn register_answers_201_in_one_compact_line_in_the_order_of_acme_dns() {
    let (_house, address) = open().await;
    let answer = register(address, "{}").await;
    let CreatedAccount { username, password, fulldomain, subdomain, .. } = answer.json();
    let expected = format!(
        r#"{{"username":"{username}","password":"{password}","fulldomain":"{fulldomain}","subdomain":"{subdomain}","allowfrom":[]}}"#
    );
    assert_json(&answer, 201, &expected);
    assert_eq!(answer.body.len(), 240);
    assert_eq!(password.len(), 40);
    assert_eq!(fulldomain.to_string(), format!("{subdomain}.auth.example.org"));
    assert_eq!(username.get_version_num(), 4);
}

#[tokio::test]
async fn register_takes_an_absent_empty_null_or_empty_object_body() {
    let (_house, address) = open().await;
    let absent = send(address, "POST /register HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(absent.status, 201, "{absent:?}");
    for body in ["", "null\n", "null", "{}", r#"{"allowfrom":[]}"#, r#"{"allowfrom":null}"#, r#" {"other":{"a":[1]}} "#]
    {
        let answer = register(address, body).await;
        assert_eq!(answer.status, 201, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn register_ignores_the_content_type() {
    let (_house, address) = open().await;
    for kind in ["text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "nonsense"] {
        let answer = send(address, request("POST /register", &[&format!("Content-Type: {kind}")], "{}")).await;
        assert_eq!(answer.status, 201, "{kind}");
    }
    assert_eq!(send(address, request("POST /register", &[], r#"{"allowfrom":["10.0.0.0/8"]}"#)).await.status, 201);
}

#[tokio::test]
async fn register_echoes_allowfrom_without_brackets_and_with_host_bits() {
    let (_house, address) = open().await;
    for key in ["allowfrom", "AllowFrom", "ALLOWFROM"] {
        let answer = register(address, &format!(r#"{{"{key}":["192.168.100.1/24","[2001:db8::]/32"]}}"#)).await;
        assert_eq!(answer.status, 201);
        assert!(answer.body.ends_with(r#","allowfrom":["192.168.100.1/24","2001:db8::/32"]}"#), "{answer:?}");
    }
}

#[tokio::test]
async fn register_refuses_malformed_json() {
    let (_house, address) = open().await;
    let bodies = ["{} junk", "[]", "{", "\"a\"", "1", " ", r#"{"allowfrom":"10.0.0.0/8"}"#, r#"{"allowfrom":[1]}"#];
    for body in bodies {
        assert_json(&register(address, body).await, 400, MALFORMED);
    }
}

#[tokio::test]
async fn register_refuses_what_is_no_cidr() {
    let (_house, address) = open().await;
    for entry in ["10.0.0.1", "10.0.0.0/33", "", "everywhere"] {
        let answer = register(address, &format!(r#"{{"allowfrom":["{entry}"]}}"#)).await;
        assert_json(&answer, 400, r#"{"error": "invalid_allowfrom_cidr"}"#);
        assert_eq!(answer.header("content-length"), Some("35"));
    }
}

#[tokio::test]
async fn closed_registration_is_403() {
    let house = House::new();
    let address = house.acmedns(Registration::Closed).await;
    for body in ["", "{}", "junk"] {
        assert_json(&register(address, body).await, 403, r#"{"error": "registration_closed"}"#);
    }
    assert_eq!(send(address, request("GET /register", &[], "")).await.status, 405);
    assert!(house.writer.accounts().await.unwrap().is_empty());
}

// Update

#[tokio::test]
async fn update_answers_200_with_the_value_after_it_is_served() {
    let (house, address, account) = with_account().await;
    let answer = update(address, &account, &body(&account, TXT)).await;
    assert_json(&answer, 200, &format!(r#"{{"txt": "{TXT}"}}"#));
    assert_eq!(house.values(&account.fulldomain.to_string()), [TXT]);
}

#[tokio::test]
async fn update_keeps_many_values_and_repeats_none() {
    let (house, address, account) = with_account().await;
    let values: Vec<String> = (0..16).map(|n| format!("{n:043}")).collect();
    for value in values.iter().chain(&values) {
        assert_eq!(update(address, &account, &body(&account, value)).await.status, 200);
    }
    assert_eq!(house.values(&account.fulldomain.to_string()), values);
}

#[tokio::test]
async fn update_takes_keys_in_any_case_and_junk_after_the_first_value() {
    let (_house, address, account) = with_account().await;
    let label = &account.subdomain;
    let bodies = [
        format!(r#"{{"SubDomain":"{label}","Txt":"{TXT}"}}"#),
        format!(r#"{{"SUBDOMAIN":"{label}","TXT":"{TXT}"}}"#),
        format!(r#"{{"subdomain": "{label}", "txt": "{TXT}"}}"#),
        format!("{{\"subdomain\":\"{label}\",\"txt\":\"{TXT}\"}}\n"),
        format!(r#"{{"subdomain":"{label}","txt":"{TXT}"}} junk"#),
        format!(r#"{{"subdomain":"{label}","txt":"{TXT}"}}{{"txt":1}}"#),
        format!(r#"{{"subdomain":"{label}","txt":"{TXT}","more":[null]}}"#),
        format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, label.to_string().to_ascii_uppercase()),
    ];
    for body in bodies {
        let answer = update(address, &account, &body).await;
        assert_json(&answer, 200, &format!(r#"{{"txt": "{TXT}"}}"#));
    }
}

#[tokio::test]
async fn update_takes_every_form_of_the_user_name_that_go_reads() {
    let (_house, address, account) = with_account().await;
    let user = account.username;
    let forms = [
        user.to_string().to_ascii_uppercase(),
        format!("urn:uuid:{user}"),
        format!("URN:UUID:{user}"),
        format!("{{{user}}}"),
        user.simple().to_string(),
    ];
    for form in forms {
        let answer = update_as(address, &form, &account.password, &body(&account, TXT)).await;
        assert_eq!(answer.status, 200, "{form}");
    }
}

#[tokio::test]
async fn everything_about_who_may_is_401_with_one_body() {
    let (_house, address, account) = with_account().await;
    let other: CreatedAccount = register(address, "").await.json();
    let user = account.username.to_string();
    let good = body(&account, TXT);
    let stranger = "11111111-2222-4333-8444-555555555555";
    let wrong = "x".repeat(40);
    let cases: Vec<(&str, &str, &str, String)> = vec![
        ("malformed user", "nobody", &account.password, good.clone()),
        ("empty user", "", &account.password, good.clone()),
        ("unknown user", stranger, &account.password, good.clone()),
        ("malformed key", &user, "short", good.clone()),
        ("empty key", &user, "", good.clone()),
        ("wrong key", &user, &wrong, good.clone()),
        ("key of another", &user, &other.password, good.clone()),
        ("malformed body", &user, &account.password, "{".into()),
        ("empty body", &user, &account.password, "".into()),
        ("array", &user, &account.password, "[]".into()),
        ("null", &user, &account.password, "null".into()),
        ("no subdomain", &user, &account.password, format!(r#"{{"txt":"{TXT}"}}"#)),
        ("subdomain of wrong type", &user, &account.password, format!(r#"{{"subdomain":1,"txt":"{TXT}"}}"#)),
        ("subdomain of another", &user, &account.password, body(&other, TXT)),
        ("unknown subdomain", &user, &account.password, format!(r#"{{"subdomain":"{stranger}","txt":"{TXT}"}}"#)),
        ("full domain", &user, &account.password, format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, account.fulldomain)),
        ("bad value, wrong key", &user, &wrong, body(&account, "bad")),
        ("bad value, unknown user", stranger, &account.password, body(&account, "bad")),
        ("bad value, subdomain of another", &user, &account.password, body(&other, "bad")),
    ];
    for (case, user, key, body) in cases {
        let answer = update_as(address, user, key, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, FORBIDDEN), "{case}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
    }
    assert_json(&send(address, request("POST /update", &[], &good)).await, 401, FORBIDDEN);
}

#[tokio::test]
async fn the_value_is_checked_last_and_never_repeated() {
    let (house, address, account) = with_account().await;
    let label = &account.subdomain;
    let short = "a".repeat(42);
    let long = "a".repeat(44);
    let odd = format!("{}.", "a".repeat(42));
    for value in [short.as_str(), &long, &odd, ""] {
        let answer = update(address, &account, &body(&account, value)).await;
        assert_json(&answer, 400, BAD_TXT);
    }
    for value in ["1", "null", "[]", "{}"] {
        let answer = update(address, &account, &format!(r#"{{"subdomain":"{label}","txt":{value}}}"#)).await;
        assert_json(&answer, 400, BAD_TXT);
    }
    assert_json(&update(address, &account, &format!(r#"{{"subdomain":"{label}"}}"#)).await, 400, BAD_TXT);
    assert!(house.values(&account.fulldomain.to_string()).is_empty());
}

#[tokio::test]
async fn allowfrom_is_held_against_the_address_of_the_socket() {
    let (_house, address) = open().await;
    let far: CreatedAccount = register(address, r#"{"allowfrom":["10.0.0.0/8"]}"#).await.json();
    let near: CreatedAccount = register(address, r#"{"allowfrom":["10.0.0.0/8","127.0.0.0/8"]}"#).await.json();
    assert_json(&update(address, &far, &body(&far, TXT)).await, 401, FORBIDDEN);
    assert_eq!(update(address, &near, &body(&near, TXT)).await.status, 200);
    let headers = [
        format!("X-Api-User: {}", far.username),
        format!("X-Api-Key: {}", far.password),
        "X-Forwarded-For: 10.1.1.1".into(),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_json(&send(address, request("POST /update", &headers, &body(&far, TXT))).await, 401, FORBIDDEN);
}

#[tokio::test]
async fn a_foreign_authorization_header_is_ignored() {
    let (_house, address, account) = with_account().await;
    for foreign in ["Authorization: Basic", "Authorization: Basic dTpw", "Authorization: Bearer x"] {
        let headers = [format!("X-Api-User: {}", account.username), format!("X-Api-Key: {}", account.password)];
        let request = request("POST /update", &[&headers[0], &headers[1], foreign], &body(&account, TXT));
        assert_eq!(send(address, request).await.status, 200);
        assert_eq!(send(address, crate::wire::request("POST /register", &[foreign], "")).await.status, 201);
    }
}

#[tokio::test]
async fn update_takes_json_under_any_content_type() {
    let (_house, address, account) = with_account().await;
    let kinds = ["application/x-www-form-urlencoded", "text/plain; charset=utf-8", "application/json; charset=utf-8"];
    for kind in kinds {
        let headers = [
            format!("X-Api-User: {}", account.username),
            format!("X-Api-Key: {}", account.password),
            format!("Content-Type: {kind}"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(send(address, request("POST /update", &headers, &body(&account, TXT))).await.status, 200, "{kind}");
    }
}

// Routes

#[tokio::test]
async fn odd_spellings_of_the_paths_are_served_and_never_redirected() {
    let (_house, address, account) = with_account().await;
    for path in ["//update", "/update/", "/UPDATE", "//Update//", "/update?x=y", "http://localhost//update"] {
        let headers = [format!("X-Api-User: {}", account.username), format!("X-Api-Key: {}", account.password)];
        let line = format!("POST {path}");
        let answer = send(address, request(&line, &[&headers[0], &headers[1]], &body(&account, TXT))).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    for path in ["//register", "/register/", "/REGISTER"] {
        assert_eq!(send(address, request(&format!("POST {path}"), &[], "")).await.status, 201, "{path}");
    }
}

#[tokio::test]
async fn health_is_200_and_empty() {
    let (_house, address) = open().await;
    for path in ["/health", "/health/", "//health"] {
        let answer = send(address, request(&format!("GET {path}"), &[], "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_with_allow() {
    let (_house, address) = open().await;
    let cases = [
        ("GET /register", "POST"),
        ("PUT /update", "POST,DELETE"),
        ("GET //update/", "POST,DELETE"),
        ("OPTIONS /update", "POST,DELETE"),
        ("POST /account", "GET,HEAD"),
        ("DELETE /account", "GET,HEAD"),
        ("POST /health", "GET,HEAD"),
    ];
    for (line, allow) in cases {
        let answer = send(address, request(line, &[], "")).await;
        assert_json(&answer, 405, r#"{"error": "method_not_allowed"}"#);
        assert_eq!(answer.header("allow"), Some(allow), "{line}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let (_house, address) = open().await;
    for line in ["GET /", "POST /", "GET //", "POST /updates", "GET /register/x", "OPTIONS *", "GET /v1/status"] {
        assert_json(&send(address, request(line, &[], "")).await, 404, r#"{"error": "not_found"}"#);
    }
}

// Limits and failures

#[tokio::test]
async fn a_body_over_8_kib_is_413_announced_or_chunked() {
    let (_house, address) = open().await;
    let too_large = r#"{"error": "payload_too_large"}"#;
    for path in ["/register", "/update"] {
        let announced = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000000\r\n\r\n{{");
        assert_json(&send(address, announced).await, 413, too_large);
        let chunk = "x".repeat(8193);
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2001\r\n{chunk}\r\n0\r\n\r\n"
        );
        assert_json(&send(address, chunked).await, 413, too_large);
    }
    let padded = format!("{{}}{}", " ".repeat(8190));
    assert_eq!(register(address, &padded).await.status, 201);
    assert_json(&register(address, &(padded + " ")).await, 413, too_large);
}

#[tokio::test]
async fn chunked_bodies_are_read() {
    let (_house, address) = open().await;
    let chunked = "POST /register HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = send(address, format!("{chunked}1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n")).await;
    assert_eq!(answer.status, 201);
    assert_eq!(send(address, format!("{chunked}0\r\n\r\n")).await.status, 201);
}

#[tokio::test]
async fn a_failing_store_is_503_without_its_words() {
    let writer = writer(FullDisk);
    let label = "8e5700ea-a4bf-41c7-8a77-e990661dcc6a";
    writer.live().publish([Change::Registered { name: name(&format!("{label}.auth.example.org")) }], 1);
    let address = serve(acmedns::router(writer, Registration::Open)).await;
    let key = "k".repeat(40);
    for txt in [TXT, "bad"] {
        let answer = update_as(address, label, &key, &format!(r#"{{"subdomain":"{label}","txt":"{txt}"}}"#)).await;
        assert_json(&answer, 503, r#"{"error": "db_error"}"#);
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    let answer = register(address, "{}").await;
    assert_json(&answer, 503, r#"{"error": "db_error"}"#);
    assert_eq!(answer.header("retry-after"), Some("5"));
}
