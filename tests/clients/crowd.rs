//! Ten orders at once: one server, one resolver, one CA.

use std::fs;

use crate::stage::{Stage, labelled, server_with_label};
use crate::support::{Lego, PebbleVersion, Registered, TsigKey};

/// How a customer's lego puts its values in.
#[derive(Clone)]
enum Way {
    /// With an account of the acme-dns API, which others may have too.
    Account(Registered),
    /// With a key for RFC 2136.
    Key(TsigKey),
}

impl Way {
    fn target(&self) -> String {
        match self {
            Way::Account(account) => account.fulldomain.clone(),
            Way::Key(_) => labelled(),
        }
    }

    fn lego(&self, stage: &Stage, domain: &str) -> Lego {
        let provider = match self {
            Way::Account(_) => "acme-dns",
            Way::Key(_) => "rfc2136",
        };
        let lego = Lego::new(&stage.pebble, provider, stage.unbound.addr()).domains(&[domain, &format!("*.{domain}")]);
        match self {
            Way::Account(account) => {
                let lego = lego.acme_dns(&stage.api());
                let accounts = account.stored(domain, &stage.api());
                fs::write(lego.acme_dns_storage(), accounts.to_string()).expect("the folder is ours");
                lego
            }
            Way::Key(key) => lego.rfc2136(stage.server.dns, key),
        }
    }
}

/// Four share one account, and so one label, which holds eight values then; two share a key and a label.
#[test]
fn ten_orders_at_once_all_get_their_certificates() {
    let key = TsigKey::new("crowd");
    let server = server_with_label(&key);
    let shared = Way::Account(server.register());
    let mut ways = vec![shared; 4];
    ways.extend(vec![Way::Key(key); 2]);
    ways.extend((0..4).map(|_| Way::Account(server.register())));
    let domains: Vec<_> = (0..ways.len()).map(|number| format!("c{number}.example.test")).collect();
    let line = |number: usize, way: &Way| format!("_acme-challenge.c{number} CNAME {}.", way.target());
    let lines: Vec<_> = ways.iter().enumerate().map(|(number, way)| line(number, way)).collect();
    let stage = Stage::open(server, PebbleVersion::V2_10_1, &lines.join("\n"));
    std::thread::scope(|scope| {
        let stage = &stage;
        for (way, domain) in ways.iter().zip(&domains) {
            scope.spawn(move || {
                let lego = way.lego(stage, domain);
                lego.run(&["run"]).expect_success();
                stage.judge_for(&lego.certificate_pem(domain), &[domain, &format!("*.{domain}")]);
            });
        }
    });
}
