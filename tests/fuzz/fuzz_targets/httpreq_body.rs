//! A body of `/present` of any content type, with the right credentials: the value is served where it belongs and taken
//! away again by `/cleanup`, or refused without a word of it.
//!
//! The input is the content type up to the end of its line, and the body.

#![no_main]

use std::cell::OnceCell;

use acmezone::store::now;
use acmezone::zone::{Name, TxtValue};
use acmezone_fuzz::house::{House, name};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sha2::{Digest, Sha256};

thread_local! {
    static DOOR: OnceCell<(House, HeaderMap, Name)> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|octet| *octet == b'\n') else { return };
    let Ok(kind) = HeaderValue::from_bytes(&input[..end]) else { return };
    DOOR.with(|door| {
        let (house, headers, label) = door.get_or_init(open);
        let mut headers = headers.clone();
        headers.insert("content-type", kind);
        let served =
            || -> Vec<TxtValue> { house.writer.live().txt_set(label).expect("a label").live(now()).cloned().collect() };
        let present = house.post("/present", headers.clone(), &input[end + 1..]);
        if present.0 == 200 {
            let (name, value) = posted(&present.1);
            assert!(house.writer.live().challenge_name(&name).is_ok_and(|kept| kept == *label), "{name}");
            assert!(value.len() == 43 && served().iter().map(TxtValue::octets).eq([value.as_bytes()]), "{value}");
        }
        // With nothing there it is the same.
        for _ in 0..2 {
            assert_eq!(house.post("/cleanup", headers.clone(), &input[end + 1..]), present);
            assert_eq!(served(), []);
        }
    });
});

/// Name and value of what was echoed: all of it, and nothing else.
fn posted(echo: &str) -> (Name, String) {
    let mut echo: Value = serde_json::from_str(echo).expect("JSON");
    let mut text = |key| echo.as_object_mut().expect("an object").remove(key)?.as_str().map(str::to_owned);
    let bare = |text: &str| name(text.strip_prefix("*.").unwrap_or(text));
    let posted = match (text("fqdn"), text("value")) {
        (Some(fqdn), Some(value)) => (bare(&fqdn), value),
        _ => {
            let (domain, _, key) = (text("domain").expect("a domain"), text("token"), text("keyAuth").expect("a key"));
            let challenge = bare(&domain).child(b"_acme-challenge").expect("room");
            (challenge, URL_SAFE_NO_PAD.encode(Sha256::digest(key)))
        }
    };
    assert_eq!(echo, Value::Object(Default::default()));
    posted
}

fn open() -> (House, HeaderMap, Name) {
    let house = House::default();
    let registration = house.register();
    let credentials = format!("{}:{}", registration.account.username, registration.credential.reveal());
    let basic = format!("Basic {}", STANDARD.encode(credentials)).parse().expect("a header");
    let headers = HeaderMap::from_iter([("authorization".parse().expect("a name"), basic)]);
    house.wait(house.writer.add_alias(name("shop.test"), registration.grant.label.clone()));
    (house, headers, registration.grant.name().expect("a name"))
}
