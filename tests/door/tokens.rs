//! Registration with a token: in which places it is found, and when it is good.

use std::net::SocketAddr;

use acmezone::account::Credential;
use acmezone::api::CreatedAccount;
use acmezone::config::Registration;
use acmezone::store::now;

use crate::house::House;
use crate::wire::{Answer, request, send};

const TXT: &str = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM";

struct Stage {
    house: House,
    address: SocketAddr,
}

impl Stage {
    async fn open() -> Stage {
        let house = House::new();
        let address = house.acmedns(Registration::Token).await;
        Stage { house, address }
    }

    /// A new token and its id.
    async fn token(&self, uses: Option<u64>, expires: Option<u64>) -> (String, String) {
        let (secret, token) = self.house.writer.create_token(uses, expires, "a note".into()).await.unwrap();
        (secret.reveal().to_owned(), token.id)
    }

    async fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        send(self.address, request(&format!("POST {path}"), headers, body)).await
    }

    /// The refusal, which repeats nothing of the token.
    async fn refused(&self, path: &str, headers: &[&str], body: &str) -> String {
        let answer = self.post(path, headers, body).await;
        assert_eq!(answer.status, 401, "{path} {headers:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "RFC 9110 section 11.6.1");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let error = answer.body.strip_prefix(r#"{"error": ""#).and_then(|rest| rest.strip_suffix(r#""}"#));
        error.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    async fn accounts(&self) -> usize {
        self.house.writer.accounts().await.unwrap().len()
    }

    async fn registered(&self, id: &str) -> u64 {
        let tokens = self.house.writer.tokens().await.unwrap();
        tokens.iter().find(|token| token.id == id).unwrap().registered
    }
}

#[tokio::test]
async fn a_token_is_found_in_the_path_in_its_own_header_and_as_bearer() {
    let stage = Stage::open().await;
    let (token, id) = stage.token(None, None).await;
    let bearer = format!("Authorization: Bearer {token}");
    let odd = format!("authorization: bEARER   {token}");
    let own = format!("X-Registration-Token: {token}");
    let foreign = "Authorization: Basic dTpw";
    let path = format!("/{token}/register");
    let cases: [(&str, &[&str]); 8] = [
        ("/register", &[&bearer]),
        ("/register", &[&odd]),
        ("/register", &[&own]),
        ("/register", &[foreign, &own]),
        ("/register", &["Authorization: Bearer foreign", &own]),
        (&path, &[]),
        (&path, &[foreign]),
        (&path, &["X-Registration-Token: another", "Authorization: Bearer another"]),
    ];
    for (path, headers) in cases {
        let answer = stage.post(path, headers, "").await;
        assert_eq!(answer.status, 201, "{path} {headers:?}: {answer:?}");
        let _: CreatedAccount = answer.json();
    }
    assert_eq!(stage.registered(&id).await, 8);
}

#[tokio::test]
async fn no_token_and_no_such_token_are_401() {
    let stage = Stage::open().await;
    let stranger = "x".repeat(40);
    for headers in [&[][..], &["Authorization: Basic dTpw"], &["Authorization: Bearer"], &["Authorization:"]] {
        assert_eq!(stage.refused("/register", headers, "").await, "token_required");
    }
    let bearer = format!("Authorization: Bearer {stranger}");
    for headers in
        [bearer.as_str(), "Authorization: Bearer a b", "X-Registration-Token:", "X-Registration-Token: \u{fc}"]
    {
        assert_eq!(stage.refused("/register", &[headers], "").await, "token_unknown", "{headers}");
    }
    assert_eq!(stage.refused(&format!("/{stranger}/register"), &[], "").await, "token_unknown");
    assert_eq!(stage.refused(&format!("/{stranger}/register"), &[], "{ bad").await, "token_unknown", "who comes first");
    assert_eq!(stage.accounts().await, 0);
}

#[tokio::test]
async fn used_up_expired_and_revoked_tokens_are_401_and_say_so() {
    let stage = Stage::open().await;
    let (once, _) = stage.token(Some(1), None).await;
    let (late, _) = stage.token(None, Some(now())).await;
    let (revoked, id) = stage.token(None, None).await;
    stage.house.writer.revoke_token(id).await.unwrap();
    assert_eq!(stage.post(&format!("/{once}/register"), &[], "").await.status, 201);
    for (token, said) in [(once, "token_used_up"), (late, "token_expired"), (revoked, "token_revoked")] {
        assert_eq!(stage.refused(&format!("/{token}/register"), &[], "").await, said);
        assert_eq!(stage.refused("/register", &[&format!("Authorization: Bearer {token}")], "[]").await, said);
    }
    assert_eq!(stage.accounts().await, 1);
}

#[tokio::test]
async fn a_registration_that_fails_costs_no_use() {
    let stage = Stage::open().await;
    let (token, id) = stage.token(Some(1), None).await;
    let path = format!("/{token}/register");
    for (body, error) in [("{ bad", "malformed_json_payload"), (r#"{"allowfrom":["x"]}"#, "invalid_allowfrom_cidr")] {
        let answer = stage.post(&path, &[], body).await;
        assert_eq!((answer.status, answer.body), (400, format!(r#"{{"error": "{error}"}}"#)));
    }
    assert_eq!(stage.registered(&id).await, 0);
    assert_eq!(stage.post(&path, &[], r#"{"allowfrom":["10.0.0.0/8"]}"#).await.status, 201);
    assert_eq!(stage.registered(&id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_registrations_at_once_with_one_use_left_one_succeeds() {
    let stage = Stage::open().await;
    let (token, id) = stage.token(Some(1), None).await;
    let line = format!("POST /{token}/register");
    let all = (0..16).map(|_| tokio::spawn(send(stage.address, request(&line, &[], ""))));
    let mut statuses = Vec::new();
    for answer in all.collect::<Vec<_>>() {
        statuses.push(answer.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (201, [401; 15].as_slice()));
    assert_eq!((stage.registered(&id).await, stage.accounts().await), (1, 1));
}

#[tokio::test]
async fn updates_below_a_token_are_served_also_after_it_was_revoked() {
    let stage = Stage::open().await;
    let (token, id) = stage.token(None, None).await;
    let account: CreatedAccount = stage.post(&format!("/{token}/register"), &[], "").await.json();
    stage.house.writer.revoke_token(id).await.unwrap();
    let headers = [format!("X-Api-User: {}", account.username), format!("X-Api-Key: {}", account.password)];
    let headers = [headers[0].as_str(), &headers[1]];
    let body = format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, account.subdomain);
    for path in [format!("/{token}/update"), format!("//{token}//UPDATE/"), format!("/{}/update", "x".repeat(40))] {
        let answer = stage.post(&path, &headers, &body).await;
        assert_eq!((answer.status, answer.body), (200, format!(r#"{{"txt": "{TXT}"}}"#)), "{path}");
        assert_eq!(stage.post(&path, &headers[..1], &body).await.status, 401, "the token is no credential");
    }
}

#[tokio::test]
async fn a_token_in_the_path_keeps_its_case_and_doubled_slashes_do_not_matter() {
    let stage = Stage::open().await;
    let mut tokens = Vec::new();
    while !tokens.iter().any(|token: &String| token.bytes().any(|byte| byte.is_ascii_uppercase())) {
        tokens.push(stage.token(None, None).await.0);
    }
    let token = tokens.last().unwrap();
    for path in [format!("//{token}//register/"), format!("/{token}/REGISTER"), format!("/{token}/register?x=y")] {
        assert_eq!(stage.post(&path, &[], "").await.status, 201, "{path}");
    }
    assert_eq!(stage.refused(&format!("/{}/register", token.to_lowercase()), &[], "").await, "token_unknown");
}

#[tokio::test]
async fn what_has_not_the_form_of_a_token_is_no_path() {
    let stage = Stage::open().await;
    let (token, _) = stage.token(None, None).await;
    let odd = format!("{}.", "a".repeat(39));
    for first in ["x", &"a".repeat(39), &"a".repeat(41), &odd, "acme"] {
        for line in [format!("POST /{first}/register"), format!("GET /{first}/update")] {
            assert_eq!(send(stage.address, request(&line, &[], "")).await.status, 404, "{line}");
        }
    }
    for path in [
        format!("/{token}"),
        format!("/{token}/health"),
        format!("/{token}/register/x"),
        format!("/x/{token}/register"),
    ] {
        assert_eq!(stage.post(&path, &[], "").await.status, 404, "{path}");
    }
    assert_eq!(send(stage.address, request(&format!("GET /{token}/register"), &[], "")).await.status, 405);
}

#[tokio::test]
async fn open_registration_looks_at_no_token_and_closed_takes_none() {
    let house = House::new();
    let (token, facts) = house.writer.create_token(Some(1), None, String::new()).await.unwrap();
    let stranger = Credential::random().unwrap();
    for (mode, status) in [(Registration::Open, 201), (Registration::Closed, 403)] {
        let address = house.acmedns(mode).await;
        for token in [token.reveal(), stranger.reveal()] {
            let path = format!("POST /{token}/register");
            assert_eq!(send(address, request(&path, &[], "")).await.status, status);
            let headers = [format!("X-Registration-Token: {token}")];
            assert_eq!(send(address, request("POST /register", &[&headers[0]], "")).await.status, status);
        }
    }
    assert_eq!(house.writer.tokens().await.unwrap()[0], facts);
}
