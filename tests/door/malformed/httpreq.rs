//! `httpreq` of lego and the API of acmeproxy.

use acmezone::account::AllowFrom;
use acmezone::config::Registration;
use acmezone::store::{self, RegisterLabel};
use acmezone::zone::Label;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Wanted::Door;
use super::{Row, TXT, framed, framing, judge, row};
use crate::house::House;
use crate::wire::send;

const FORBIDDEN: super::Wanted = Door(401, "forbidden");
const NOT_OWNED: super::Wanted = Door(403, "name_not_owned");
const MALFORMED: super::Wanted = Door(400, "malformed_json_payload");
const BAD_NAME: super::Wanted = Door(400, "bad_name");
const BAD_VALUE: super::Wanted = Door(400, "bad_value");
const FQDN: &str = "customer.auth.example.org.";

#[tokio::test]
async fn malformed_requests_to_httpreq_change_nothing() {
    let house = House::new();
    let address = house.acmedns(Registration::Open).await;
    let account = async |label| {
        let label = RegisterLabel::Chosen(Label::parse(label).unwrap());
        house.writer.register(AllowFrom::default(), label).await.unwrap()
    };
    let (account, other) = (account("customer").await, account("other").await);
    let basic = basic(&account.account.username.to_string(), account.credential.reveal());
    let good = record(FQDN, TXT);
    let mut rows = framing::rows("/present", &format!("{basic}\r\n"), &good);
    rows.extend(credentials(&account, &other, &good));
    for path in ["/present", "/cleanup"] {
        rows.extend(bodies().into_iter().map(|(what, wanted, headers, body)| {
            let octets = framed(&format!("POST {path}"), &[&[basic.as_str()], headers].concat(), body);
            row(format!("{path}: {what}"), wanted, octets)
        }));
    }
    judge(&house, address, rows).await;
    assert!(house.writer.live().values().is_empty());
    for (path, values) in [("/present", vec![TXT]), ("/cleanup", vec![])] {
        assert_eq!(send(address, framed(&format!("POST {path}"), &[&basic], &good)).await.status, 200);
        assert_eq!(house.values(FQDN), values);
    }
}

fn basic(user: &str, key: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{key}")))
}

fn record(fqdn: &str, value: &str) -> String {
    format!(r#"{{"fqdn":"{fqdn}","value":"{value}"}}"#)
}

/// Users and keys with a good body.
fn credentials(account: &store::Registration, other: &store::Registration, good: &str) -> Vec<Row> {
    let (user, key) = (account.account.username.to_string(), account.credential.reveal());
    let right = basic(&user, key);
    let encoded = right.rsplit(' ').next().unwrap().to_owned();
    let octets = |octets: &[u8]| format!("Authorization: Basic {}", STANDARD.encode(octets));
    let headers = [
        ("none", "X-Other: y".to_owned()),
        ("an empty header", "Authorization:".into()),
        ("a scheme alone", "Authorization: Basic".into()),
        ("no scheme", format!("Authorization: {encoded}")),
        ("another scheme", format!("Authorization: Bearer {encoded}")),
        ("the admin API's scheme", format!("Authorization: Bearer {key}")),
        ("digest authentication", format!("Authorization: Digest username=\"{user}\"")),
        ("no space after the scheme", format!("Authorization: Basic{encoded}")),
        ("a tab after the scheme", format!("Authorization: Basic\t{encoded}")),
        ("not encoded", format!("Authorization: Basic {user}:{key}")),
        ("encoded twice", octets(encoded.as_bytes())),
        ("two of them", format!("{right}\r\n{right}")),
        ("two in a line", format!("{right}, Basic {encoded}")),
        ("a good one and a bad one", format!("{right}\r\nAuthorization: Basic")),
        ("padding in the middle", format!("Authorization: Basic {}={}", &encoded[..8], &encoded[8..])),
        ("a character that is in no alphabet", format!("Authorization: Basic {}!", &encoded[1..])),
        ("cut", format!("Authorization: Basic {}", &encoded[..encoded.len() - 5])),
        ("octets that are no UTF-8", octets(b"\xff\xfe:\xff")),
        ("NUL between user and key", octets(format!("{user}\0{key}").as_bytes())),
        ("a line end after the key", octets(format!("{user}:{key}\n").as_bytes())),
        ("no colon", octets(format!("{user}{key}").as_bytes())),
        ("two colons", basic(&format!("{user}:"), key)),
        ("no user", basic("", key)),
        ("no key", basic(&user, "")),
        ("exchanged", basic(key, &user)),
        ("a user that is a label", basic("customer", key)),
        ("the key of another", basic(&user, other.credential.reveal())),
        ("the user of another", basic(&other.account.username.to_string(), key)),
        ("a key of 8 kB", basic(&user, &"a".repeat(8192))),
        ("the headers of acme-dns", format!("X-Api-User: {user}\r\nX-Api-Key: {key}")),
        ("credentials of a proxy", format!("Proxy-{right}")),
    ];
    let row = |(what, header): &(&str, String)| {
        row(format!("credentials: {what}"), FORBIDDEN, framed("POST /present", &[header], good))
    };
    headers.iter().map(row).collect()
}

type Body = (&'static str, super::Wanted, &'static [&'static str], Vec<u8>);

/// Bodies with good credentials.
fn bodies() -> Vec<Body> {
    const FORM: &[&str] = &["Content-Type: application/x-www-form-urlencoded"];
    let good = record(FQDN, TXT);
    let json = |what, body: &[u8]| (what, MALFORMED, [].as_slice(), body.to_vec());
    let text = |what, body: String| (what, MALFORMED, [].as_slice(), body.into_bytes());
    let form = |what, wanted, body: String| (what, wanted, FORM, body.into_bytes());
    let name = |what, wanted, fqdn: &str| (what, wanted, [].as_slice(), record(fqdn, TXT).into_bytes());
    let value = |what, value: &str| (what, BAD_VALUE, [].as_slice(), record(FQDN, value).into_bytes());
    let raw = |what, wanted, body: &str| (what, wanted, [].as_slice(), body.as_bytes().to_vec());
    let labels_of_63 = ["a".repeat(63).as_str(); 4].join(".");
    vec![
        json("empty", b""),
        json("null", b"null"),
        json("an empty object", b"{}"),
        json("a string", br#""fqdn""#),
        text("an array of one", format!("[{good}]")),
        text("an object without its end", good[..good.len() - 1].to_owned()),
        text("more after the object", format!("{good}x")),
        text("two objects", format!("{good}{good}")),
        text("a comma last", good.replacen('}', ",}", 1)),
        text("single quotes", good.replace('"', "'")),
        text("a key without quotes", good.replacen(r#""fqdn""#, "fqdn", 1)),
        text("a comment", format!("/**/{good}")),
        text("a byte order mark", format!("\u{feff}{good}")),
        json("UTF-16", &good.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
        text("NUL before it", format!("\0{good}")),
        text("a line end inside a string", good.replacen("customer", "customer\n", 1)),
        text("half a surrogate pair", record(r"\ud800", TXT)),
        text("nesting without an end", format!(r#"{{"fqdn":{}"#, "[".repeat(8000))),
        text("deep nesting in a key that is not known", format!(r#"{{"x":{}{}}}"#, "[".repeat(4000), "]".repeat(4000))),
        text("a huge number", r#"{"fqdn":1e999999,"value":1}"#.to_owned()),
        text("no value", format!(r#"{{"fqdn":"{FQDN}"}}"#)),
        text("no name", format!(r#"{{"value":"{TXT}"}}"#)),
        text("a null name", format!(r#"{{"fqdn":null,"value":"{TXT}"}}"#)),
        text("a number as name", format!(r#"{{"fqdn":1,"value":"{TXT}"}}"#)),
        text("a list of names", format!(r#"{{"fqdn":["{FQDN}"],"value":"{TXT}"}}"#)),
        text("a number as value", format!(r#"{{"fqdn":"{FQDN}","value":1}}"#)),
        text("a list of values", format!(r#"{{"fqdn":"{FQDN}","value":["{TXT}"]}}"#)),
        text("doubled values, the last one null", good.replacen('}', r#","Value":null}"#, 1)),
        text("half of each form", format!(r#"{{"fqdn":"{FQDN}","keyAuth":"t.k"}}"#)),
        text("a form that is not called one", format!("fqdn={FQDN}&value={TXT}")),
        form("an empty form", MALFORMED, String::new()),
        form("a form without a value", MALFORMED, format!("fqdn={FQDN}")),
        form("a form with other keys", MALFORMED, format!("name={FQDN}&txt={TXT}")),
        form("a form with an empty value", BAD_VALUE, format!("fqdn={FQDN}&value=")),
        form("a form with a broken escape", BAD_VALUE, format!("fqdn={FQDN}&value=%zz{}", &TXT[1..])),
        form("a form with octets that are no UTF-8", NOT_OWNED, format!("fqdn=%ff.{FQDN}&value={TXT}")),
        form("a form with NUL in the name", NOT_OWNED, format!("fqdn=%00.{FQDN}&value={TXT}")),
        name("an empty name", BAD_NAME, ""),
        name("a dot and a name", BAD_NAME, ".customer.auth.example.org"),
        name("an empty label", BAD_NAME, "customer..auth.example.org."),
        name("two dots at the end", BAD_NAME, "customer.auth.example.org.."),
        name("a wildcard of nothing", BAD_NAME, "*."),
        name("a label of 64 octets", BAD_NAME, &format!("{}.{FQDN}", "a".repeat(64))),
        name("a name of 256 octets", BAD_NAME, &format!("{labels_of_63}.")),
        name("a name of 8000 octets", BAD_NAME, &"a.".repeat(4000)),
        name("an escape that is too large", BAD_NAME, r"\\256.auth.example.org"),
        name("an escape that breaks off", BAD_NAME, r"customer.auth.example.org\\"),
        name("an escape with a letter in it", BAD_NAME, r"\\09x.auth.example.org"),
        name("an escaped dot", NOT_OWNED, r"customer\\.auth.example.org"),
        name("letters above ASCII", NOT_OWNED, "kündin.auth.example.org"),
        name("the same as an A-label", NOT_OWNED, "xn--kndin-kva.auth.example.org"),
        name("a space in front", NOT_OWNED, " customer.auth.example.org"),
        name("the root", NOT_OWNED, "."),
        name("the zone", NOT_OWNED, "auth.example.org"),
        name("the label of another", NOT_OWNED, "other.auth.example.org"),
        name("the challenge of another", NOT_OWNED, "_acme-challenge.other.auth.example.org"),
        name("a label that is not registered", NOT_OWNED, "nobody.auth.example.org"),
        name("below the label", NOT_OWNED, "x.customer.auth.example.org"),
        name("the challenge of a challenge", NOT_OWNED, "_acme-challenge._acme-challenge.customer.auth.example.org"),
        name("the challenge of a static host", NOT_OWNED, "_acme-challenge.ns1.auth.example.org"),
        name("the challenge of the zone", NOT_OWNED, "_acme-challenge.auth.example.org"),
        name("a zone of challenges", NOT_OWNED, "_acme-challenge.example.net"),
        name("a name out of our zones", NOT_OWNED, "_acme-challenge.example.com."),
        name("a name with our zone in front", NOT_OWNED, "customer.auth.example.org.example.com"),
        value("an empty value", ""),
        value("42 characters", &TXT[1..]),
        value("44 characters", &format!("{TXT}a")),
        value("padding", &format!("{}=", &TXT[1..])),
        value("a character of the other base64", &format!("{}/", &TXT[1..])),
        value("a space at the end", &format!("{TXT} ")),
        value("an escaped NUL", &format!("{}\\u0000", &TXT[1..])),
        value("43 octets that are no ASCII", &format!("a{}", "ä".repeat(21))),
        value("8000 characters", &"a".repeat(8000)),
        raw("no key authorization", MALFORMED, r#"{"domain":"customer.auth.example.org","token":"t"}"#),
        raw("an empty one", BAD_VALUE, r#"{"domain":"customer.auth.example.org","token":"","keyAuth":""}"#),
        raw("one that is no string", MALFORMED, r#"{"domain":"customer.auth.example.org","keyAuth":{}}"#),
        raw("no domain", MALFORMED, r#"{"token":"t","keyAuth":"t.k"}"#),
        raw("an empty domain", BAD_NAME, r#"{"domain":"","token":"t","keyAuth":"t.k"}"#),
        raw("the domain of somebody", NOT_OWNED, r#"{"domain":"example.com","token":"t","keyAuth":"t.k"}"#),
        raw(
            "a challenge as domain",
            NOT_OWNED,
            r#"{"domain":"_acme-challenge.customer.auth.example.org","keyAuth":"t.k"}"#,
        ),
    ]
}
