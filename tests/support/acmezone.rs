//! The server itself, as a process of the real binary in a folder of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Answer};
use super::ports::free_port;
use super::subprocess::{Finished, Subprocess, run};

/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// A running server on 127.0.0.1. The ports and the folder stay the same over restarts.
pub struct Acmezone {
    folder: TempDir,
    pub dns: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
    process: Option<Subprocess>,
}

/// What `/register` answers.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Registered {
    pub username: String,
    pub password: String,
    pub fulldomain: String,
    pub subdomain: String,
}

impl Acmezone {
    /// A server with open registration and the given tables (`[[zone]]`, `[[ca]]`, …) after the addresses.
    pub fn start(tables: &str) -> Acmezone {
        let mut server = Acmezone::prepare(tables);
        server.restart();
        server
    }

    /// Writes the configuration and starts nothing yet; files can be put beside it first.
    pub fn prepare(tables: &str) -> Acmezone {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [dns, api, admin] = [(); 3].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let server = Acmezone { folder, dns, api, admin, process: None };
        server.configure(tables);
        server
    }

    /// Writes the configuration anew, for the next start.
    pub fn configure(&self, tables: &str) {
        let Acmezone { dns, api, admin, .. } = self;
        let text = format!(
            "version = 1\ndata_dir = \"data\"\n[dns]\nlisten = [\"{dns}\"]\n[api]\nlisten = [\"{api}\"]\n\
             registration = \"open\"\n[admin]\nlisten = \"{admin}\"\n{tables}"
        );
        std::fs::write(self.config(), text).expect("the configuration can be written");
    }

    /// The folder of the configuration file; `data` is below it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("acmezone.toml")
    }

    /// `acmezone ARGUMENTS --config …`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// Runs a command of the command line to its end.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        run("acmezone", self.command(arguments), Duration::from_secs(120))
    }

    /// Kills what runs (SIGKILL) and starts the server again; returns when it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.run_as(Subprocess::start("acmezone", self.command(&["serve"])));
    }

    /// SIGKILL: no warning, nothing is finished.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Subprocess {
        self.process.as_mut().expect("the server was started")
    }

    /// Takes a process that was started differently and answers already, to be killed with this server.
    pub fn hold(&mut self, process: Subprocess) {
        self.process = Some(process);
    }

    /// Takes a process that was started differently, to be killed with this server; returns when it answers.
    #[track_caller]
    pub fn run_as(&mut self, mut process: Subprocess) {
        let api = self.api;
        process.wait_until(START, "the server to answer", || is_healthy(api).ok().filter(|healthy| *healthy));
        self.process = Some(process);
    }

    /// Everything the running process has logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or(String::new(), Subprocess::log)
    }

    #[track_caller]
    pub fn register(&self) -> Registered {
        let answer = http::request(self.api, "POST", "/register", &[], b"");
        assert_eq!(answer.status, 201, "{answer:?}");
        serde_json::from_str(&answer.body).expect("a registration")
    }

    /// Puts a value in by the acme-dns API.
    pub fn update(&self, account: &Registered, txt: &str) -> Answer {
        http::request(self.api, "POST", "/update", &account.headers(), account.body(txt).as_bytes())
    }
}

/// That a connection is taken is not enough: the addresses are bound before the store is opened, and served last. A
/// server of HTTPS says with an alert that it does not understand us.
fn is_healthy(api: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer[..1])?;
    const ALERT: u8 = 21; // RFC 8446 section 5.1
    if answer[0] == ALERT {
        return Ok(true);
    }
    stream.read_exact(&mut answer[1..])?;
    Ok(answer == *b"HTTP/1.1 200")
}

impl Registered {
    /// The headers that authenticate.
    pub fn headers(&self) -> [(&str, &str); 2] {
        [("X-Api-User", &self.username), ("X-Api-Key", &self.password)]
    }

    /// The account as goacmedns, and what follows it, stores the one of this domain.
    pub fn stored(&self, domain: &str, api_base: &str) -> Value {
        let Registered { username, password, fulldomain, subdomain } = self;
        json!({ domain: {
            "fulldomain": fulldomain,
            "subdomain": subdomain,
            "username": username,
            "password": password,
            "server_url": api_base,
            "allowfrom": [],
        }})
    }

    /// The body of an update.
    pub fn body(&self, txt: &str) -> String {
        format!("{{\"subdomain\":\"{}\",\"txt\":\"{txt}\"}}", self.subdomain)
    }
}
