//! lego's `httpreq`, with basic authentication.

use super::support::{Acmezone, Lego, Nsd, Pebble, PebbleVersion, Query, RawDns, Reply, Rtype, Unbound, verify_chain};
use super::{NAMES, OURS, PARENT};

/// Apex and wildcard at this endpoint of the server; both values are taken away afterwards.
fn lego_gets_a_wildcard_by_httpreq(path: &str) {
    let server = Acmezone::start(OURS);
    let account = server.register();
    let delegation = format!("{PARENT}_acme-challenge CNAME {}.\n", account.fulldomain);
    let nsd = Nsd::start(&[("example.test", &delegation)]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("auth.acme.test", server.dns.port())]);
    let pebble = Pebble::start(PebbleVersion::V2_10_1, unbound.addr());
    let lego = Lego::new(&pebble, "httpreq", unbound.addr())
        .domains(NAMES)
        .env("HTTPREQ_ENDPOINT", &format!("http://{}{path}", server.api))
        .env("HTTPREQ_USERNAME", &account.username)
        .env("HTTPREQ_POLLING_INTERVAL", "1");
    let lego = lego.env("HTTPREQ_PASSWORD", &"x".repeat(40));
    lego.run(&["run"]).expect_failure();
    let lego = lego.env("HTTPREQ_PASSWORD", &account.password);
    lego.run(&["run"]).expect_success();
    verify_chain(&lego.certificate_pem("example.test"), &pebble.issuance_root_pem(), NAMES);
    let left = RawDns::new(server.dns).udp(&Query::new(&account.fulldomain, Rtype::TXT).bytes());
    assert!(Reply::parse(&left.expect("an answer")).txt_values().is_empty());
}

#[test]
fn lego_gets_a_wildcard_through_httpreq() {
    lego_gets_a_wildcard_by_httpreq("");
}

#[test]
fn lego_gets_a_wildcard_through_httpreq_with_a_slash_at_the_end_of_its_endpoint() {
    lego_gets_a_wildcard_by_httpreq("/");
}
