//! The HTTP doors for clients with a store behind them, asked without a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use acmezone::config::{Api, Registration};
use acmezone::door::acmedns::storage::{self, Storages};
use acmezone::door::{Front, acmedns};
use acmezone::resolve::Resolver;
use acmezone::store::{self, Policy, RegisterLabel, Sqlite, UpdateError, Writer};
use acmezone::zone::{Label, Live, Name, Zone, Zones};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Everything that the doors say when they refuse; nothing of what was sent is in it.
const REFUSALS: &[(u16, &str)] = &[
    (400, r#"{"error": "bad_name"}"#),
    (400, r#"{"error": "bad_txt"}"#),
    (400, r#"{"error": "bad_value"}"#),
    (400, r#"{"error": "malformed_json_payload"}"#),
    (400, r#"{"error": "invalid_allowfrom_cidr"}"#),
    (401, r#"{"error": "forbidden"}"#),
    (401, r#"{"error": "token_required"}"#),
    (401, r#"{"error": "token_unknown"}"#),
    (403, r#"{"error": "name_not_owned"}"#),
    (404, r#"{"error": "not_found"}"#),
    (405, r#"{"error": "method_not_allowed"}"#),
    (413, r#"{"error": "payload_too_large"}"#),
];

pub struct House {
    pub writer: Writer,
    router: Router,
    runtime: Runtime,
    _folder: TempDir,
}

impl House {
    pub fn new(registration: Registration) -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::open(&folder.path().join("acmezone.db")).expect("a store");
        let zone = Zone::from_nameservers(name("auth.example.org"), &[name("ns1.example.org")]).expect("a zone");
        let live = Live::new(Zones::new([zone]));
        let policy = Policy {
            value_lifetime: 3600,
            zone: Some(name("auth.example.org")),
            reserved: Vec::new(),
            tsig_keys: Vec::new(),
        };
        let (writer, _) = Writer::start(store, Arc::new(live), policy).expect("a writer");
        // Nobody is there to be asked.
        let resolver = Resolver::new(&[SocketAddr::from(([127, 0, 0, 1], 9))]);
        let storages = Storages { writer: writer.clone(), resolver, server_url: None };
        let behind = acmedns::router(writer.clone(), registration);
        let router = Front::new(&Api::default()).before(storage::router(storages).fallback_service(behind));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        House { writer, router, runtime, _folder: folder }
    }

    /// Registers the label `account` for everybody.
    pub fn register(&self) -> store::Registration {
        let label = RegisterLabel::Chosen(Label::parse("account").expect("a label"));
        self.wait(self.writer.register(Default::default(), label))
    }

    /// What the writer does, which is to succeed.
    pub fn wait<T>(&self, done: impl Future<Output = Result<T, UpdateError>>) -> T {
        self.runtime.block_on(done).expect("what the writer does")
    }

    /// Status and body of the answer to a POST, after checks that hold for every answer.
    pub fn post(&self, path: &str, headers: HeaderMap, body: &[u8]) -> (u16, String) {
        let mut request = Request::post(path).body(Body::from(body.to_vec())).expect("a request");
        *request.headers_mut() = headers;
        let response = self.ask(request);
        (response.status().as_u16(), response.into_body())
    }

    /// The answer to any request, after checks that hold for every answer.
    pub fn ask(&self, mut request: Request<Body>) -> Response<String> {
        request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4711))));
        let (head, body) = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            (head, to_bytes(body, usize::MAX).await.expect("a body"))
        });
        let body = String::from_utf8(body.to_vec()).expect("text");
        let status = head.status.as_u16();
        if !body.is_empty() {
            let kind = head.headers.get("content-type").map(|kind| kind.as_bytes());
            assert_eq!(kind, Some(b"application/json".as_slice()));
            assert!(!body.contains('\n') && serde_json::from_str::<Value>(&body).is_ok_and(|json| json.is_object()));
        }
        let refused = REFUSALS.iter().any(|(known, text)| *known == status && (body == *text || body.is_empty()));
        assert!(matches!(status, 200 | 201) || refused, "{status} {body}");
        assert!(!head.headers.contains_key("location"));
        assert_eq!(status == 405, head.headers.contains_key("allow"));
        Response::from_parts(head, body)
    }
}

impl Default for House {
    fn default() -> House {
        House::new(Registration::Open)
    }
}

pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}
