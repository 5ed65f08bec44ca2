//! What `acmezone account export` writes, given to the real client.

use crate::support::{Acmezone, Lego, Nsd, Pebble, PebbleVersion, Unbound, verify_chain};
use crate::{NAMES, OURS, PARENT};

#[test]
fn lego_issues_with_an_exported_account_and_registers_none() {
    let server = Acmezone::start(OURS);
    let closed = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), closed.replace("registration = \"open\"", "registration = \"closed\"")).unwrap();
    let mut server = server;
    server.restart();
    server.cli(&["account", "create", "--label", "customer"]).expect_success();
    let nsd = Nsd::start(&[("example.test", &format!("{PARENT}_acme-challenge CNAME customer.auth.acme.test.\n"))]);
    let unbound = Unbound::start(&[("example.test", nsd.port()), ("auth.acme.test", server.dns.port())]);
    let pebble = Pebble::start(PebbleVersion::V2_10_1, unbound.addr());
    let exported = server
        .command(&["account", "export", "--for", "lego", "customer", "--domain", "*.example.test"])
        .output()
        .unwrap();
    assert!(exported.status.success(), "{exported:?}");
    // without a base of its own lego would have to ask the server of the file, so it is told the same
    let lego =
        Lego::new(&pebble, "acme-dns", unbound.addr()).acme_dns(&format!("http://{}", server.api)).domains(NAMES);
    std::fs::write(lego.acme_dns_storage(), &exported.stdout).unwrap();
    lego.run(&["run"]).expect_success();
    verify_chain(&lego.certificate_pem("example.test"), &pebble.issuance_root_pem(), NAMES);
    assert_eq!(std::fs::read(lego.acme_dns_storage()).unwrap(), exported.stdout, "lego kept what it was given");
    let log = server.log();
    assert!(!log.contains(" registered ") && log.contains("credential added by the administrator"), "{log}");
}
