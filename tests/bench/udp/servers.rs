//! The servers side by side: the same names and values, one worker, one core, no rate limit.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::SERVER_CORE;
use crate::acmezone_server::{Acmezone, ZONE};
use crate::cases::NAMES;
use crate::stand::labels::{self, ORIGIN};
use crate::stand::{fill, meter};
use crate::support::{Query, RawDns, Rtype, Subprocess, debian, free_port};
use crate::{amplification, updates};

/// A zone with 100,000 names, or a store, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server on the measured core.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// The address of the update API; port 0 where there is none.
    pub api: SocketAddr,
    process: Subprocess,
}

impl Server {
    /// Starts a program that serves on `port`; returns when it gives a good answer for a name of the zone.
    pub fn start(name: &'static str, command: Command, port: u16, is_good: impl Fn(&[u8]) -> bool) -> Server {
        let mut process = Subprocess::start(name, meter::pinned(command, SERVER_CORE));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = RawDns::new(address).timeout(Duration::from_millis(200));
        let query = Query::new(&format!("{}.{ORIGIN}", labels::label(NAMES - 1)), Rtype::TXT).bytes();
        process.wait_until(START, "an answer", || server.udp(&query).filter(|answer| is_good(answer)));
        Server { name, address, api: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), process }
    }

    /// CPU seconds that the server has used since its start.
    pub fn cpu(&self) -> f64 {
        meter::cpu_of_group(self.process.id())
    }

    /// Those of acmezone's UDP threads alone.
    pub fn cpu_of_udp(&self) -> Option<f64> {
        meter::cpu_of_threads(self.process.id(), "dns-udp")
    }
}

/// All of them, acmezone first.
pub fn all(folder: &Path) -> Vec<Server> {
    let zone = folder.join(format!("{ORIGIN}.zone"));
    let mut text = ZONE.to_owned();
    for number in 0..NAMES {
        let (label, value) = (labels::label(number), labels::value(number));
        writeln!(text, "{label} 1 TXT \"{value}\"").expect("a String takes everything");
    }
    fs::write(&zone, text).expect("the folder is ours");
    let mut servers = vec![acmezone(folder), nsd(folder, &zone), knot(folder, &zone)];
    servers.extend(hickory(folder, &zone));
    servers
}

/// NOERROR with one record, and authoritative.
fn is_hit(answer: &[u8]) -> bool {
    answer.len() > 12 && answer[2] & 4 != 0 && answer[3] & 15 == 0 && answer[6..8] == [0, 1]
}

fn acmezone(folder: &Path) -> Server {
    let zone = format!("{ZONE}{}", amplification::RECORDS);
    let prepared = Acmezone::prepare(folder, NAMES, &zone);
    fill::add(&prepared.store, updates::entries().chain(amplification::entries()));
    let server = Server::start("acmezone", prepared.command, prepared.dns.port(), is_hit);
    Server { api: prepared.api, ..server }
}

fn nsd(folder: &Path, zone: &Path) -> Server {
    let port = free_port();
    let config = folder.join("nsd.conf");
    let (place, zone) = (folder.display(), zone.display());
    // An empty user name: stay who we are. A rate limit of 0: none.
    let text = format!(
        "server:
    ip-address: 127.0.0.1@{port}
    server-count: 1
    minimal-responses: yes
    username: \"\"
    chroot: \"\"
    zonesdir: \"{place}\"
    database: \"\"
    pidfile: \"{place}/nsd.pid\"
    xfrdfile: \"{place}/xfrd.state\"
    xfrdir: \"{place}\"
    zonelistfile: \"{place}/zone.list\"
    cookie-secret-file: \"\"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: \"{ORIGIN}\"
    zonefile: \"{zone}\"
"
    );
    fs::write(&config, text).expect("the folder is ours");
    let mut command = Command::new(debian("/usr/sbin/nsd"));
    command.arg("-d").arg("-c").arg(config);
    Server::start("NSD", command, port, is_hit)
}

fn knot(folder: &Path, zone: &Path) -> Server {
    let port = free_port();
    let config = folder.join("knot.conf");
    let place = folder.join("knot");
    fs::create_dir(&place).expect("the folder is ours");
    let (place, zone) = (place.display(), zone.display());
    // Its rate limit is a module, which is not loaded.
    let text = format!(
        "server:
    rundir: \"{place}\"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: \"{place}\"
zone:
  - domain: {ORIGIN}
    storage: \"{place}\"
    file: \"{zone}\"
    zonefile-sync: -1
    journal-content: none
"
    );
    fs::write(&config, text).expect("the folder is ours");
    let program = PathBuf::from("/usr/sbin/knotd");
    assert!(program.is_file(), "{} is not there: run tests/support/install --bench", program.display());
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Server::start("Knot", command, port, is_hit)
}

/// hickory-dns, if the path has it.
fn hickory(folder: &Path, zone: &Path) -> Option<Server> {
    let path = std::env::var_os("PATH")?;
    let Some(program) =
        std::env::split_paths(&path).map(|place| place.join("hickory-dns")).find(|program| program.is_file())
    else {
        println!("hickory-dns is not installed, and left out (cargo install hickory-dns)");
        return None;
    };
    let port = free_port();
    let config = folder.join("hickory.toml");
    let text = format!(
        "listen_addrs_ipv4 = [\"127.0.0.1\"]\nlisten_port = {port}\ndirectory = \"{}\"\n[[zones]]\nzone = \"{ORIGIN}\"\n\
         zone_type = \"Primary\"\nfile = \"{}\"\n",
        folder.display(),
        zone.display()
    );
    fs::write(&config, text).expect("the folder is ours");
    let mut command = Command::new(program);
    command.arg("--quiet").arg("--config").arg(config);
    Some(Server::start("hickory-dns", command, port, is_hit))
}
