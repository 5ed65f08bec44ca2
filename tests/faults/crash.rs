//! SIGKILL in the middle of the work.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::Rtype;
use crate::support::{Registered, poll};
use crate::{Fragile, ask, started, txt, value};

/// Values of one label, few enough to be all kept.
const PER_LABEL: usize = 10;

/// What the server has said "ok" to.
#[derive(Default)]
pub struct Acknowledged {
    pub accounts: Mutex<Vec<(Registered, Vec<String>)>>,
    pub count: AtomicUsize,
}

impl Acknowledged {
    /// Registers and updates over one connection until the server is gone, or refuses because it stops.
    pub fn work(&self, api: SocketAddr, client: usize) {
        let Ok(mut connection) = Fragile::connect(api) else { return };
        for number in 0.. {
            let Ok(account) = connection.register() else { return };
            let at = {
                let mut accounts = self.accounts.lock().unwrap();
                accounts.push((account.clone(), Vec::new()));
                accounts.len() - 1
            };
            for part in 0..PER_LABEL {
                let value = value((client * 1_000_000 + number) * PER_LABEL + part);
                let Ok((200, _)) = connection.update(&account, &value) else { return };
                self.accounts.lock().unwrap()[at].1.push(value);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let mut server = started();
    let acknowledged = Acknowledged::default();
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for client in 0..6 {
                let (acknowledged, api) = (&acknowledged, server.api);
                scope.spawn(move || acknowledged.work(api, round * 10 + client));
            }
            let enough = round * 150;
            poll(Duration::from_secs(20), "acknowledged updates", || {
                (acknowledged.count.load(Ordering::Relaxed) >= enough).then_some(())
            });
            server.kill();
        });
        server.restart();
        let accounts = acknowledged.accounts.lock().unwrap();
        for (account, values) in accounts.iter() {
            let served = txt(&server, account);
            assert!(values.iter().all(|value| served.contains(value)), "round {round}: {values:?} in {served:?}");
            // At most the one that was under way is there without its answer having come.
            assert!(served.len() <= values.len() + 1, "round {round}: {served:?}");
            assert_eq!(ask(&server, &account.fulldomain, Rtype::A).rcode.to_int(), 0, "the label is registered");
        }
        // Every account can still log in.
        let mut connection = Fragile::connect(server.api).unwrap();
        for (account, values) in accounts.iter().rev().take(50) {
            let value = values.first().cloned().unwrap_or_else(|| value(0));
            assert_eq!(connection.update(account, &value).unwrap().0, 200, "round {round}");
        }
        println!("round {round}: {} accounts, {} values", accounts.len(), acknowledged.count.load(Ordering::Relaxed));
        drop(accounts);
        forget_repeated(&acknowledged);
    }
}

/// An account that was cut off before its first answer has been given `value(0)` by the check.
fn forget_repeated(acknowledged: &Acknowledged) {
    for (_, values) in acknowledged.accounts.lock().unwrap().iter_mut().filter(|(_, values)| values.is_empty()) {
        values.push(value(0));
    }
}
