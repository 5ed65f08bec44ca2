//! Both HTTP APIs do what their OpenAPI documents say: schemathesis, with all its checks, asks what the documents allow
//! and what they do not, and reads every answer.

#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Acmezone, Registered, http, run, schemathesis};

/// The origin is short, because schemathesis takes the longest name for one of three labels.
const OURS: &str = "[[zone]]\norigin = \"test\"\nnameservers = [\"ns1.acme.example\"]\n";

fn admin_token(server: &Acmezone) -> String {
    let token = std::fs::read_to_string(server.folder().join("data/admin-token")).expect("the server has written it");
    format!("Bearer {}", token.trim())
}

/// The answer of the admin API, which must be a success.
#[track_caller]
fn administrate(server: &Acmezone, method: &str, path: &str, body: &str) -> Value {
    let answer = http::request(server.admin, method, path, &[("Authorization", &admin_token(server))], body.as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

#[track_caller]
fn public_document(server: &Acmezone) -> Value {
    let answer = http::request(server.api, "GET", "/openapi.json", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Holds a running API against its document. `settings` are for `schemathesis.toml`.
#[track_caller]
fn judge(address: SocketAddr, document: &Value, examples: u32, settings: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path
    };
    // Of the statuses that refuse what a document does not allow, it does not know 413. An operation that never
    // succeeds was not tested.
    const CHECKS: &str = r#"
[checks]
enabled = true
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
[warnings]
fail-on = ["missing_auth", "missing_test_data", "missing_deserializer"]
"#;
    let hooks = file("hooks.py", HOOKS);
    let config = file("schemathesis.toml", &format!("{CHECKS}{settings}"));
    let document = file("openapi.json", &document.to_string());
    let mut command = Command::new(schemathesis());
    command.arg("--config-file").arg(config).arg("run").arg(document);
    command.args(["--url", &format!("http://{address}"), "--no-color"]);
    command.args(["--max-examples", &examples.to_string(), "--seed", "1", "--generation-deterministic"]);
    command.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", hooks).env("PYTHONDONTWRITEBYTECODE", "1");
    let judged = run("schemathesis", command, Duration::from_secs(300));
    assert!(judged.success(), "{}", judged.output());
}

fn dictionary(name: &str, values: &[&str], parameters: &[&str]) -> String {
    let bound = parameters
        .iter()
        .map(|parameter| format!("[parameters.\"{parameter}\"]\ndictionary = \"{name}\"\nprobability = 0.7\n"));
    format!("[dictionaries.{name}]\nvalues = {}\n{}", json!(values), bound.collect::<String>())
}

#[test]
fn the_api_for_clients_does_what_its_document_says() {
    let server = Acmezone::start(OURS);
    let Registered { username, password, fulldomain, subdomain } = server.register();
    let storage = administrate(&server, "POST", "/v1/storages", r#"{"domains":["example.test"]}"#);
    let settings = [
        format!("[auth.openapi.user]\napi_key = \"{username}\"\n[auth.openapi.key]\napi_key = \"{password}\"\n"),
        format!("[auth.openapi.account]\nusername = \"{username}\"\npassword = \"{password}\"\n"),
        dictionary("labels", &[&subdomain], &["body.subdomain"]),
        dictionary("names", &[&fulldomain, &format!("*.{fulldomain}.")], &["body.fqdn", "body.domain"]),
        dictionary("secrets", &[storage["secret"].as_str().expect("a secret")], &["path.secret"]),
        dictionary("domains", &["example.test", "*.example.test."], &["path.domain"]),
    ];
    judge(server.api, &public_document(&server), 15, &settings.concat());
}

/// Each answer is a line of JSON after the other; the last one is looked at.
const HOOKS: &str = r#"
import json
import schemathesis

@schemathesis.deserializer("application/x-ndjson")
def last_line(context, response):
    return json.loads(response.content.splitlines()[-1])
"#;

#[test]
fn the_api_for_administrators_does_what_its_document_says() {
    const CERTIFICATE: &str = "[[ca]]\nname = \"nobody\"\ndirectory = \"https://127.0.0.1:1/\"\n\
                               [[certificate]]\nname = \"www\"\nnames = [\"www.example.test\"]\n";
    let server = Acmezone::start(&(OURS.to_owned() + CERTIFICATE));
    let Registered { username, fulldomain, subdomain, .. } = server.register();
    // An account that is not deleted, because no setting names it where that could happen.
    administrate(&server, "POST", "/v1/accounts", r#"{"label":"kept"}"#);
    administrate(&server, "POST", "/v1/accounts/kept/labels", r#"{"label":"spare"}"#);
    let token = admin_token(&server);
    let settings = [
        format!("[auth.openapi.administrator]\nbearer = \"{}\"\n", token.rsplit(' ').next().unwrap_or_default()),
        dictionary("ids", &[&username, &subdomain, &fulldomain], &["path.id", "body.account"]),
        dictionary("spares", &["spare"], &["path.label"]),
        dictionary("labels", &[&subdomain], &["body.label"]),
        dictionary("names", &["kept.test", "_acme-challenge.www.test", &fulldomain], &["path.name"]),
        dictionary("origins", &["test"], &["path.origin"]),
        // It has no certificate yet, which is another refusal than that of a name that nobody has.
        "[[operations]]\ninclude-operation-id = \"revoke_certificate\"\nparameters = { \"path.name\" = \"www\" }\n"
            .to_owned(),
        // That `expires` lies in the future cannot be said in a schema.
        "[[operations]]\ninclude-operation-id = \"create_token\"\nchecks.positive_data_acceptance.enabled = false\n"
            .to_owned(),
    ];
    let document = administrate(&server, "GET", "/v1/openapi.json", "");
    judge(server.admin, &document, 5, &settings.concat());
}

#[test]
fn the_documents_are_of_openapi_3_1_and_the_administrators_is_behind_the_token() {
    let server = Acmezone::start(OURS);
    let [public, administration] = [public_document(&server), administrate(&server, "GET", "/v1/openapi.json", "")];
    for (document, path) in [(&public, "/update"), (&administration, "/v1/status")] {
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert!(document["paths"][path].is_object(), "{document}");
    }
    assert_eq!(http::request(server.admin, "GET", "/v1/openapi.json", &[], b"").status, 401);
}
