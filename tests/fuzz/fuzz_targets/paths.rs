//! Any method and path at the doors for clients: what is there answers as it does at its plain path, everything else with
//! 404 or 405; nothing redirects.
//!
//! The input is the method's number and the request target, in which `TOKEN` and `SECRET` stand for those that are good.

#![no_main]

use std::cell::RefCell;

use acmezone::account::Credential;
use acmezone::api::CreatedAccount;
use acmezone::config::Registration;
use acmezone::zone::Name;
use acmezone_fuzz::house::{House, name};
use axum::body::Body;
use axum::http::{Method, Request, Uri};
use libfuzzer_sys::fuzz_target;

/// Accounts after which a new store begins, so that memory stays bounded.
const ACCOUNTS: usize = 20_000;
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::PUT, Method::OPTIONS, Method::CONNECT];

struct Door {
    house: House,
    token: String,
    secret: String,
    accounts: usize,
}

thread_local! {
    static DOOR: RefCell<Option<Door>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    let Some((method, target)) = input.split_first() else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()].clone();
    let Ok(target) = std::str::from_utf8(target) else { return };
    DOOR.with_borrow_mut(|door| {
        let door = match door.take() {
            Some(used) if used.accounts < ACCOUNTS => door.insert(used),
            _ => door.insert(open()),
        };
        let target = target.replace("TOKEN", &door.token).replace("SECRET", &door.secret);
        let Ok(uri) = target.parse::<Uri>() else { return };
        let expected = expected(door, &method, uri.path());
        let stored = uri.path().starts_with("/storage/");
        let request = Request::builder().method(method.clone()).uri(uri).body(Body::empty()).expect("a request");
        let response = door.house.ask(request);
        assert_eq!(response.status().as_u16(), expected, "{method} {target}");
        if expected == 201 {
            door.accounts += 1;
            let created: CreatedAccount = serde_json::from_str(response.body()).expect("an account");
            assert!(door.house.writer.live().is_registered(&created.fulldomain));
        } else if expected == 200 && stored {
            let stored: CreatedAccount = serde_json::from_str(response.body()).expect("an account");
            assert_eq!(stored.fulldomain, name("account.auth.example.org"));
        }
    });
});

/// The status of the answer to a request without headers and body.
fn expected(door: &Door, method: &Method, path: &str) -> u16 {
    const MISSING: u16 = 404;
    const OTHER_METHOD: u16 = 405;
    let get = matches!(*method, Method::GET | Method::HEAD);
    let post = *method == Method::POST;
    if let ["", "storage", secret, domain] = *path.split('/').collect::<Vec<_>>()
        && !domain.is_empty()
    {
        let domain = String::from_utf8(decoded(domain)).unwrap_or_default();
        let bare = Name::parse(domain.strip_prefix("*.").unwrap_or(&domain));
        let known = decoded(secret) == door.secret.as_bytes() && bare.is_ok_and(|bare| bare == name("shop.test"));
        return match *method {
            Method::GET if known => 200,
            Method::POST if known => 400, // the body is no object
            Method::GET | Method::POST => MISSING,
            _ => OTHER_METHOD,
        };
    }
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(str::to_ascii_lowercase).collect();
    let (token, route) = match &parts[..] {
        [route] => (None, route.as_str()),
        [_, route] if matches!(route.as_str(), "register" | "update") => {
            let token =
                path.split('/').find(|part| !part.is_empty()).filter(|token| Credential::parse(token).is_some());
            if token.is_none() {
                return MISSING;
            }
            (token, route.as_str())
        }
        _ => return MISSING,
    };
    let (right, status) = match route {
        "register" => (post, if token == Some(&door.token) { 201 } else { 401 }),
        "update" => (post || *method == Method::DELETE, 401),
        "present" | "cleanup" => (post, 401),
        "account" => (get, 401),
        "health" | "openapi.json" => (get, 200),
        _ => return MISSING,
    };
    if right { status } else { OTHER_METHOD }
}

/// Without percent-encoding (RFC 3986 section 2.1); what is no code of it stays.
fn decoded(part: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => (octets.push(octet), rest = &after[2..]),
            None => (octets.push(*first), rest = after),
        };
    }
    octets
}

fn open() -> Door {
    let house = House::new(Registration::Token);
    let registration = house.register();
    let (token, _) = house.wait(house.writer.create_token(None, None, String::new()));
    let holder = Some((registration.account.username, registration.grant));
    let (secret, _) = house.wait(house.writer.create_storage(vec![name("shop.test")], holder, String::new()));
    Door { house, token: token.reveal().to_owned(), secret: secret.reveal().to_owned(), accounts: 0 }
}
