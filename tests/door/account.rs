//! What an account may do beside the contract of acme-dns: take a value away, and read back what is known of it.

use std::net::SocketAddr;

use acmezone::account::AllowFrom;
use acmezone::api::{AccountState, CreatedAccount};
use acmezone::config::Registration;
use acmezone::door::acmedns;
use acmezone::store::Sqlite;
use acmezone::zone::{Change, Label};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::acmedns::{BAD_TXT, FORBIDDEN, TXT, assert_json, body, register, update, with_account};
use crate::house::{FullDisk, name, serve, writer, writer_with_lifetime};
use crate::wire::{Answer, request, send};

async fn ask(address: SocketAddr, line: &str, user: &str, key: &str, body: &str) -> Answer {
    let headers = [format!("X-Api-User: {user}"), format!("X-Api-Key: {key}")];
    send(address, request(line, &[&headers[0], &headers[1]], body)).await
}

async fn remove(address: SocketAddr, account: &CreatedAccount, body: &str) -> Answer {
    ask(address, "DELETE /update", &account.username.to_string(), &account.password, body).await
}

async fn state(address: SocketAddr, account: &CreatedAccount) -> AccountState {
    let answer = ask(address, "GET /account", &account.username.to_string(), &account.password, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn basic(user: &str, key: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

// DELETE /update

#[tokio::test]
async fn a_deleted_value_is_gone_and_its_siblings_stay() {
    let (house, address, account) = with_account().await;
    let values: Vec<String> = (0..3).map(|n| format!("{n:043}")).collect();
    for value in &values {
        update(address, &account, &body(&account, value)).await;
    }
    let answer = remove(address, &account, &body(&account, &values[1])).await;
    assert_json(&answer, 200, &format!(r#"{{"txt": "{}"}}"#, values[1]));
    assert_eq!(house.values(&account.fulldomain.to_string()), [values[0].clone(), values[2].clone()]);
}

#[tokio::test]
async fn a_value_that_is_not_there_is_deleted_with_200() {
    let (house, address, account) = with_account().await;
    for _ in 0..2 {
        assert_json(&remove(address, &account, &body(&account, TXT)).await, 200, &format!(r#"{{"txt": "{TXT}"}}"#));
    }
    assert!(house.values(&account.fulldomain.to_string()).is_empty());
}

#[tokio::test]
async fn a_deletion_is_read_as_an_update_is() {
    let (house, address, account) = with_account().await;
    let user = account.username.to_string();
    let upper = account.subdomain.to_string().to_ascii_uppercase();
    for (line, body) in [
        ("DELETE //update", body(&account, TXT)),
        ("DELETE /UPDATE/", format!(r#"{{"SubDomain":"{upper}","Txt":"{TXT}"}} junk"#)),
    ] {
        update(address, &account, &crate::acmedns::body(&account, TXT)).await;
        assert_eq!(ask(address, line, &format!("urn:uuid:{user}"), &account.password, &body).await.status, 200);
        assert!(house.values(&account.fulldomain.to_string()).is_empty());
    }
}

#[tokio::test]
async fn who_may_not_update_may_not_delete_either_and_is_told_in_the_same_order() {
    let (house, address, account) = with_account().await;
    let other: CreatedAccount = register(address, "").await.json();
    update(address, &account, &body(&account, TXT)).await;
    let user = account.username.to_string();
    let wrong = "x".repeat(40);
    let good = body(&account, TXT);
    let cases: Vec<(&str, &str, &str, String, u16, &str)> = vec![
        ("malformed user", "nobody", &account.password, good.clone(), 401, FORBIDDEN),
        ("wrong key", &user, &wrong, good.clone(), 401, FORBIDDEN),
        ("malformed key", &user, "short", good.clone(), 401, FORBIDDEN),
        ("malformed body", &user, &account.password, "{".into(), 401, FORBIDDEN),
        ("no body", &user, &account.password, "".into(), 401, FORBIDDEN),
        ("label of another", &user, &account.password, body(&other, TXT), 401, FORBIDDEN),
        ("bad value, wrong key", &user, &wrong, body(&account, "bad"), 401, FORBIDDEN),
        ("bad value, label of another", &user, &account.password, body(&other, "bad"), 401, FORBIDDEN),
        ("bad value", &user, &account.password, body(&account, "bad"), 400, BAD_TXT),
        ("no value", &user, &account.password, format!(r#"{{"subdomain":"{}"}}"#, account.subdomain), 400, BAD_TXT),
    ];
    for (case, user, key, body, status, error) in cases {
        let answer = ask(address, "DELETE /update", user, key, &body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, error), "{case}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{case}");
    }
    assert_eq!(house.values(&account.fulldomain.to_string()), [TXT]);
}

#[tokio::test]
async fn a_deletion_is_held_to_allowfrom() {
    let (house, address, account) = with_account().await;
    update(address, &account, &body(&account, TXT)).await;
    let far = AllowFrom::parse(&["10.0.0.0/8"]).unwrap();
    house.writer.change_account(account.username, |account| account.allow_from = far).await.unwrap();
    assert_json(&remove(address, &account, &body(&account, TXT)).await, 401, FORBIDDEN);
    assert_eq!(house.values(&account.fulldomain.to_string()), [TXT]);
}

// GET /account

#[tokio::test]
async fn an_account_reads_back_its_state() {
    let (house, address) = crate::acmedns::open().await;
    let asked = r#"{"allowfrom":["127.0.0.0/8","10.0.0.1/24"]}"#;
    let account: CreatedAccount = register(address, asked).await.json();
    let before = state(address, &account).await;
    assert_eq!((before.username, before.updated), (account.username, None));
    assert_eq!(before.allowfrom, ["127.0.0.0/8", "10.0.0.1/24"]);
    assert_eq!((before.labels.len(), before.labels[0].values.len()), (1, 0));
    let values: Vec<String> = (0..2).map(|n| format!("{n:043}")).collect();
    for value in &values {
        update(address, &account, &body(&account, value)).await;
    }
    let second = house.writer.add_label(account.username, chosen("zzz")).await.unwrap();
    let now = jiff::Timestamp::now().as_second();
    let after = state(address, &account).await;
    assert!(after.updated.unwrap() >= after.created && after.created.as_second() <= now);
    assert_eq!(after.labels.len(), 2);
    let label = &after.labels[0];
    assert_eq!((&label.subdomain, &label.fulldomain), (&account.subdomain, &account.fulldomain));
    assert_eq!(label.values.iter().map(|held| held.value.as_str()).collect::<Vec<_>>(), values);
    // the house keeps values for an hour
    assert!(label.values.iter().all(|held| (now + 3590..=now + 3600).contains(&held.expires.as_second())));
    assert_eq!((&after.labels[1].subdomain, after.labels[1].values.len()), (&second.label, 0));
}

#[tokio::test]
async fn expired_values_are_no_part_of_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("acmezone.db")).unwrap();
    let address = serve(acmedns::router(writer_with_lifetime(store, 0), Registration::Open)).await;
    let account: CreatedAccount = register(address, "").await.json();
    assert_eq!(update(address, &account, &body(&account, TXT)).await.status, 200);
    let state = state(address, &account).await;
    assert!(state.updated.is_some() && state.labels[0].values.is_empty(), "{state:?}");
}

#[tokio::test]
async fn the_state_is_one_line_of_json_in_rfc3339_without_the_key() {
    let (_house, address, account) = with_account().await;
    update(address, &account, &body(&account, TXT)).await;
    let answer = ask(address, "GET /account", &account.username.to_string(), &account.password, "").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.body.lines().count(), 1);
    assert!(!answer.body.contains(&account.password) && !answer.body.contains("credential"), "{answer:?}");
    let state: serde_json::Value = answer.json();
    for at in [&state["created"], &state["updated"], &state["labels"][0]["values"][0]["expires"]] {
        let text = at.as_str().unwrap();
        assert!(text.len() == 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    }
}

#[tokio::test]
async fn the_state_is_shown_for_basic_credentials_in_every_spelling_rfc7617_2() {
    let (_house, address, account) = with_account().await;
    let user = account.username.to_string();
    let text = format!("{user}:{}", account.password);
    let spellings = [
        basic(&user, &account.password),
        basic(&user.to_ascii_uppercase(), &account.password),
        format!("authorization: bAsIc {}", STANDARD.encode(&text)),
        format!("Authorization: Basic {}", URL_SAFE_NO_PAD.encode(&text)),
    ];
    for line in ["GET /account", "GET //Account/"] {
        for authorization in &spellings {
            let answer = send(address, request(line, &[authorization], "")).await;
            assert_eq!(answer.status, 200, "{authorization}");
            assert_eq!(answer.json::<AccountState>().username, account.username);
        }
    }
    // a foreign header beside those of acme-dns, as for updates
    let headers = [format!("X-Api-User: {user}"), format!("X-Api-Key: {}", account.password)];
    for foreign in ["Authorization: Basic", "Authorization: Basic dTpw"] {
        let answer = send(address, request("GET /account", &[&headers[0], &headers[1], foreign], "")).await;
        assert_eq!(answer.status, 200, "{foreign}");
    }
}

#[tokio::test]
async fn head_of_the_state_has_no_body() {
    let (_house, address, account) = with_account().await;
    let head = format!(
        "HEAD /account HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n\r\n",
        basic(&account.username.to_string(), &account.password)
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("content-type: application/json"), "{answer}");
}

#[tokio::test]
async fn without_good_credentials_the_state_is_401_with_a_challenge_rfc9110_11_6_1() {
    let (_house, address, account) = with_account().await;
    let far: CreatedAccount = register(address, r#"{"allowfrom":["10.0.0.0/8"]}"#).await.json();
    let user = account.username.to_string();
    let wrong = "x".repeat(40);
    let user_line = format!("X-Api-User: {user}");
    let good = basic(&user, &account.password);
    let cases: Vec<Vec<String>> = vec![
        vec![],
        vec![user_line.clone()],
        vec![user_line.clone(), format!("X-Api-Key: {wrong}")],
        vec!["X-Api-User: nobody".into(), format!("X-Api-Key: {}", account.password)],
        // the headers of acme-dns go first
        vec![user_line, format!("X-Api-Key: {wrong}"), good.clone()],
        vec![basic(&user, &wrong)],
        vec![basic(&user, "")],
        vec![basic("nobody", &account.password)],
        vec![basic(&far.username.to_string(), &far.password)],
        vec!["Authorization: Basic".into()],
        vec!["Authorization: Basic !!!!".into()],
        vec!["Authorization: Basic /w==".into()],
        vec![good.replace("Basic", "Bearer")],
    ];
    for headers in cases {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = send(address, request("GET /account", &headers, "")).await;
        assert_json(&answer, 401, FORBIDDEN);
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"acmezone\""), "{headers:?}");
    }
}

#[tokio::test]
async fn a_failing_store_is_503_for_these_too() {
    let writer = writer(FullDisk);
    let label = "8e5700ea-a4bf-41c7-8a77-e990661dcc6a";
    writer.live().publish([Change::Registered { name: name(&format!("{label}.auth.example.org")) }], 1);
    let address = serve(acmedns::router(writer, Registration::Open)).await;
    let key = "k".repeat(40);
    let asked = format!(r#"{{"subdomain":"{label}","txt":"{TXT}"}}"#);
    for (line, body) in [("GET /account", ""), ("DELETE /update", asked.as_str())] {
        let answer = ask(address, line, label, &key, body).await;
        assert_json(&answer, 503, r#"{"error": "db_error"}"#);
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
}

// Many labels

#[tokio::test]
async fn one_account_serves_several_names_at_once_and_each_holds_64_values() {
    let (house, address, account) = with_account().await;
    let mut labels = vec![account.subdomain.clone()];
    for text in ["mail", "shop"] {
        labels.push(house.writer.add_label(account.username, chosen(text)).await.unwrap().label);
    }
    let value = |label: usize, n: usize| format!("{:043}", label * 1000 + n);
    let puts = (0..64).flat_map(|n| (0..labels.len()).map(move |label| (label, n)));
    let puts = puts.map(|(label, n)| {
        let (account, txt, subdomain) = (account.clone(), value(label, n), labels[label].clone());
        async move {
            let asked = format!(r#"{{"subdomain":"{subdomain}","txt":"{txt}"}}"#);
            assert_eq!(update(address, &account, &asked).await.status, 200);
        }
    });
    futures_util::future::join_all(puts).await;
    for (at, label) in labels.iter().enumerate() {
        let mut held = house.values(&format!("{label}.auth.example.org"));
        held.sort();
        assert_eq!(held, (0..64).map(|n| value(at, n)).collect::<Vec<_>>(), "{label}");
    }
    // taking one away from one name leaves the same value of the others
    for label in &labels[..2] {
        update(address, &account, &format!(r#"{{"subdomain":"{label}","txt":"{TXT}"}}"#)).await;
    }
    remove(address, &account, &format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, labels[0])).await;
    assert!(!house.values(&account.fulldomain.to_string()).contains(&TXT.to_owned()));
    assert!(house.values("mail.auth.example.org").contains(&TXT.to_owned()));
}

fn chosen(label: &str) -> acmezone::store::RegisterLabel {
    acmezone::store::RegisterLabel::Chosen(Label::parse(label).unwrap())
}
