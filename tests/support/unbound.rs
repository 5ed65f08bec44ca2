//! The resolver between the CA and the name servers, set as Let's Encrypt's is believed to be.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::Rtype;
use super::ports::free_port;
use super::raw_dns::{Query, RawDns};
use super::subprocess::Subprocess;
use super::tools::debian;

/// Unbound on UDP and TCP, which asks loopback servers and nobody else. Stopped on drop.
pub struct Unbound {
    port: u16,
    process: Subprocess,
    _folder: TempDir,
}

impl Unbound {
    /// Zones with the port of 127.0.0.1 where each is served: `&[("example.test", 10053), ("auth.acme.test", 10054)]`.
    /// It follows no delegation to a server on port 53: a delegated zone wants its own line.
    #[track_caller]
    pub fn start(stubs: &[(&str, u16)]) -> Unbound {
        Self::start_with(stubs, &[])
    }

    /// With more lines for the `server:` section, which win over the ones here: `&["qname-minimisation: yes"]`.
    #[track_caller]
    pub fn start_with(stubs: &[(&str, u16)], settings: &[&str]) -> Unbound {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, configuration(folder.path(), port, stubs, settings)).expect("the folder is ours");
        std::fs::write(folder.path().join("root.zone"), ROOT_ZONE).expect("the folder is ours");
        let mut command = Command::new(debian("/usr/sbin/unbound"));
        command.arg("-d").arg("-c").arg(&file);
        let process = Subprocess::start("unbound", command);
        let mut unbound = Unbound { port, process, _folder: folder };
        let server = RawDns::new(unbound.addr()).timeout(Duration::from_millis(200));
        // Unbound answers for localhost itself.
        let query = Query::new("localhost", Rtype::A).recursive().bytes();
        unbound.process.wait_until(Duration::from_secs(10), "an answer over UDP and TCP", || {
            (server.udp(&query).is_some() && server.tcp(&query).is_some()).then_some(())
        });
        unbound
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The group of its processes.
    pub fn group(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged: errors, and more with a setting `verbosity: 3`.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The root, in place of the root servers: no name exists but those of the stub zones.
const ROOT_ZONE: &str = ". 86400 SOA localhost. localhost. 1 1800 900 604800 1\n. 86400 NS localhost.\n";

fn configuration(folder: &Path, port: u16, stubs: &[(&str, u16)], settings: &[&str]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "server:
    interface: 127.0.0.1
    port: {port}
    do-ip6: no
    num-threads: 1
    username: \"\"
    chroot: \"\"
    directory: \"{folder}\"
    pidfile: \"\"
    use-syslog: no
    logfile: \"\"
    do-not-query-localhost: no
    edns-buffer-size: 1232
    use-caps-for-id: yes
    qname-minimisation: no
    harden-below-nxdomain: no
    harden-glue: yes
    harden-dnssec-stripped: yes
    cache-min-ttl: 0
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    neg-cache-size: 0
    val-sig-skew-min: 0
    val-sig-skew-max: 0
    unwanted-reply-threshold: 10000
    ede: yes
"
    );
    // Unbound answers for `test` and other reserved names itself, unless told otherwise.
    let tops: BTreeSet<_> =
        stubs.iter().filter_map(|(zone, _)| zone.trim_end_matches('.').rsplit('.').next()).collect();
    for top in tops.into_iter().filter(|top| !top.is_empty()) {
        text += &format!("    local-zone: \"{top}.\" nodefault\n    domain-insecure: \"{top}.\"\n");
    }
    for setting in settings {
        text += &format!("    {setting}\n");
    }
    text += "remote-control:\n    control-enable: no\n";
    for (zone, port) in stubs {
        text += &format!("stub-zone:\n    name: \"{zone}\"\n    stub-addr: 127.0.0.1@{port}\n");
    }
    if !stubs.iter().any(|(zone, _)| *zone == ".") {
        text += "auth-zone:\n    name: \".\"\n    zonefile: \"root.zone\"\n    for-downstream: no\n    fallback-enabled: no\n";
    }
    text
}
