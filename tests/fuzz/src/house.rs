//! The HTTP door of acme-dns with a store behind it, asked without a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use acmezone::config::{Api, Registration};
use acmezone::door::{Front, acmedns};
use acmezone::store::{self, Policy, RegisterLabel, Sqlite, Writer};
use acmezone::zone::{Label, Live, Name, Zone, Zones};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Request};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Everything that the door says when it refuses; nothing of what was sent is in it.
const REFUSALS: &[(u16, &str)] = &[
    (400, r#"{"error": "bad_txt"}"#),
    (400, r#"{"error": "malformed_json_payload"}"#),
    (400, r#"{"error": "invalid_allowfrom_cidr"}"#),
    (401, r#"{"error": "forbidden"}"#),
    (413, r#"{"error": "payload_too_large"}"#),
];

pub struct House {
    pub writer: Writer,
    router: Router,
    runtime: Runtime,
    _folder: TempDir,
}

impl House {
    pub fn new() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::open(&folder.path().join("acmezone.db")).expect("a store");
        let name = |text| Name::parse(text).expect("a name");
        let zone = Zone::from_nameservers(name("auth.example.org"), &[name("ns1.example.org")]).expect("a zone");
        let live = Live::new(Zones::new([zone]));
        let policy = Policy {
            value_lifetime: 3600,
            zone: Some(name("auth.example.org")),
            reserved: Vec::new(),
            tsig_keys: Vec::new(),
        };
        let (writer, _) = Writer::start(store, Arc::new(live), policy).expect("a writer");
        let router = Front::new(&Api::default()).before(acmedns::router(writer.clone(), Registration::Open));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        House { writer, router, runtime, _folder: folder }
    }

    /// Registers the label `account` for everybody.
    pub fn register(&self) -> store::Registration {
        let label = RegisterLabel::Chosen(Label::parse("account").expect("a label"));
        self.runtime.block_on(self.writer.register(Default::default(), label)).expect("a registration")
    }

    /// Status and body of the answer to a POST, after checks that hold for every answer.
    pub fn post(&self, path: &str, headers: HeaderMap, body: &[u8]) -> (u16, String) {
        let mut request = Request::post(path).body(Body::from(body.to_vec())).expect("a request");
        *request.headers_mut() = headers;
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4711))));
        let (status, body) = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("an answer");
            let status = response.status().as_u16();
            let kind = response.headers().get("content-type").map(|kind| kind.as_bytes().to_vec());
            assert_eq!(kind.as_deref(), Some(b"application/json".as_slice()));
            (status, to_bytes(response.into_body(), usize::MAX).await.expect("a body"))
        });
        let body = String::from_utf8(body.to_vec()).expect("text");
        assert!(!body.contains('\n') && serde_json::from_str::<Value>(&body).is_ok_and(|json| json.is_object()));
        assert!(matches!(status, 200 | 201) || REFUSALS.contains(&(status, body.as_str())), "{status} {body}");
        (status, body)
    }
}

impl Default for House {
    fn default() -> House {
        House::new()
    }
}
