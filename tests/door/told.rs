//! What the log tells of updates: who put which name's value in, and why somebody was refused, who is told nothing.

use std::time::Duration;

use crate::support::{Acmezone, Registered, Subprocess, TsigKey, http, nsupdate, poll};

const OURS: &str = "[[zone]]\norigin = \"auth.acme.test\"\nnameservers = [\"ns1.acme.test\"]\n";
const TXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_-";

/// A server that tells everything.
fn started(tables: &str) -> Acmezone {
    let mut server = Acmezone::prepare(tables);
    let command = server.command(&["serve", "--log-level", "debug"]);
    server.run_as(Subprocess::start("acmezone", command));
    server
}

/// Waits for a line with all of these parts.
#[track_caller]
fn told(server: &Acmezone, parts: &[&str]) {
    let line = || server.log().lines().any(|line| parts.iter().all(|part| line.contains(part)));
    poll(Duration::from_secs(5), &format!("a line with {parts:?}"), || line().then_some(()));
}

#[test]
fn every_value_that_is_put_is_told_with_name_and_account() {
    let server = started(OURS);
    let account = server.register();
    let (user, name) = (format!("username={}", account.username), format!("name={}", account.fulldomain));
    assert_eq!(server.update(&account, TXT).status, 200);
    told(&server, &["DEBUG ", "value put", &user, &name, "client=127.0.0.1"]);
    let removed = http::request(server.api, "DELETE", "/update", &account.headers(), account.body(TXT).as_bytes());
    assert_eq!(removed.status, 200);
    told(&server, &["DEBUG ", "value removed", &user, &name, "client=127.0.0.1"]);
    assert!(!server.log().contains(TXT) && !server.log().contains(&account.password));
}

#[test]
fn who_is_refused_hears_one_word_and_the_log_the_reason() {
    let server = Acmezone::start(OURS);
    let [account, other] = [server.register(), server.register()];
    let wrong_key = Registered { password: other.password.clone(), ..account.clone() };
    let others_label = Registered { subdomain: other.subdomain.clone(), ..account.clone() };
    let no_label = Registered { subdomain: "nobody".into(), ..account.clone() };
    for (shown, reason) in [
        (&wrong_key, "user, key or address".to_owned()),
        (&others_label, format!("{} is no name of this account", other.fulldomain)),
        (&no_label, "nobody has the label nobody".to_owned()),
    ] {
        let refused = server.update(shown, TXT);
        assert_eq!((refused.status, refused.body.as_str()), (401, r#"{"error": "forbidden"}"#));
        told(&server, &[" WARN ", "update refused", &reason, &account.username]);
    }
    for (headers, body, reason) in [
        (&account.headers()[..], "{", "the body is no JSON object"),
        (&[], "{}", "no credentials that could be an account's"),
    ] {
        assert_eq!(http::request(server.api, "POST", "/update", headers, body.as_bytes()).status, 401);
        told(&server, &[" WARN ", "update refused", reason]);
    }
}

#[test]
fn an_update_message_is_told_with_its_key_and_names() {
    let key = TsigKey::new("told");
    let server = started(&(OURS.to_owned() + &key.table("labels = [\"mine\"]")));
    server.cli(&["account", "create", "--label", "mine"]).expect_success();
    let add = |name: &str| {
        let lines = ["zone auth.acme.test", &format!("update add {name}.auth.acme.test 60 TXT x")];
        nsupdate("nsupdate", server.dns, &["-y", &key.argument()], &lines)
    };
    add("mine").expect_success();
    told(&server, &["DEBUG ", "values changed by an UPDATE", &key.name, "mine.auth.acme.test"]);
    add("yours").expect_failure();
    told(&server, &[" WARN ", "UPDATE refused", &key.name, "yours.auth.acme.test"]);
}

#[test]
fn values_can_be_put_by_the_label_alone() {
    let server = Acmezone::start(OURS);
    server.cli(&["account", "create", "--label", "www"]).expect_success();
    let shown = server.cli(&["txt", "add", "www", "some-value"]).expect_success();
    assert!(shown.output().contains("www.auth.acme.test"), "{}", shown.output());
    let unsure = server.cli(&["account", "remove-label", "www"]).expect_failure();
    assert!(unsure.output().contains("say --yes"), "{}", unsure.output());
}
