//! The admin API of accounts beyond making and deleting them: labels, allowed networks, credentials.

use std::net::SocketAddr;

use acmezone::account::MAX_CREDENTIALS;
use acmezone::api::{Account, AddedLabel, ApiError, CreatedAccount, NewCredential};
use acmezone::config::Registration;
use acmezone::zone::Label;

use crate::acmedns::{TXT, body, update};
use crate::admin::Admin;
use crate::house::name;
use crate::wire::{request, send};

async fn start() -> (Admin, SocketAddr, CreatedAccount) {
    let admin = Admin::start().await;
    let api = admin.house.acmedns(Registration::Closed).await;
    let account = admin.account(r#"{"label":"www"}"#).await;
    (admin, api, account)
}

/// The account as if this were the only one of its labels.
fn with_label(account: &CreatedAccount, label: &str) -> CreatedAccount {
    let fulldomain = name(&format!("{label}.auth.example.org"));
    CreatedAccount { subdomain: Label::parse(label).unwrap(), fulldomain, ..account.clone() }
}

async fn puts(api: SocketAddr, account: &CreatedAccount) -> u16 {
    update(api, account, &body(account, TXT)).await.status
}

// Labels

#[tokio::test]
async fn a_label_more_is_served_and_updated_by_the_same_credentials() {
    let (admin, api, account) = start().await;
    let answer = admin.ask("POST /v1/accounts/www/labels", r#"{"label":"mail"}"#).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let added: AddedLabel = answer.json();
    assert_eq!((added.username, added.subdomain.as_str()), (account.username, "mail"));
    assert_eq!(added.fulldomain, name("mail.auth.example.org"));
    assert!(admin.house.values("mail.auth.example.org").is_empty());
    assert_eq!(puts(api, &with_label(&account, "mail")).await, 200);
    assert_eq!(puts(api, &account).await, 200);
    let random: AddedLabel = admin.ask("POST /v1/accounts/mail/labels", "").await.json();
    assert_eq!(random.subdomain.as_str().len(), 36);
    // a label that was named stands first
    let found: Account = admin.ask("GET /v1/accounts/www", "").await.json();
    assert_eq!((found.fulldomains.len(), &found.fulldomains[0]), (3, &account.fulldomain));
}

#[tokio::test]
async fn labels_that_cannot_be_given_are_refused() {
    let (admin, _, _) = start().await;
    admin.account(r#"{"label":"other"}"#).await;
    let post = "POST /v1/accounts/www/labels";
    for taken in ["other", "www"] {
        let refused = admin.refused(post, &format!(r#"{{"label":"{taken}"}}"#)).await;
        assert_eq!(refused, (409, "label_taken".into()), "{taken}");
    }
    for bad in [r#"{"label":"_a"}"#, r#"{"label":"A"}"#, r#"{"lable":"a"}"#, "[", "1"] {
        assert_eq!(admin.refused(post, bad).await, (400, "bad_request".into()), "{bad}");
    }
    assert_eq!(admin.refused("POST /v1/accounts/nobody/labels", "").await, (404, "not_found".into()));
    let found: Account = admin.ask("GET /v1/accounts/www", "").await.json();
    assert_eq!(found.fulldomains.len(), 1);
}

#[tokio::test]
async fn a_label_that_is_taken_away_is_gone_at_once_and_for_ever() {
    let (admin, api, account) = start().await;
    admin.ask("POST /v1/accounts/www/labels", r#"{"label":"mail"}"#).await;
    let mail = with_label(&account, "mail");
    puts(api, &mail).await;
    puts(api, &account).await;
    let left: Account = admin.ask("DELETE /v1/labels/MAIL.auth.example.org.", "").await.json();
    assert_eq!((left.username, left.fulldomains), (account.username, vec![account.fulldomain.clone()]));
    assert!(admin.house.writer.live().txt_set(&mail.fulldomain).is_none());
    assert_eq!(puts(api, &mail).await, 401);
    assert_eq!(puts(api, &account).await, 200);
    assert_eq!(admin.house.values("www.auth.example.org"), [TXT]);
    // to nobody again, its former holder included
    for line in ["POST /v1/accounts", "POST /v1/accounts/www/labels"] {
        assert_eq!(admin.refused(line, r#"{"label":"mail"}"#).await, (409, "label_taken".into()), "{line}");
    }
    assert_eq!(admin.refused("DELETE /v1/labels/mail", "").await, (404, "not_found".into()));
    assert_eq!(admin.refused("GET /v1/accounts/mail", "").await, (404, "not_found".into()));
}

#[tokio::test]
async fn the_last_label_stays_with_its_account() {
    let (admin, _, account) = start().await;
    assert_eq!(admin.refused("DELETE /v1/labels/www", "").await, (409, "last_label".into()));
    assert!(admin.house.writer.live().txt_set(&account.fulldomain).is_some());
    for unknown in ["nobody", "auth.example.org", "%2F", &account.username.to_string()] {
        let refused = admin.refused(&format!("DELETE /v1/labels/{unknown}"), "").await;
        assert_eq!(refused, (404, "not_found".into()), "{unknown}");
    }
}

// Networks

#[tokio::test]
async fn allowfrom_is_changed_in_both_directions() {
    let (admin, api, account) = start().await;
    let put = "PUT /v1/accounts/www/allowfrom";
    let changed: Account = admin.ask(put, r#"{"allowfrom":["[2001:db8::]/32","10.0.0.1/8"]}"#).await.json();
    assert_eq!(changed.allowfrom, ["2001:db8::/32", "10.0.0.1/8"]);
    assert_eq!(puts(api, &account).await, 401);
    let changed: Account = admin.ask(put, r#"{"allowfrom":[]}"#).await.json();
    assert!(changed.allowfrom.is_empty());
    assert_eq!(puts(api, &account).await, 200);
}

#[tokio::test]
async fn allowfrom_is_opened_by_nothing_but_an_empty_list() {
    let (admin, api, account) = start().await;
    let put = "PUT /v1/accounts/www/allowfrom";
    admin.ask(put, r#"{"allowfrom":["10.0.0.0/8"]}"#).await;
    for bad in ["", "null", "{}", "[]", r#"{"allowfrom":null}"#, r#"{"allowfrom":["10.0.0.1"]}"#, r#"{"allow":[]}"#] {
        assert_eq!(admin.refused(put, bad).await, (400, "bad_request".into()), "{bad}");
    }
    assert_eq!(puts(api, &account).await, 401);
}

// Credentials

#[tokio::test]
async fn rotation_ends_all_credentials_and_keeps_the_labels() {
    let (admin, api, account) = start().await;
    admin.ask("POST /v1/accounts/www/labels", r#"{"label":"mail"}"#).await;
    let minted: NewCredential = admin.ask("POST /v1/accounts/www/credentials", "").await.json();
    puts(api, &account).await;
    let rotated: NewCredential = admin.ask("POST /v1/accounts/www/rotate", "").await.json();
    let names = ["www.auth.example.org", "mail.auth.example.org"].map(name);
    assert_eq!((rotated.credentials, rotated.fulldomains.as_slice()), (1, names.as_slice()));
    assert_eq!((rotated.account.username, &rotated.account.subdomain), (account.username, &account.subdomain));
    for old in [&account, &minted.account] {
        assert_eq!(puts(api, old).await, 401);
    }
    assert_eq!(puts(api, &rotated.account).await, 200);
    assert_eq!(puts(api, &with_label(&rotated.account, "mail")).await, 200);
    // by a user name the first label, by a label that one
    let by_name: NewCredential = admin.ask(&format!("POST /v1/accounts/{}/rotate", account.username), "").await.json();
    assert_eq!(by_name.account.subdomain.as_str(), "mail");
    assert_eq!(admin.house.values("www.auth.example.org"), [TXT]);
}

#[tokio::test]
async fn a_minted_credential_works_beside_the_others_and_names_the_label_that_was_asked_for() {
    let (admin, api, account) = start().await;
    admin.ask("POST /v1/accounts/www/labels", r#"{"label":"mail"}"#).await;
    let answer = admin.ask("POST /v1/accounts/www.auth.example.org/credentials", "").await;
    assert_eq!(answer.status, 201);
    let minted: NewCredential = answer.json();
    assert_eq!((minted.credentials, minted.account.subdomain.as_str()), (2, "www"));
    assert_ne!(minted.account.password, account.password);
    for account in [&account, &minted.account] {
        assert_eq!(puts(api, account).await, 200);
    }
    let mail: NewCredential = admin.ask("POST /v1/accounts/mail/credentials", "").await.json();
    assert_eq!((mail.account.subdomain.as_str(), mail.account.fulldomain), ("mail", name("mail.auth.example.org")));
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_credentials() {
    let (admin, api, account) = start().await;
    for n in 2..=MAX_CREDENTIALS {
        let minted: NewCredential = admin.ask("POST /v1/accounts/www/credentials", "").await.json();
        assert_eq!(minted.credentials, n);
    }
    let answer = admin.ask("POST /v1/accounts/www/credentials", "").await;
    let error: ApiError = answer.json();
    assert_eq!((answer.status, error.error.as_str()), (409, "too_many_credentials"));
    assert!(error.message.contains("`acmezone account rotate`"), "{error:?}");
    let found: Account = admin.ask("GET /v1/accounts/www", "").await.json();
    assert_eq!(found.credentials, MAX_CREDENTIALS);
    assert_eq!(puts(api, &account).await, 200);
    admin.ask("POST /v1/accounts/www/rotate", "").await;
    assert_eq!(admin.ask("POST /v1/accounts/www/credentials", "").await.status, 201);
}

#[tokio::test]
async fn an_account_cannot_administer_itself() {
    let (admin, _, account) = start().await;
    let key = format!("Authorization: Bearer {}", account.password);
    let headers = [format!("X-Api-User: {}", account.username), format!("X-Api-Key: {}", account.password)];
    for line in [
        "POST /v1/accounts/www/labels",
        "DELETE /v1/labels/www",
        "PUT /v1/accounts/www/allowfrom",
        "POST /v1/accounts/www/rotate",
        "POST /v1/accounts/www/credentials",
    ] {
        let answer = send(admin.address, request(line, &[&key, &headers[0], &headers[1]], "{}")).await;
        assert_eq!((answer.status, answer.json::<ApiError>().error.as_str()), (401, "unauthorized"), "{line}");
    }
}

#[tokio::test]
async fn credentials_of_nobody_are_404() {
    let (admin, _, _) = start().await;
    for line in ["POST /v1/accounts/nobody/rotate", "POST /v1/accounts/nobody/credentials"] {
        assert_eq!(admin.refused(line, "").await, (404, "not_found".into()), "{line}");
    }
    let put = admin.refused("PUT /v1/accounts/nobody/allowfrom", r#"{"allowfrom":[]}"#).await;
    assert_eq!(put, (404, "not_found".into()));
}
