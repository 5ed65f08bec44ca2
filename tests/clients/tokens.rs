//! lego where registration needs a token: lego sends no header of the user's, so the token is in the server's address.

use crate::lego::gets_a_wildcard;
use crate::stage::OURS;
use crate::support::{Acmezone, PebbleVersion};

#[test]
fn lego_registers_with_a_token_in_the_address_and_updates_there() {
    let mut server = Acmezone::prepare(OURS);
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), text.replace("registration = \"open\"", "registration = \"token\"")).unwrap();
    server.restart();
    let made = server.cli(&["token", "create", "--uses", "1", "--json"]).expect_success().stdout;
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    let api = format!("http://{}/{token}", server.api);
    let server = gets_a_wildcard(PebbleVersion::V2_10_1, server, &api, &[]);
    let list = server.cli(&["token", "list"]).expect_success().stdout;
    assert!(list.contains("used up"), "{list}");
    let log = server.log();
    assert!(log.contains(id), "whose token it was: {log}");
    assert!(!log.contains(token), "the token is in the log");
}
