//! The API of acme-dns.

use acmezone::api::CreatedAccount;
use acmezone::config::Registration;

use super::Wanted::Door;
use super::{Row, TXT, framed, framing, judge, row};
use crate::house::House;
use crate::wire::{request, send};

const FORBIDDEN: super::Wanted = Door(401, "forbidden");
const BAD_TXT: super::Wanted = Door(400, "bad_txt");
const MALFORMED: super::Wanted = Door(400, "malformed_json_payload");
const INVALID_ALLOWFROM: super::Wanted = Door(400, "invalid_allowfrom_cidr");

#[tokio::test]
async fn malformed_requests_to_the_api_of_acme_dns_change_nothing() {
    let house = House::new();
    let address = house.acmedns(Registration::Open).await;
    let account = async || send(address, request("POST /register", &[], "")).await.json::<CreatedAccount>();
    let (account, other) = (account().await, account().await);
    let good = format!(r#"{{"subdomain":"{}","txt":"{TXT}"}}"#, account.subdomain);
    let credentials = format!("X-Api-User: {}\r\nX-Api-Key: {}\r\n", account.username, account.password);
    let mut rows = framing::rows("/update", &credentials, &good);
    rows.extend(registrations());
    rows.extend(credentials_of(&account, &good));
    rows.extend(bodies(&account, &other, &credentials));
    judge(&house, address, rows).await;
    assert!(house.writer.live().values().is_empty());
    assert_eq!(send(address, framed("POST /update", &[credentials.trim_end()], &good)).await.status, 200);
    assert_eq!(house.values(&account.fulldomain.to_string()), [TXT]);
    assert_eq!(house.writer.accounts().await.unwrap().len(), 2);
}

fn registrations() -> Vec<Row> {
    let deep = "[".repeat(8000);
    let bodies: &[(&str, super::Wanted, &[u8])] = &[
        ("a space", MALFORMED, b" "),
        ("an array", MALFORMED, b"[]"),
        ("a string", MALFORMED, br#""allowfrom""#),
        ("a number", MALFORMED, b"0"),
        ("a huge number", MALFORMED, b"1e999999"),
        ("true", MALFORMED, b"true"),
        ("NULL in capitals", MALFORMED, b"NULL"),
        ("two objects", MALFORMED, b"{}{}"),
        ("null and more", MALFORMED, b"null,"),
        ("a trailing comma", MALFORMED, br#"{"allowfrom":[],}"#),
        ("single quotes", MALFORMED, b"{'allowfrom':[]}"),
        ("a key without quotes", MALFORMED, b"{allowfrom:[]}"),
        ("a comment", MALFORMED, b"{}//"),
        ("a byte order mark", MALFORMED, b"\xef\xbb\xbf{}"),
        ("UTF-16", MALFORMED, b"\xff\xfe{\0}\0"),
        ("NUL", MALFORMED, b"\0"),
        ("a form", MALFORMED, b"allowfrom=10.0.0.0%2F8"),
        ("deep nesting", MALFORMED, deep.as_bytes()),
        ("gzip", MALFORMED, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0"),
        ("an address for a list", MALFORMED, br#"{"allowfrom":"10.0.0.0/8"}"#),
        ("an object for a list", MALFORMED, br#"{"allowfrom":{}}"#),
        ("a number in the list", MALFORMED, br#"{"allowfrom":[10]}"#),
        ("null in the list", MALFORMED, br#"{"allowfrom":[null]}"#),
        ("a list in the list", MALFORMED, br#"{"allowfrom":[["10.0.0.0/8"]]}"#),
        ("no prefix length", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.1"]}"#),
        ("a prefix length of 33", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.0/33"]}"#),
        ("a prefix length of 129", INVALID_ALLOWFROM, br#"{"allowfrom":["2001:db8::/129"]}"#),
        ("a negative prefix length", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.0/-1"]}"#),
        ("a mask", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.0/255.0.0.0"]}"#),
        ("an octet of 256", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.256/32"]}"#),
        ("an octet in octal digits", INVALID_ALLOWFROM, br#"{"allowfrom":["010.0.0.0/8"]}"#),
        ("a name", INVALID_ALLOWFROM, br#"{"allowfrom":["localhost/32"]}"#),
        ("an empty entry", INVALID_ALLOWFROM, br#"{"allowfrom":[""]}"#),
        ("NUL in an entry", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.0/8\u0000"]}"#),
        ("a good and a bad entry", INVALID_ALLOWFROM, br#"{"allowfrom":["10.0.0.0/8","x"]}"#),
        ("invalid UTF-8 in an entry", INVALID_ALLOWFROM, b"{\"allowfrom\":[\"10.0.0.0/8\xff\"]}"),
    ];
    let row = |(what, wanted, body): &(&str, super::Wanted, &[u8])| {
        row(format!("/register: {what}"), *wanted, framed("POST /register", &[], body))
    };
    bodies.iter().map(row).collect()
}

/// Users and keys with a good body.
fn credentials_of(account: &CreatedAccount, good: &str) -> Vec<Row> {
    let (user, key) = (account.username.to_string(), account.password.as_str());
    let with = |headers: String| framed("POST /update", &[&headers], good);
    let both = |user: &str, key: &str| with(format!("X-Api-User: {user}\r\nX-Api-Key: {key}"));
    let not_ascii = |name: &str| {
        let mut octets = both(&user, key);
        let at = String::from_utf8_lossy(&octets).find(name).unwrap() + name.len() + 2;
        octets[at] = 0xe9;
        octets
    };
    let rows = [
        ("none", framed("POST /update", &[], good)),
        ("a user alone", with(format!("X-Api-User: {user}"))),
        ("a key alone", with(format!("X-Api-Key: {key}"))),
        ("both empty", both("", "")),
        ("exchanged", both(key, &user)),
        ("as basic authentication", with("Authorization: Basic dTpw".to_owned())),
        ("a user twice", with(format!("X-Api-User: x\r\nX-Api-User: {user}\r\nX-Api-Key: {key}"))),
        ("a user twice in a line", both(&format!("{user}, {user}"), key)),
        ("a key twice", with(format!("X-Api-User: {user}\r\nX-Api-Key: x\r\nX-Api-Key: {key}"))),
        ("a key twice in a line", both(&user, &format!("{key}, {key}"))),
        ("a user with a digit too few", both(&user[1..], key)),
        ("a user in quotes", both(&format!("\"{user}\""), key)),
        ("a user that is no ASCII", not_ascii("X-Api-User")),
        ("a user of 8 kB", both(&"a".repeat(8192), key)),
        ("a key with a character too few", both(&user, &key[1..])),
        ("a key with a character too many", both(&user, &format!("{key}a"))),
        ("a key that is no ASCII", not_ascii("X-Api-Key")),
        ("a key in another alphabet", both(&user, &"+".repeat(40))),
    ];
    rows.into_iter().map(|(what, octets)| row(format!("credentials: {what}"), FORBIDDEN, octets)).collect()
}

/// Bodies with good credentials.
fn bodies(account: &CreatedAccount, other: &CreatedAccount, credentials: &str) -> Vec<Row> {
    let label = account.subdomain.to_string();
    let for_label = |subdomain: &str| format!(r#"{{"subdomain":{subdomain},"txt":"{TXT}"}}"#);
    let for_text = |subdomain: &str| for_label(&format!("\"{subdomain}\""));
    let with_txt = |txt: &str| format!(r#"{{"subdomain":"{label}","txt":{txt}}}"#);
    let with_text = |txt: &str| with_txt(&format!("\"{txt}\""));
    let start = with_text(TXT)[..40].to_owned();
    let octets = |before: &str, octets: &[u8], after: &str| [before.as_bytes(), octets, after.as_bytes()].concat();
    let long = "a.".repeat(130);
    let forbidden: Vec<(&str, Vec<u8>)> = vec![
        ("empty", b"".to_vec()),
        ("null", b"null".to_vec()),
        ("an array of one", format!("[{}]", with_text(TXT)).into()),
        ("a string", br#""subdomain""#.to_vec()),
        ("an object that breaks off", start.into()),
        ("an object without its end", with_text(TXT).trim_end_matches('}').into()),
        ("a comma first", with_text(TXT).replacen('{', "{,", 1).into()),
        ("a comma last", with_text(TXT).replacen('}', ",}", 1).into()),
        ("no comma", with_text(TXT).replacen(',', " ", 1).into()),
        ("single quotes", with_text(TXT).replace('"', "'").into()),
        ("a byte order mark", octets("", b"\xef\xbb\xbf", &with_text(TXT))),
        ("UTF-16", with_text(TXT).encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("NUL before it", octets("", b"\0", &with_text(TXT))),
        ("a line end inside a string", with_text(TXT).replacen(&label, &format!("{label}\n"), 1).into()),
        ("half a surrogate pair", for_text(r"\ud800").into()),
        ("a bad escape", for_text(r"\x61").into()),
        ("NaN", with_txt("NaN").into()),
        ("Infinity in a key that is not known", format!(r#"{{"x":Infinity,{}"#, &with_text(TXT)[1..]).into()),
        ("a number that is out of range", with_txt("1e999999").into()),
        ("nesting without an end", with_txt(&"[".repeat(8000)).into()),
        ("deep nesting", with_txt(&("[".repeat(4000) + &"]".repeat(4000))).into()),
        ("a form", format!("subdomain={label}&txt={TXT}").into()),
        ("XML", format!("<update><subdomain>{label}</subdomain></update>").into()),
        ("no subdomain", format!(r#"{{"txt":"{TXT}"}}"#).into()),
        ("a null subdomain", for_label("null").into()),
        ("a number as subdomain", for_label("1").into()),
        ("a list as subdomain", for_label(&format!("[\"{label}\"]")).into()),
        ("an object as subdomain", for_label("{}").into()),
        ("an empty subdomain", for_text("").into()),
        (
            "doubled subdomains, the last of another",
            with_text(TXT).replacen('}', &format!(r#","subdomain":"{}"}}"#, other.subdomain), 1).into(),
        ),
        ("the subdomain of another", for_text(other.subdomain.as_str()).into()),
        ("the full domain", for_text(&account.fulldomain.to_string()).into()),
        ("the challenge name", for_text(&format!("_acme-challenge.{label}")).into()),
        ("a dot at the end", for_text(&format!("{label}.")).into()),
        ("an empty label", for_text(".").into()),
        ("a static host", for_text("ns1").into()),
        ("an escape of the DNS", for_text(&format!(r"\\0{}{}", label.as_bytes()[0], &label[1..])).into()),
        ("a NUL in the subdomain", for_text(&format!(r"{label}\u0000")).into()),
        ("a wildcard", for_text("*").into()),
        ("letters above ASCII", for_text("kündin").into()),
        ("invalid UTF-8", octets(r#"{"subdomain":""#, b"\xff\xfe", &format!(r#"","txt":"{TXT}"}}"#))),
        ("a label of 64 octets", for_text(&"a".repeat(64)).into()),
        ("a name of 260 octets", for_text(&long).into()),
        ("a path", for_text("../../etc/passwd").into()),
        ("SQL", for_text("' OR 1=1 --").into()),
    ];
    let bad_txt: Vec<(&str, Vec<u8>)> = vec![
        ("no txt", format!(r#"{{"subdomain":"{label}"}}"#).into()),
        ("a null txt", with_txt("null").into()),
        ("a number", with_txt("1").into()),
        ("a number of 4000 digits", with_txt(&"9".repeat(300)).into()),
        ("false", with_txt("false").into()),
        ("a list", with_txt(&format!("[\"{TXT}\"]")).into()),
        ("an object", with_txt(&format!("{{\"txt\":\"{TXT}\"}}")).into()),
        ("an empty one", with_text("").into()),
        ("42 characters", with_text(&TXT[1..]).into()),
        ("44 characters", with_text(&format!("{TXT}a")).into()),
        ("padding", with_text(&format!("{}=", &TXT[1..])).into()),
        ("a character of the other base64", with_text(&format!("{}+", &TXT[1..])).into()),
        ("a space at the end", with_text(&format!("{TXT} ")).into()),
        ("a space in it", with_text(&format!("{} ", &TXT[1..])).into()),
        ("an escaped NUL", with_text(&format!("{}\\u0000", &TXT[1..])).into()),
        ("an escaped quote", with_text(&format!("{}\\\"", &TXT[1..])).into()),
        ("43 characters of two octets", with_text(&"ä".repeat(43)).into()),
        ("43 octets that are no ASCII", with_text(&format!("a{}", "ä".repeat(21))).into()),
        ("a full-width digit", with_text(&format!("{}\u{ff11}", &TXT[3..])).into()),
        ("invalid UTF-8", octets(&with_text(TXT)[..60], b"\xff", &with_text(TXT)[61..])),
        ("8000 characters", with_text(&"a".repeat(8000)).into()),
        ("doubled, the last one bad", with_text(TXT).replacen('}', r#","TXT":"bad"}"#, 1).into()),
    ];
    let credentials = credentials.trim_end();
    let rows = |kind: &'static str, wanted, bodies: Vec<(&'static str, Vec<u8>)>| {
        let methods = ["POST", "DELETE"].map(|method| {
            let row = |(what, body): &(&str, Vec<u8>)| {
                row(
                    format!("{method}: {kind}: {what}"),
                    wanted,
                    framed(&format!("{method} /update"), &[credentials], body),
                )
            };
            bodies.iter().map(row).collect::<Vec<_>>()
        });
        methods.into_iter().flatten()
    };
    [rows("body", FORBIDDEN, forbidden), rows("txt", BAD_TXT, bad_txt)].into_iter().flatten().collect()
}
