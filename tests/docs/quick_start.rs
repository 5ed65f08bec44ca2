//! The README's commands, run as they stand there, with other ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use acmezone::config::Config;
use tempfile::TempDir;

use crate::readme::{Block, Readme, is_shown, root};
use crate::support::{Finished, Nsd, Pebble, PebbleVersion, Subprocess, Unbound, free_port, run, tool, verify_chain};

/// The server of config/acmezone.toml, in a folder that is laid out like the project's.
struct Quick {
    folder: TempDir,
    /// Text in config/acmezone.toml and in the README, and what stands in its place here.
    changes: Vec<(String, String)>,
    dns: u16,
    _server: Subprocess,
}

impl Quick {
    fn start() -> Quick {
        let original = Config::read(&root().join("config/acmezone.toml")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for below in ["config", "zones"] {
            fs::create_dir(folder.path().join(below)).unwrap();
        }
        let zone = "zones/auth.example.org.zone";
        fs::copy(root().join(zone), folder.path().join(zone)).unwrap();

        let listeners = [original.dns.listen[0], original.api.listen[0], original.admin.listen];
        let ports = [free_port(), free_port(), free_port()];
        let config = "config/acmezone.toml";
        let mut text = fs::read_to_string(root().join(config)).unwrap();
        for (address, port) in listeners.iter().zip(ports) {
            assert_eq!(text.matches(&format!("\"{address}\"")).count(), 1, "{config}: {address}");
            text = text.replace(&format!("\"{address}\""), &format!("\"127.0.0.1:{port}\""));
        }
        fs::write(folder.path().join(config), text).unwrap();

        let program = env!("CARGO_BIN_EXE_acmezone");
        let mut command = Command::new(program);
        command.args(["serve", "--config", config]).current_dir(folder.path());
        let mut server = Subprocess::start("acmezone", command);
        let wanted = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        server.wait_until(Duration::from_secs(10), "the server to listen", || {
            wanted.iter().all(|address| TcpStream::connect(address).is_ok()).then_some(())
        });

        let changes = vec![
            (format!("-p {}", listeners[0].port()), format!("-p {}", ports[0])),
            (format!("http://{}", listeners[1]), format!("http://{}", wanted[1])),
            ("cargo run --release --quiet --".into(), format!("{program} --config {config}")),
        ];
        Quick { folder, changes, dns: ports[0], _server: server }
    }

    /// Runs commands of the README in one shell; what does not hold here is changed.
    fn run(&self, text: &str, changes: &[(&str, &str)]) -> Finished {
        let mut text = text.to_owned();
        for (from, to) in self.changes.iter().map(|(from, to)| (&**from, &**to)).chain(changes.iter().copied()) {
            text = text.replace(from, to);
        }
        let script = self.folder.path().join("script");
        fs::write(&script, text).unwrap();
        let mut command = Command::new("sh");
        command.arg("-e").arg(&script).current_dir(self.folder.path()).env("HOME", self.folder.path());
        run("the README's commands", command, Duration::from_secs(120))
    }

    /// The address of the update API.
    fn api(&self) -> &str {
        &self.changes[1].1
    }
}

fn text_of(blocks: &[Block], language: &str) -> String {
    blocks.iter().filter(|block| block.language == language).map(|block| block.text.as_str()).collect()
}

#[test]
fn the_first_sixty_seconds_are_as_shown() {
    let quick = Quick::start();
    let blocks = Readme::read().marked("quick-start");
    let commands = text_of(&blocks, "sh");
    for (from, _) in &quick.changes {
        assert!(commands.contains(from), "README.md and config/acmezone.toml differ: no `{from}`");
    }
    let finished = quick.run(&commands, &[]).expect_success();
    let printed: Vec<&str> = finished.stdout.lines().collect();
    let shown = text_of(&blocks, "text");
    let shown: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    assert!(shown.len() >= 5, "what is shown was not found");
    assert_eq!(printed.len(), shown.len(), "{printed:#?}");
    for (shown, printed) in shown.iter().zip(&printed) {
        assert!(is_shown(shown, printed), "README.md shows\n{shown}\nbut this was printed\n{printed}");
    }
}

#[test]
fn lego_gets_a_wildcard_as_described() {
    const PARENT: &str = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n";
    let quick = Quick::start();
    let mut nsd = Nsd::start(&[("example.com", PARENT)]);
    let unbound = Unbound::start(&[("example.com", nsd.port()), ("auth.example.org", quick.dns)]);
    let pebble = Pebble::start(PebbleVersion::V2_10_1, unbound.addr());

    let commands = text_of(&Readme::read().marked("lego"), "sh");
    // The CA, the resolver and the API of this test; nobody listens on port 53, where lego would look for the value.
    let lego = format!(
        "LEGO_CA_CERTIFICATES={} {} --path {} --dns.resolvers {} --dns.propagation-disable-ans ",
        pebble.root_pem_path().display(),
        tool("lego").display(),
        quick.folder.path().join("lego").display(),
        unbound.addr()
    );
    let directory = pebble.directory_url();
    let changes = [
        ("https://api.auth.example.org", quick.api()),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", &directory),
        ("\nlego ", &format!("\n{lego}")),
    ];
    for (from, _) in &changes {
        assert!(commands.contains(from), "README.md: the lines for lego have no `{from}`");
    }

    // The first run names the record, as an acme-dns server's target, and stops.
    let asked = quick.run(&commands, &changes).expect_failure().output();
    let words: Vec<&str> = asked.split_whitespace().collect();
    let target = words.iter().find(|word| word.trim_end_matches('.').ends_with(".auth.example.org"));
    let target = target.unwrap_or_else(|| panic!("no CNAME target in:\n{asked}")).trim_end_matches('.');
    nsd.replace(&[("example.com", &format!("{PARENT}_acme-challenge CNAME {target}.\n"))]);

    quick.run(&commands, &changes).expect_success();
    let chain = fs::read_to_string(quick.folder.path().join("lego/certificates/example.com.crt")).unwrap();
    verify_chain(&chain, &pebble.issuance_root_pem(), &["example.com", "*.example.com"]);
}
