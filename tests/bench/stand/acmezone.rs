//! The real server, made ready to start on a copy of a filled store. A benchmark that takes this in has `support` too.

// No benchmark uses all of it.
#![allow(dead_code)]

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stand::fill;
use crate::stand::labels::ORIGIN;
use crate::support::free_port;

/// A server that has not started yet.
pub struct Acmezone {
    /// Starts it.
    pub command: Command,
    pub store: PathBuf,
    pub dns: SocketAddr,
    pub api: SocketAddr,
}

impl Acmezone {
    /// With `count` accounts, labels and values, in a folder that is there; and with a zone file.
    pub fn prepare(folder: &Path, count: u64, zone: &str) -> Acmezone {
        let [dns, api, admin] = [(); 3].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let data = folder.join("data");
        DirBuilder::new().mode(0o700).create(&data).expect("the folder is ours");
        let store = data.join("acmezone.db");
        fs::copy(fill::store(count), &store).expect("the store can be copied");
        fs::write(folder.join("own.zone"), zone).expect("the folder is ours");
        let config = folder.join("acmezone.toml");
        let text = format!(
            "version = 1\ndata_dir = \"data\"\n[dns]\nlisten = [\"{dns}\"]\n[api]\nlisten = [\"{api}\"]\n\
             [admin]\nlisten = \"{admin}\"\n[[zone]]\norigin = \"{ORIGIN}\"\nfile = \"own.zone\"\n"
        );
        fs::write(&config, text).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
        command.args(["serve", "--config"]).arg(config);
        Acmezone { command, store, dns, api }
    }
}

/// The static part of the zone, the same for every server.
pub const ZONE: &str = "\
$TTL 3600
@           SOA ns1 hostmaster 1 14400 3600 1209600 1
@           NS  ns1
ns1         A   192.0.2.1
";
