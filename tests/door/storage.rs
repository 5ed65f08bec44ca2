//! lego's HTTP storage: who gets a credential, for what, and when lego is told that the CNAME is there.

use std::net::SocketAddr;

use acmezone::account::{AllowFrom, HttpStorage, MAX_CREDENTIALS, MINTED_KEPT};
use acmezone::api::CreatedAccount;
use acmezone::resolve::Resolver;
use acmezone::store::{RegisterLabel, UpdateError};
use acmezone::zone::Label;

use crate::house::{House, name};
use crate::support::{Nsd, Unbound};
use crate::wire::{Answer, request, send};

const TXT: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";
const NOT_FOUND: &str = r#"{"error": "not_found"}"#;

struct Stage {
    house: House,
    address: SocketAddr,
    secret: String,
    storage: HttpStorage,
}

impl Stage {
    /// A storage with `example.test` and `www.example.test`, each with a label of its own.
    async fn open(resolver: Resolver, server_url: Option<&str>) -> Stage {
        let house = House::new();
        let address = house.storages(resolver, server_url).await;
        let domains = vec![name("example.test"), name("www.example.test")];
        let (secret, storage) = house.writer.create_storage(domains, None, "a note".into()).await.unwrap();
        Stage { house, address, secret: secret.reveal().to_owned(), storage }
    }

    /// For tests that look nothing up.
    async fn blind() -> Stage {
        Stage::open(Resolver::new(&[]), None).await
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.address, request(&format!("GET {path}"), &["Accept: application/json"], "")).await
    }

    async fn fetch(&self, domain: &str) -> CreatedAccount {
        let answer = self.get(&format!("/storage/{}/{domain}", self.secret)).await;
        assert_eq!(answer.status, 200, "{domain}: {answer:?}");
        answer.json()
    }

    async fn post(&self, domain: &str, body: &str) -> Answer {
        let line = format!("POST /storage/{}/{domain}", self.secret);
        send(self.address, request(&line, &["Content-Type: application/json"], body)).await
    }

    async fn update(&self, account: &CreatedAccount) -> u16 {
        let headers = [format!("X-Api-User: {}", account.username), format!("X-Api-Key: {}", account.password)];
        let body = format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, account.subdomain);
        send(self.address, request("POST /update", &[&headers[0], &headers[1]], &body)).await.status
    }

    async fn credentials(&self) -> usize {
        self.house.writer.accounts().await.unwrap().iter().map(|account| account.credentials.len()).sum()
    }
}

#[tokio::test]
async fn get_makes_a_credential_for_the_label_that_the_domain_is_bound_to() {
    let stage = Stage::blind().await;
    let answer = stage.get(&format!("/storage/{}/example.test", stage.secret)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.body.contains("server_url"));
    let first: CreatedAccount = answer.json();
    assert_eq!(first.fulldomain, stage.storage.domains[0].grant.name().unwrap());
    let second = stage.fetch("example.test").await;
    assert_eq!((first.username, &first.fulldomain), (second.username, &second.fulldomain));
    assert_ne!(first.password, second.password);
    assert_eq!((stage.update(&first).await, stage.update(&second).await), (200, 200));
    assert_eq!(stage.house.values(&first.fulldomain.to_string()), [TXT]);
    let other = stage.fetch("www.example.test").await;
    assert_eq!(other.fulldomain, stage.storage.domains[1].grant.name().unwrap());
    let crossed = CreatedAccount { subdomain: other.subdomain.clone(), ..first };
    assert_eq!(stage.update(&crossed).await, 401, "a credential opens the label of its own domain alone");
}

#[tokio::test]
async fn the_server_url_is_that_of_the_configuration_whatever_host_is_asked_for() {
    let stage = Stage::open(Resolver::new(&[]), Some("https://api.example.org")).await;
    let line = format!("GET /storage/{}/example.test HTTP/1.1\r\nHost: evil.example\r\n\r\n", stage.secret);
    let answer = send(stage.address, line).await;
    assert!(answer.body.ends_with(r#","allowfrom":[],"server_url":"https://api.example.org"}"#), "{answer:?}");
}

#[tokio::test]
async fn a_domain_is_found_in_every_spelling_that_clients_send() {
    let stage = Stage::blind().await;
    let domains =
        ["example.test", "EXAMPLE.Test", "example.test.", "*.example.test", "%2A.example.test", "%2a.Example%2Etest."];
    for domain in domains {
        assert_eq!(stage.fetch(domain).await.fulldomain, stage.storage.domains[0].grant.name().unwrap(), "{domain}");
    }
}

#[tokio::test]
async fn a_wrong_or_revoked_secret_and_an_unlisted_domain_are_the_same_404() {
    let stage = Stage::blind().await;
    let (revoked, storage) =
        stage.house.writer.create_storage(vec![name("example.test")], None, String::new()).await.unwrap();
    stage.house.writer.revoke_storage(storage.id).await.unwrap();
    let secret = &stage.secret;
    let other_case: String = secret
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    let mut paths: Vec<String> = [&"x".repeat(40), "short", revoked.reveal(), &other_case]
        .iter()
        .map(|secret| format!("/storage/{secret}/example.test"))
        .collect();
    for domain in
        ["example.com", "test", "a.www.example.test", "_acme-challenge.example.test", "..", "%ff", "%00", "*."]
    {
        paths.push(format!("/storage/{secret}/{domain}"));
    }
    paths.extend([format!("/storage/{secret}"), format!("/storage/{secret}/"), "/storage".into(), "/nothing".into()]);
    let expected = stage.get("/nothing").await;
    let head = |answer: &Answer| (answer.status, answer.header("content-type").map(str::to_owned));
    for path in paths {
        let answer = stage.get(&path).await;
        assert_eq!((head(&answer), answer.body.as_str()), (head(&expected), NOT_FOUND), "{path}");
        assert_eq!(answer.header("cache-control"), expected.header("cache-control"));
        let answer = send(stage.address, request(&format!("POST {path}"), &[], "{}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, NOT_FOUND), "{path}");
    }
    assert_eq!(stage.credentials().await, 0);
}

#[tokio::test]
async fn other_methods_make_no_credential() {
    let stage = Stage::blind().await;
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
        let line =
            format!("{method} /storage/{}/example.test HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", stage.secret);
        let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nallow: get,post"), "{method}: {answer}");
    }
    assert_eq!(stage.credentials().await, 0);
}

#[tokio::test]
async fn the_newest_credentials_of_a_domain_stay_valid_and_the_older_ones_end() {
    let stage = Stage::blind().await;
    let other = stage.fetch("www.example.test").await;
    let mut minted = Vec::new();
    for _ in 0..MINTED_KEPT + 2 {
        minted.push(stage.fetch("example.test").await);
    }
    for (at, account) in minted.iter().enumerate() {
        assert_eq!(stage.update(account).await, if at < 2 { 401 } else { 200 }, "{at}");
    }
    assert_eq!(stage.update(&other).await, 200);
    assert_eq!(stage.credentials().await, MINTED_KEPT + 1);
}

#[tokio::test]
async fn revoking_a_storage_ends_its_credentials_and_no_others() {
    let stage = Stage::blind().await;
    let www = RegisterLabel::Chosen(Label::parse("www").unwrap());
    let own = stage.house.writer.register(AllowFrom::default(), www).await.unwrap();
    let holder = Some((own.account.username, own.grant.clone()));
    let (secret, storage) =
        stage.house.writer.create_storage(vec![name("example.com")], holder, String::new()).await.unwrap();
    let stage = Stage { secret: secret.reveal().to_owned(), ..stage };
    let minted = stage.fetch("example.com").await;
    assert_eq!((minted.username, minted.fulldomain.to_string()), (own.account.username, "www.auth.example.org".into()));
    let own = CreatedAccount { password: own.credential.reveal().to_owned(), ..minted.clone() };
    assert_eq!((stage.update(&minted).await, stage.update(&own).await), (200, 200));
    stage.house.writer.revoke_storage(storage.id).await.unwrap();
    assert_eq!((stage.update(&minted).await, stage.update(&own).await), (401, 200));
}

#[tokio::test]
async fn no_credential_of_a_storage_opens_another_label_of_an_account() {
    let stage = Stage::blind().await;
    let writer = &stage.house.writer;
    let label = |text: &str| RegisterLabel::Chosen(Label::parse(text).unwrap());
    let two = writer.register(AllowFrom::default(), label("two")).await.unwrap();
    writer.add_label(two.account.username, label("more")).await.unwrap();
    let holder = Some((two.account.username, two.grant));
    let refused = writer.create_storage(vec![name("example.com")], holder.clone(), String::new()).await;
    assert!(matches!(refused, Err(UpdateError::ManyLabels(_))), "{refused:?}");
    writer.remove_label(two.account.username, Label::parse("more").unwrap()).await.unwrap();
    let made = writer.create_storage(vec![name("example.com")], holder, String::new()).await.unwrap().1;
    let refused = writer.add_label(two.account.username, label("later")).await;
    assert!(matches!(refused, Err(UpdateError::AccountOfStorage(_))), "{refused:?}");
    writer.revoke_storage(made.id).await.unwrap();
    writer.add_label(two.account.username, label("later")).await.unwrap();
}

#[tokio::test]
async fn an_account_full_of_credentials_from_elsewhere_is_409() {
    let stage = Stage::blind().await;
    for _ in 0..MAX_CREDENTIALS {
        stage.house.writer.mint(stage.storage.domains[0].account).await.unwrap();
    }
    let answer = stage.get(&format!("/storage/{}/example.test", stage.secret)).await;
    assert_eq!((answer.status, answer.body.as_str()), (409, r#"{"error": "too_many_credentials"}"#));
    assert_eq!(stage.credentials().await, MAX_CREDENTIALS);
}

#[tokio::test]
async fn nothing_is_got_for_an_account_that_was_deleted_or_is_for_other_addresses() {
    let stage = Stage::blind().await;
    stage.house.writer.delete_account(stage.storage.domains[0].account).await.unwrap();
    let far = AllowFrom::parse(&["10.0.0.0/8"]).unwrap();
    let elsewhere = stage.storage.domains[1].account;
    stage.house.writer.change_account(elsewhere, |account| account.allow_from = far).await.unwrap();
    for domain in ["example.test", "www.example.test"] {
        let answer = stage.get(&format!("/storage/{}/{domain}", stage.secret)).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, NOT_FOUND), "{domain}");
    }
}

/// A storage whose domains are all bound to `bound.auth.example.org`, in sight of a public DNS with these records in
/// `example.test`; what it is asked about `broken.test` fails.
async fn with_public_dns(records: &str, domains: &[&str]) -> (Stage, Nsd, Unbound) {
    let zone = format!("$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n{records}\n");
    let nsd = Nsd::start(&[("example.test", &zone)]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("broken.test", nsd.port())]);
    let house = House::new();
    let address = house.storages(Resolver::new(&[unbound.addr()]), None).await;
    let label = RegisterLabel::Chosen(Label::parse("bound").unwrap());
    let held = house.writer.register(AllowFrom::default(), label).await.unwrap();
    let holder = Some((held.account.username, held.grant));
    let domains = domains.iter().map(|domain| name(domain)).collect();
    let (secret, storage) = house.writer.create_storage(domains, holder, String::new()).await.unwrap();
    (Stage { house, address, secret: secret.reveal().to_owned(), storage }, nsd, unbound)
}

fn posted(fulldomain: &str) -> String {
    format!("{{\"fulldomain\":\"{fulldomain}\",\"subdomain\":\"x\",\"server_url\":\"\"}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn post_is_201_only_where_the_cname_leads_to_the_bound_label_that_was_posted() {
    const BOUND: &str = "bound.auth.example.org";
    const OTHER: &str = "other.auth.example.org";
    let records = "
_acme-challenge.there CNAME bound.auth.example.org.
_acme-challenge.upper CNAME BOUND.Auth.example.org.
_acme-challenge.over CNAME a
a CNAME bound.auth.example.org.
_acme-challenge.other CNAME other.auth.example.org.
_acme-challenge.txt TXT bound.auth.example.org.
unlisted CNAME bound.auth.example.org.";
    let listed = ["none", "there", "upper", "over", "other", "txt"].map(|host| format!("{host}.example.test"));
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let (stage, _nsd, _unbound) = with_public_dns(records, &listed).await;
    let cases = [
        ("none", BOUND, 200),
        ("there", BOUND, 201),
        ("THERE", "Bound.Auth.Example.org.", 201),
        ("%2A.there", BOUND, 201),
        ("upper", BOUND, 201),
        ("over", BOUND, 201),
        ("other", BOUND, 200),
        ("other", OTHER, 200),
        ("there", OTHER, 200),
        ("txt", BOUND, 200),
        ("unlisted", BOUND, 404),
    ];
    for (host, fulldomain, status) in cases {
        let answer = stage.post(&format!("{host}.example.test"), &posted(fulldomain)).await;
        let body = if status == 404 { NOT_FOUND } else { "{}" };
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{host} {fulldomain}");
    }
    assert_eq!(stage.credentials().await, 1, "a POST stores nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn post_is_200_where_the_dns_fails_and_400_without_an_object() {
    let (stage, _nsd, _unbound) = with_public_dns("", &["broken.test"]).await;
    for body in [&posted("bound.auth.example.org"), "{}", r#"{"fulldomain":1}"#, r#"{"fulldomain":""}"#] {
        assert_eq!(stage.post("broken.test", body).await.status, 200, "{body}");
    }
    for body in ["", "null", "[]", "{", "{} {}"] {
        let answer = stage.post("broken.test", body).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, r#"{"error": "malformed_json_payload"}"#), "{body}");
    }
    assert_eq!(stage.post("broken.test", &"x".repeat(8193)).await.status, 413);
}
