//! The known clients of acme-dns, each with the octets that it really sends and what it needs of the answers.

use std::net::SocketAddr;
use std::time::Duration;

use acmezone::api::CreatedAccount;
use acmezone::config::Registration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::House;
use crate::wire::{Answer, send};

const TXT: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";

struct Stage {
    house: House,
    address: SocketAddr,
}

impl Stage {
    async fn open() -> Stage {
        let house = House::new();
        let address = house.acmedns(Registration::Open).await;
        Stage { house, address }
    }

    /// Sends lines and a body as they are, with the host added.
    async fn send(&self, head: &[&str], body: &str) -> Answer {
        let (line, headers) = head.split_first().unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        send(self.address, format!("{line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n{body}", self.address)).await
    }

    /// Registers with these octets. Every client needs the four strings; the old ones exactly 201.
    async fn register(&self, head: &[&str], body: &str) -> CreatedAccount {
        let length = format!("Content-Length: {}", body.len());
        let answer = self.send(&[head, &[&length]].concat(), body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Updates with these octets. The old clients need exactly 200, acme.sh the quoted value.
    async fn update(&self, account: &CreatedAccount, head: &[&str], body: &str) {
        let answer = self.try_update(account, &account.password, head, body).await;
        assert_eq!((answer.status, answer.body), (200, format!(r#"{{"txt": "{TXT}"}}"#)));
        assert_eq!(self.house.values(&account.fulldomain.to_string()), [TXT]);
    }

    async fn try_update(&self, account: &CreatedAccount, key: &str, head: &[&str], body: &str) -> Answer {
        let headers = [
            format!("X-Api-User: {}", account.username),
            format!("X-Api-Key: {key}"),
            format!("Content-Length: {}", body.len()),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        self.send(&[head, &headers].concat(), body).await
    }
}

fn body(account: &CreatedAccount) -> String {
    format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, account.subdomain)
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn nrdcg_goacmedns_of_lego_traefik_and_cert_manager() {
    let stage = Stage::open().await;
    let head = ["Accept: application/json", JSON, "User-Agent: goacmedns (linux; amd64)"];
    let account = stage.register(&[&["POST /register"], head.as_slice()].concat(), "null\n").await;
    stage.update(&account, &[&["POST /update"], head.as_slice()].concat(), &(body(&account) + "\n")).await;
    let limited = stage.register(&["POST /register", JSON], "{\"allowfrom\":[\"127.0.0.0/8\"]}\n").await;
    stage.update(&limited, &["POST /update", JSON], &body(&limited)).await;
}

#[tokio::test]
async fn cpu_goacmedns_of_older_lego_traefik_and_cert_manager() {
    let stage = Stage::open().await;
    let account = stage.register(&["POST //register", JSON], "").await;
    let asked = format!(r#"{{"SubDomain":"{}","Txt":"{TXT}"}}"#, account.subdomain);
    stage.update(&account, &["POST //update", JSON], &asked).await;
    let limited = stage.register(&["POST /register", JSON], r#"{"AllowFrom":["192.0.2.0/24"]}"#).await;
    assert_eq!(limited.allowfrom, ["192.0.2.0/24"]);
}

#[tokio::test]
async fn pyacmedns_of_certbot_dns_acmedns_and_nginx_proxy_manager() {
    let stage = Stage::open().await;
    let account = stage.register(&["POST /register"], "").await;
    let asked = format!(r#"{{"subdomain": "{}", "txt": "{TXT}"}}"#, account.subdomain);
    stage.update(&account, &["POST //update", "Accept: */*", JSON], &asked).await;
    // It parses the body of every other status as JSON.
    let refused = stage.try_update(&account, &"x".repeat(40), &["POST //update", JSON], &asked).await;
    assert_eq!(refused.json::<serde_json::Value>()["error"], "forbidden");
}

#[tokio::test]
async fn acme_dns_certbot_joohoi() {
    let stage = Stage::open().await;
    let asked = r#"{"allowfrom": ["127.0.0.0/8"]}"#;
    let account = stage.register(&["POST /register", "Accept: */*"], asked).await;
    let asked = format!(r#"{{"subdomain": "{}", "txt": "{TXT}"}}"#, account.subdomain);
    stage.update(&account, &["POST /update", "Accept: */*"], &asked).await;
    // Without networks it has no body.
    stage.register(&["POST /register", "Accept: */*"], "").await;
}

#[tokio::test]
async fn acme_sh_which_cuts_answers_with_sed_and_grep() {
    let stage = Stage::open().await;
    let answer = stage.send(&["POST /register", "User-Agent: acme.sh/3.1.4", "Accept: */*"], "").await;
    assert_eq!(answer.body.lines().count(), 1);
    assert!(answer.body.starts_with(r#"{"username":""#) && answer.body.ends_with('}'));
    let account: CreatedAccount = answer.json();
    let form = ["POST /update", "Content-Type: application/x-www-form-urlencoded"];
    let asked = format!(r#"{{"subdomain":"{}", "txt": "{TXT}"}}"#, account.subdomain);
    stage.update(&account, &form, &asked).await;
    // Any body with the quoted value counts as success, whatever the status.
    for (key, asked) in [("x".repeat(40), asked), (account.password.clone(), format!(r#"{{"txt":"{TXT}""#))] {
        let refused = stage.try_update(&account, &key, &form, &asked).await;
        assert_eq!(refused.status, 401);
        assert!(!refused.body.contains(TXT));
    }
}

#[tokio::test]
async fn libdns_acmedns_of_caddy() {
    let stage = Stage::open().await;
    let account = stage.register(&["POST /register"], "").await;
    stage.update(&account, &["POST /update", JSON, "User-Agent: Go-http-client/1.1"], &body(&account)).await;
}

#[tokio::test]
async fn posh_acme() {
    let stage = Stage::open().await;
    let basic = "Authorization: Basic dXNlcjpwYXNz";
    let account = stage.register(&["POST /register", JSON, basic], "{}").await;
    stage.register(&["POST /register", JSON], r#"{"allowfrom":[]}"#).await;
    stage.update(&account, &["POST /update", JSON, basic], &body(&account)).await;
    // Releases before had PowerShell choose the type, which chooses this for any POST; its tables have no order.
    let form = "Content-Type: application/x-www-form-urlencoded";
    let turned = format!(r#"{{"txt":"{TXT}","subdomain":"{}"}}"#, account.subdomain);
    stage.update(&account, &["POST /update", form], &turned).await;
}

#[tokio::test]
async fn win_acme_and_simple_acme() {
    let stage = Stage::open().await;
    let bare = "Authorization: Basic";
    let account = stage.register(&["POST /register", "Content-Type: text/plain; charset=utf-8", bare], "").await;
    let json = "Content-Type: application/json; charset=utf-8";
    stage.update(&account, &["POST /update", json, bare], &body(&account)).await;
}

#[tokio::test]
async fn certify_the_web() {
    let stage = Stage::open().await;
    let unpadded = "Authorization: Basic dTpw_-8";
    let text = "Content-Type: text/plain; charset=utf-8";
    let agent = "User-Agent: Certify/DnsProviderAcmeDns";
    let account = stage.register(&["POST /register", agent, text, unpadded], "{}").await;
    stage.update(&account, &["POST /update", agent, text, unpadded], &body(&account)).await;
    let asked = r#"{"allowfrom":["192.168.100.1/24","2002:c0a8:2a00::0/40"]}"#;
    let limited = stage.register(&["POST /register", agent, text], asked).await;
    assert_eq!(limited.allowfrom.len(), 2);
}

/// .NET Framework, and so Windows PowerShell and Certify on it, sends the head of a POST alone and the body when it is
/// told to go on (RFC 9110 section 10.1.1).
#[tokio::test]
async fn dotnet_framework_waits_for_100_before_its_body() {
    let stage = Stage::open().await;
    let account = stage.register(&["POST /register", JSON], "{}").await;
    let body = body(&account);
    let head = format!(
        "POST /update HTTP/1.1\r\nHost: {}\r\n{JSON}\r\nX-Api-User: {}\r\nX-Api-Key: {}\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        stage.address,
        account.username,
        account.password,
        body.len()
    );
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut told = [0; GO_ON.len()];
    timeout(Duration::from_secs(5), stream.read_exact(&mut told)).await.expect("an answer to the head").unwrap();
    assert_eq!(told, GO_ON);
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(TXT), "{answer}");
}
