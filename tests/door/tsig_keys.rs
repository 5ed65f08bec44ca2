//! Keys for updates over DNS by the admin API.

use acmezone::api::{TsigKey, TsigKeySource};

use crate::admin::Admin;
use crate::house::name;

#[tokio::test]
async fn keys_are_made_shown_and_revoked() {
    let admin = Admin::start().await;
    admin.account(r#"{"label":"www"}"#).await;
    let made = admin.ask("POST /v1/tsig-keys", r#"{"name":"one","labels":["www"]}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made: TsigKey = made.json();
    assert_eq!(
        (made.algorithm.as_str(), made.replace.as_str(), made.source),
        ("hmac-sha256", "keep-recent", TsigKeySource::Store)
    );
    assert_eq!(made.labels, [name("www.auth.example.org")]);
    let secret = made.secret.expect("it is shown").reveal().to_owned();
    for (line, shown) in [
        ("GET /v1/tsig-keys/ONE.", false),
        ("GET /v1/tsig-keys/one?secret=false", false),
        ("GET /v1/tsig-keys/one?secret=true", true),
        ("GET /v1/tsig-keys", false),
        ("DELETE /v1/tsig-keys/one", false),
    ] {
        let answer = admin.ask(line, "").await;
        assert_eq!((answer.status, answer.body.contains(&secret)), (200, shown), "{line}");
    }
    assert_eq!(admin.refused("GET /v1/tsig-keys/one", "").await, (404, "not_found".into()));
    assert!(admin.house.writer.keys().keys().iter().next().is_none());
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let admin = Admin::start().await;
    for body in [
        "",
        "{}",
        r#"{"name":"one","algorithm":"hmac-md5","below":["auth.example.org"]}"#,
        r#"{"name":"one","replace":"all","below":["auth.example.org"]}"#,
        r#"{"name":"one","labels":["_a"]}"#,
        r#"{"name":"one","secret":"x","below":["auth.example.org"]}"#,
        r#"{"name":"a..b","below":["auth.example.org"]}"#,
    ] {
        assert_eq!(admin.refused("POST /v1/tsig-keys", body).await, (400, "bad_request".into()), "{body}");
    }
    for body in [
        r#"{"name":"one"}"#,
        r#"{"name":"one","labels":["www"]}"#,
        r#"{"name":"one","below":["example.com"]}"#,
        r#"{"name":".","below":["auth.example.org"]}"#,
        r#"{"name":"one","domains":["_acme-challenge.example.com"]}"#,
    ] {
        assert_eq!(admin.refused("POST /v1/tsig-keys", body).await, (409, "key_refused".into()), "{body}");
    }
    assert_eq!(admin.refused("GET /v1/tsig-keys/one?secret=perhaps", "").await, (400, "bad_request".into()));
    for line in ["GET /v1/tsig-keys/none", "DELETE /v1/tsig-keys/none"] {
        assert_eq!(admin.refused(line, "").await, (404, "not_found".into()), "{line}");
    }
}
