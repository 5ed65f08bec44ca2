//! What stands in front of the doors of the API: proxies and the addresses that they tell, rate limits.

use std::net::SocketAddr;
use std::time::Duration;

use acmezone::api::CreatedAccount;
use acmezone::config::{Api, ApiRateLimit, Registration};
use acmezone::door::acmedns;

use crate::house::{House, serve_behind};
use crate::support::{Acmezone, http, poll};
use crate::wire::{Answer, request, send};

const TXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_-";
const FORBIDDEN: (u16, &str) = (401, r#"{"error": "forbidden"}"#);

/// The acme-dns API behind proxies on these networks; the tests' own connections come from 127.0.0.1.
async fn behind(proxies: &[&str]) -> (House, SocketAddr) {
    limited(proxies, ApiRateLimit::default()).await
}

async fn limited(proxies: &[&str], rate_limit: ApiRateLimit) -> (House, SocketAddr) {
    let house = House::new();
    let trusted_proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
    let api = Api { trusted_proxies, rate_limit, ..Api::default() };
    let address = serve_behind(&api, acmedns::router(house.writer.clone(), Registration::Open)).await;
    (house, address)
}

async fn register(address: SocketAddr, body: &str) -> CreatedAccount {
    send(address, request("POST /register", &[], body)).await.json()
}

/// An update with these lines of X-Forwarded-For.
async fn update(address: SocketAddr, account: &CreatedAccount, forwarded: &[impl AsRef<str>]) -> Answer {
    let CreatedAccount { username, password, subdomain, .. } = account;
    let mut headers = vec![format!("X-Api-User: {username}"), format!("X-Api-Key: {password}")];
    headers.extend(forwarded.iter().map(|line| format!("X-Forwarded-For: {}", line.as_ref())));
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    send(address, request("POST /update", &headers, &format!(r#"{{"subdomain":"{subdomain}","txt":"{TXT}"}}"#))).await
}

#[tokio::test]
async fn allowfrom_is_held_against_the_right_most_address_that_is_no_proxy() {
    let (_house, address) = behind(&["127.0.0.0/8", "192.0.2.0/24"]).await;
    let account = register(address, r#"{"allowfrom":["10.0.0.0/8"]}"#).await;
    let outside: &[&[&str]] = &[
        // what acme-dns lets pass: any element that matches
        &["10.1.1.1, 203.0.113.9"],
        &["10.1.1.1", "203.0.113.9"],
        &["203.0.113.9, 10.1.1.1, 203.0.113.9, 192.0.2.1"],
        &["10.1.1.1, unknown"],
        &["10.1.1.1,"],
        &["10.1.1.1", ""],
        &["10.1.1.1 203.0.113.9"],
        &["192.0.2.1"],
        &[],
    ];
    for forwarded in outside {
        let answer = update(address, &account, forwarded).await;
        assert_eq!((answer.status, answer.body.as_str()), FORBIDDEN, "{forwarded:?}");
    }
    let inside: &[&[&str]] = &[
        &["10.1.1.1"],
        &["203.0.113.9, 10.1.1.1"],
        &["203.0.113.9", "10.1.1.1:4711, 192.0.2.7"],
        &["unknown, ::ffff:10.1.1.1, 127.0.0.5"],
    ];
    for forwarded in inside {
        assert_eq!(update(address, &account, forwarded).await.status, 200, "{forwarded:?}");
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_cannot_claim_an_address() {
    for proxies in [&[][..], &["192.0.2.0/24"]] {
        let (_house, address) = behind(proxies).await;
        let far = register(address, r#"{"allowfrom":["10.0.0.0/8"]}"#).await;
        let near = register(address, r#"{"allowfrom":["127.0.0.1/32"]}"#).await;
        let answer = update(address, &far, &["10.1.1.1"]).await;
        assert_eq!((answer.status, answer.body.as_str()), FORBIDDEN);
        assert_eq!(update(address, &near, &["10.1.1.1"]).await.status, 200);
    }
}

const RATE_LIMITED: &str = r#"{"error": "rate_limited"}"#;

/// Nobody's bucket fills while a test runs, or not by more than one request.
fn slow() -> ApiRateLimit {
    ApiRateLimit { requests_per_second: 1, account_updates_per_second: 1, ..ApiRateLimit::default() }
}

#[track_caller]
fn assert_limited(answer: &Answer, at_most: u64) {
    assert_eq!((answer.status, answer.body.as_str()), (429, RATE_LIMITED));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=at_most).contains(&wait), "{wait}");
}

/// The first answer with 429, soon: a second adds one request.
async fn limited_at_last<F: Future<Output = Answer>>(ask: impl Fn(usize) -> F) -> Answer {
    for number in 0..10 {
        let answer = ask(number).await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("never limited");
}

const PATHS: [&str; 2] = ["/health", "/nothing"];

async fn get(address: SocketAddr, path: &str, from: &str) -> Answer {
    send(address, request(&format!("GET {path}"), &[&format!("X-Forwarded-For: {from}")], "")).await
}

#[tokio::test]
async fn a_source_that_asks_too_much_is_answered_429_rfc6585_4() {
    let (_house, address) = limited(&["127.0.0.0/8"], ApiRateLimit { burst: 30, ..slow() }).await;
    let sources =
        [["192.0.2.1", "192.0.2.1:80"], ["2001:db8::1", "2001:db8::ffff:0:0:1"], ["192.0.2.2", "::ffff:192.0.2.2"]];
    for source in sources {
        // Whatever is asked, it counts: also what is no route.
        for number in 0..30 {
            assert_ne!(
                get(address, PATHS[number / 2 % 2], source[number % 2]).await.status,
                429,
                "{source:?} {number}"
            );
        }
        assert_limited(&limited_at_last(|number| get(address, PATHS[number % 2], source[0])).await, 1);
    }
    assert_eq!(get(address, "/health", "2001:db8:0:1::1").await.status, 200);
    for _ in 0..50 {
        assert_eq!(get(address, "/health", "127.0.0.1").await.status, 200, "loopback is exempt");
    }
}

#[tokio::test]
async fn a_source_registers_ten_times_a_minute() {
    let (house, address) = behind(&["127.0.0.0/8"]).await;
    let register = |from: &'static str, body: &'static str| {
        send(address, request("POST /register", &[&format!("X-Forwarded-For: {from}")], body))
    };
    for number in 0..10 {
        // An attempt that fails counts as well.
        let (body, status) = if number % 2 == 0 { ("{}", 201) } else { ("junk", 400) };
        assert_eq!(register("192.0.2.1", body).await.status, status);
    }
    assert_limited(&register("192.0.2.1", "{}").await, 6);
    assert_eq!(register("192.0.2.2", "{}").await.status, 201);
    assert_eq!(house.writer.accounts().await.unwrap().len(), 6);
}

#[tokio::test]
async fn an_account_is_limited_wherever_its_updates_come_from_and_no_stranger_uses_that_up() {
    let (house, address) = limited(&["127.0.0.0/8"], ApiRateLimit { account_burst: 3, ..slow() }).await;
    let account = register(address, "").await;
    let stranger = CreatedAccount { password: "x".repeat(40), ..account.clone() };
    for number in 0..20 {
        let answer = update(address, &stranger, &[&format!("198.51.100.{number}")]).await;
        assert_eq!((answer.status, answer.body.as_str()), FORBIDDEN);
    }
    for number in 0..3 {
        assert_eq!(update(address, &account, &[&format!("192.0.2.{number}")]).await.status, 200);
    }
    let from: Vec<String> = (3..30).map(|number| format!("192.0.2.{number}")).collect();
    let again = |number: usize| update(address, &account, std::slice::from_ref(&from[number]));
    assert_limited(&limited_at_last(again).await, 1);
    let answer = update(address, &stranger, &["192.0.2.9"]).await;
    assert_eq!((answer.status, answer.body.as_str()), FORBIDDEN, "a stranger does not learn that it is limited");
    let other = register(address, "").await;
    assert_eq!(update(address, &other, &["192.0.2.1"]).await.status, 200);
    assert_eq!(update(address, &account, &["127.0.0.1"]).await.status, 200, "loopback is exempt");
    assert_eq!(house.values(&account.fulldomain.to_string()), [TXT]);
}

#[tokio::test]
async fn an_update_that_is_limited_changes_nothing() {
    let limit = ApiRateLimit { account_burst: 1, ..slow() };
    let (house, address) = limited(&["127.0.0.0/8"], limit).await;
    let account = register(address, "").await;
    let CreatedAccount { username, password, subdomain, .. } = &account;
    let (user, key) = (format!("X-Api-User: {username}"), format!("X-Api-Key: {password}"));
    let mut kept = Vec::new();
    for number in 0..5 {
        let value = format!("{number:043}");
        let body = format!(r#"{{"subdomain":"{subdomain}","txt":"{value}"}}"#);
        let answer = send(address, request("POST /update", &[&user, &key, "X-Forwarded-For: 192.0.2.1"], &body)).await;
        match answer.status {
            200 => kept.push(value),
            _ => assert_limited(&answer, 1),
        }
    }
    assert!((1..5).contains(&kept.len()), "{kept:?}");
    assert_eq!(house.values(&account.fulldomain.to_string()), kept);
}

/// What acme.sh would take for success is any body with the value in quotes.
#[tokio::test]
async fn errors_are_one_line_of_json_without_the_value_whatever_makes_them() {
    let (_house, address) = behind(&["127.0.0.0/8"]).await;
    let value = format!("\"{TXT}\"");
    let long = format!("X: {value}\r\n").repeat(200);
    let huge = format!("X: {}{value}\r\n", "x".repeat(500_000));
    let host = "Host: localhost\r\n";
    let close = "Connection: close\r\n";
    let ours = [
        (404, format!("GET /{TXT} HTTP/1.1\r\n{host}{close}\r\n")),
        (404, format!("GET /?{TXT} HTTP/1.0\r\n\r\n")),
        (404, format!("OPTIONS * HTTP/1.1\r\n{host}{close}\r\n")),
        (404, format!("CONNECT {TXT}:1 HTTP/1.1\r\n{host}{close}\r\n")),
        (404, format!("GET http://localhost/%ff%00{TXT} HTTP/1.1\r\n{host}{close}\r\n")),
        (405, format!("{} /update HTTP/1.1\r\n{host}{close}\r\n", TXT.replace('_', "X"))),
        (405, format!("GET /update?{TXT} HTTP/1.1\r\n{host}{close}\r\n")),
        (401, format!("POST /update HTTP/1.1\r\n{host}{close}X-Api-User: {value}\r\nX-Api-Key: {value}\r\n\r\n")),
        (401, format!("POST /update HTTP/1.1\r\n{host}{close}X-Forwarded-For: {value}, \u{ff}\r\n\r\n")),
        (400, format!("POST /register HTTP/1.1\r\n{host}{close}Content-Length: 45\r\n\r\n{value}")),
        (400, format!("POST /register HTTP/1.1\r\n{host}{close}Transfer-Encoding: chunked\r\n\r\n{value}\r\n")),
        (413, format!("POST /update HTTP/1.1\r\n{host}{close}Content-Length: 9000\r\n\r\n{value}")),
    ];
    // A head that is none never gets to us: hyper answers with nothing in the body.
    let of_hyper = [
        (400, format!("{value}\r\n\r\n")),
        (400, format!("GET /update HTTP/1.1\r\n{value}\r\n\r\n")),
        (400, format!("POST /update HTTP/1.1\r\n{host}Content-Length: {value}\r\n\r\n")),
        (431, format!("GET /update HTTP/1.1\r\n{long}\r\n")),
        (431, format!("GET /update HTTP/1.1\r\n{huge}\r\n")),
        (414, format!("GET /{}{TXT} HTTP/1.1\r\n{host}\r\n", "x".repeat(66_000))),
    ];
    for (status, request) in ours {
        let shown: String = request.chars().take(60).collect();
        let answer = send(address, request).await;
        assert_eq!(answer.status, status, "{shown}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{shown}");
        let is_error = answer.body.starts_with("{\"error\": \"") && answer.body.ends_with("\"}");
        assert!(is_error && !answer.body.contains('\n') && !answer.body.contains(TXT), "{shown}: {}", answer.body);
        assert!(status != 405 || answer.header("allow").is_some(), "{shown}");
    }
    for (status, request) in of_hyper {
        let shown: String = request.chars().take(60).collect();
        let answer = send(address, request).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{shown}");
    }
}

#[test]
fn a_proxy_that_nobody_trusts_is_told_in_the_log_once() {
    let server = Acmezone::start("[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n");
    let told = || server.log().matches("not in `trusted_proxies`").count();
    assert_eq!(told(), 0);
    for _ in 0..3 {
        http::request(server.api, "GET", "/health", &[("X-Forwarded-For", "192.0.2.1")], b"");
    }
    poll(Duration::from_secs(5), "the line in the log", || (told() == 1).then_some(()));
}
