//! A name server for the parent zones, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::free_port;
use super::raw_dns::{Query, RawDns};
use super::reply::Reply;
use super::subprocess::{Subprocess, run};
use super::tools::debian;
use super::{Rcode, Rtype};

const DEADLINE: Duration = Duration::from_secs(10);

/// NSD with some zones. Stopped on drop.
pub struct Nsd {
    port: u16,
    folder: TempDir,
    settings: String,
    process: Option<Subprocess>,
}

impl Nsd {
    /// Serves zones given as origin and master-file text (relative names and `@` are fine); waits until it answers.
    #[track_caller]
    pub fn start(zones: &[(&str, &str)]) -> Nsd {
        Nsd::start_with("", zones)
    }

    /// The same with more lines in its `server:` clause.
    #[track_caller]
    pub fn start_with(settings: &str, zones: &[(&str, &str)]) -> Nsd {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut nsd = Nsd { port: free_port(), folder, settings: settings.to_owned(), process: None };
        nsd.replace(zones);
        nsd
    }

    /// Serves these zones and no others from the return on, whatever their serial numbers. For an instant in between
    /// there is no server.
    #[track_caller]
    pub fn replace(&mut self, zones: &[(&str, &str)]) {
        let folder = self.folder.path();
        std::fs::write(folder.join("nsd.conf"), configuration(folder, self.port, &self.settings, zones))
            .expect("the folder is ours");
        for (origin, text) in zones {
            let file = folder.join(file_name(origin));
            std::fs::write(&file, text).expect("the folder is ours");
            let mut check = Command::new(debian("/usr/sbin/nsd-checkzone"));
            check.arg(origin).arg(&file);
            run("nsd-checkzone", check, DEADLINE).expect_success();
        }
        // The old server lets go of the port before the new one asks for it.
        self.process = None;
        let mut command = Command::new(debian("/usr/sbin/nsd"));
        command.arg("-d").arg("-c").arg(folder.join("nsd.conf"));
        let mut process = Subprocess::start("nsd", command);
        let server = RawDns::new(self.addr()).timeout(Duration::from_millis(200));
        process.wait_until(DEADLINE, "answers for every zone", || {
            let mut origins = zones.iter().map(|(origin, _)| Query::new(origin, Rtype::SOA).bytes());
            origins.all(|query| is_served(server.udp(&query)) && is_served(server.tcp(&query))).then_some(())
        });
        self.process = Some(process);
    }

    /// The group of its processes.
    pub fn group(&self) -> u32 {
        self.process.as_ref().map_or(0, Subprocess::id)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

fn is_served(reply: Option<Vec<u8>>) -> bool {
    reply
        .map(|bytes| Reply::parse(&bytes))
        .is_some_and(|reply| reply.header.aa() && reply.header_rcode() == Rcode::NOERROR && reply.answer.len() == 1)
}

fn file_name(origin: &str) -> String {
    format!("{}.zone", origin.trim_end_matches('.'))
}

fn configuration(folder: &Path, port: u16, settings: &str, zones: &[(&str, &str)]) -> String {
    let folder = folder.display();
    // An empty user name: stay who we are. A rate limit of 0: none.
    let mut text = format!(
        "server:
    ip-address: 127.0.0.1@{port}
    server-count: 1
    username: \"\"
    chroot: \"\"
    zonesdir: \"{folder}\"
    database: \"\"
    pidfile: \"{folder}/nsd.pid\"
    xfrdfile: \"{folder}/xfrd.state\"
    xfrdir: \"{folder}\"
    zonelistfile: \"{folder}/zone.list\"
    cookie-secret-file: \"\"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    refuse-any: no
{settings}
remote-control:
    control-enable: no
"
    );
    for (origin, _) in zones {
        let file = file_name(origin);
        text += &format!("zone:\n    name: \"{origin}\"\n    zonefile: \"{file}\"\n");
    }
    text
}
