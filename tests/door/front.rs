//! What stands in front of the doors of the API: proxies and the addresses that they tell.

use std::net::SocketAddr;

use acmezone::api::CreatedAccount;
use acmezone::config::{Api, Registration};
use acmezone::door::acmedns;

use crate::house::{House, serve_behind};
use crate::wire::{Answer, request, send};

const TXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_-";
const FORBIDDEN: (u16, &str) = (401, r#"{"error": "forbidden"}"#);

/// The acme-dns API behind proxies on these networks; the tests' own connections come from 127.0.0.1.
async fn behind(proxies: &[&str]) -> (House, SocketAddr) {
    let house = House::new();
    let trusted_proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
    let api = Api { trusted_proxies, ..Api::default() };
    let address = serve_behind(&api, acmedns::router(house.writer.clone(), Registration::Open)).await;
    (house, address)
}

async fn register(address: SocketAddr, body: &str) -> CreatedAccount {
    send(address, request("POST /register", &[], body)).await.json()
}

/// An update with these lines of X-Forwarded-For.
async fn update(address: SocketAddr, account: &CreatedAccount, forwarded: &[&str]) -> Answer {
    let CreatedAccount { username, password, subdomain, .. } = account;
    let mut headers = vec![format!("X-Api-User: {username}"), format!("X-Api-Key: {password}")];
    headers.extend(forwarded.iter().map(|line| format!("X-Forwarded-For: {line}")));
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
