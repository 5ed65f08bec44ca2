//! The command line against the admin API: the real binary, its output and its exit codes. The runtimes have a thread
//! beside the one that waits for the binary.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use acmezone::api::{Account, CreatedAccount, Storage, Token, TxtName};

use crate::admin::serve_admin;
use crate::house::House;

pub struct Desk {
    pub house: House,
    pub config: PathBuf,
}

impl Desk {
    pub async fn open() -> Desk {
        let house = House::new();
        let (address, _) = serve_admin(&house.folder, house.writer.clone()).await;
        let config = house.folder.path().join("acmezone.toml");
        let text = format!(
            "version = 1\ndata_dir = \".\"\n[admin]\nlisten = \"{address}\"\n\
             [[zone]]\norigin = \"auth.example.org\"\nnameservers = [\"ns1.example.org\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        Desk { house, config }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acmezone"));
        command.args(arguments).arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> T {
        serde_json::from_str(&self.stdout(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The exit code, with nothing on stdout and this in the text on stderr.
    pub fn fails(&self, arguments: &[&str], said: &str) -> Option<i32> {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
        output.status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_lives_from_create_to_delete() {
    let desk = Desk::open().await;
    let text = desk.stdout(&["account", "create", "--label", "www", "--allow-from", "10.0.0.0/8"]);
    assert!(text.contains("  _acme-challenge.<your domain>.  IN  CNAME  www.auth.example.org.\n"), "{text}");
    let random: CreatedAccount = desk.json(&["account", "create"]);
    let all: Vec<Account> = desk.json(&["account", "list"]);
    assert_eq!(all.len(), 2);
    assert!(desk.stdout(&["account", "show", "www"]).contains("10.0.0.0/8"));
    assert_eq!(desk.fails(&["account", "create", "--label", "www"], "registered already"), Some(1));
    assert_eq!(desk.fails(&["account", "create", "--label", "W_W"], "lower-case"), Some(2));
    assert_eq!(desk.fails(&["account", "delete", "www"], "--yes"), Some(2));
    let fulldomain = random.fulldomain.to_string();
    assert!(desk.stdout(&["account", "delete", &fulldomain, "--yes"]).contains(&fulldomain));
    assert_eq!(desk.fails(&["account", "show", &fulldomain], "was deleted"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_token_lives_from_create_to_revoke() {
    let desk = Desk::open().await;
    assert_eq!(desk.stdout(&["token", "list"]), "There are no registration tokens.\n");
    let output = desk.run(&["token", "create", "--uses", "2", "--expires", "30d", "--note", "web 7"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (token, id) = (fact("token:"), fact("id:"));
    assert!(text.contains(&format!("\n  Authorization: Bearer {token}\n")), "{text}");
    assert!(text.contains(&format!("\n  https://<host name of the API>/{token}\n")), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no effect yet"));
    let list = desk.stdout(&["token", "list"]);
    assert!(
        list.contains(&id) && (list.contains("in 30 days") || list.contains("in 29 days")) && list.contains("web 7"),
        "{list}"
    );
    assert!(!list.contains(&token));
    assert_eq!(desk.stdout(&["token", "revoke", &id]), format!("revoked {id}: no account was made with it\n"));
    assert!(desk.stdout(&["token", "list"]).contains("revoked"));
    let all: Vec<Token> = desk.json(&["token", "list"]);
    assert_eq!((all[0].id.as_str(), all[0].uses_left), (id.as_str(), Some(2)));
    assert_eq!(desk.fails(&["token", "revoke", "nonsense"], "there is no registration token"), Some(1));
    assert_eq!(desk.fails(&["token", "create", "--uses", "0"], "0"), Some(2));
    assert_eq!(desk.fails(&["token", "create", "--expires", "2001-01-01"], "expired already"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_storage_lives_from_create_to_revoke() {
    let desk = Desk::open().await;
    let text = desk.stdout(&[
        "storage",
        "create",
        "--domain",
        "example.com",
        "--domain",
        "www.example.com",
        "--domain",
        "*.Example.com.",
        "--note",
        "web 7",
    ]);
    let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (address, id) = (fact("address:"), fact("id:"));
    assert!(address.starts_with("https://<host name of the API>/storage/"), "{text}");
    assert!(text.contains(&format!("\n  ACME_DNS_STORAGE_BASE_URL={address}\n")), "{text}");
    let all: Vec<Storage> = desk.json(&["storage", "list"]);
    let [only] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((only.id.as_str(), only.note.as_str(), only.domains.len()), (id.as_str(), "web 7", 2));
    for stored in &only.domains {
        let record = format!("\n  _acme-challenge.{}.  IN  CNAME  {}.\n", stored.domain, stored.fulldomain);
        assert!(text.contains(&record), "{text}");
    }
    assert_ne!(only.domains[0].fulldomain, only.domains[1].fulldomain);
    let list = desk.stdout(&["storage", "list"]);
    assert!(list.lines().count() == 3 && list.contains("www.example.com"), "{list}");
    assert_eq!(desk.stdout(&["storage", "revoke", &id]), format!("revoked {id} and the credentials got from it: 0\n"));
    assert_eq!(desk.stdout(&["storage", "list"]), "There are no HTTP storages.\n");
    assert_eq!(desk.fails(&["storage", "revoke", &id], "there is no storage"), Some(1));
    assert_eq!(desk.fails(&["storage", "create"], "--domain"), Some(2));
    assert_eq!(
        desk.fails(&["storage", "create", "--domain", "_acme-challenge.example.com"], "name the domain"),
        Some(1)
    );
    assert_eq!(desk.fails(&["storage", "create", "--domain", "b\u{fc}cher.example"], "ASCII"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_added_removed_and_listed() {
    let desk = Desk::open().await;
    let name = "_acme-challenge.example.net";
    let values = |txt: TxtName| txt.values.into_iter().map(|held| held.value).collect::<Vec<_>>();
    assert_eq!(values(desk.json(&["txt", "set", name, "a", "b c"])), ["a", "b c"]);
    assert_eq!(values(desk.json(&["txt", "add", name, r"\000&?/%", "d"])), ["a", "b c", r"\000&?/%", "d"]);
    assert_eq!(values(desk.json(&["txt", "remove", name, "a", r"\000&?/%"])), ["b c", "d"]);
    let text = desk.stdout(&["txt", "list"]);
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("\"b c\"  in 60 minutes") || text.contains("\"b c\"  in 59 minutes"), "{text}");
    assert_eq!(desk.stdout(&["txt", "remove", name]), format!("{name} has no values.\n"));
    assert_eq!(desk.stdout(&["txt", "list"]), "No name has values.\n");
    assert_eq!(desk.fails(&["txt", "set", "example.com", "a"], "in no zone of this server"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_status_and_certificates_are_shown() {
    let desk = Desk::open().await;
    assert!(desk.stdout(&["zone", "list"]).contains("_acme-challenge.example.net"));
    assert!(desk.stdout(&["zone", "show", "auth.example.org"]).contains("\nauth.example.org. 3600 IN NS ns1."));
    assert!(desk.stdout(&["status"]).contains("labels:               0\n"));
    assert_eq!(desk.stdout(&["cert", "list"]), "No certificates are configured.\n");
    assert_eq!(desk.fails(&["cert", "issue", "x"], "no [[certificate]] with the name `x`"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_checked_without_a_server() {
    let desk = Desk::open().await;
    let output = desk.run(&["check"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("configuration ok: 1 zone, 0 certificates, DNS on "));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not judged: "));
    std::fs::write(&desk.config, "version = 1\nnonsense = 1\n[dns]\nlisten = 1\n").unwrap();
    assert_eq!(desk.fails(&["check"], "nonsense"), Some(2));
    assert_eq!(desk.fails(&["check"], "listen = 1"), Some(2));
    assert_eq!(desk.fails(&["status"], "nonsense"), Some(2));
    std::fs::remove_file(&desk.config).unwrap();
    assert_eq!(desk.fails(&["check"], "acmezone.toml"), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_named() {
    let desk = Desk::open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let text = std::fs::read_to_string(&desk.config).unwrap();
    let served = text.lines().find(|line| line.starts_with("listen")).unwrap();
    std::fs::write(&desk.config, text.replace(served, &format!("listen = \"{free}\""))).unwrap();
    assert_eq!(desk.fails(&["status"], &format!("no server answers at {free}")), Some(1));
    assert_eq!(desk.fails(&["status"], "Is `acmezone serve` running"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_token_is_explained() {
    let desk = Desk::open().await;
    let token = desk.house.folder.path().join("admin-token");
    std::fs::write(&token, "x".repeat(40)).unwrap();
    assert_eq!(desk.fails(&["status"], "does not know the token"), Some(1));
    std::fs::write(&token, "not\na token\n").unwrap();
    assert_eq!(desk.fails(&["status"], "it holds no token"), Some(1));
    std::fs::remove_file(&token).unwrap();
    assert_eq!(desk.fails(&["status"], "The server makes this file when it starts"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_read_enough_is_no_failure() {
    let desk = Desk::open().await;
    let mut child = desk.command(&["zone", "show", "auth.example.org"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_stdout_is_a_failure() {
    let desk = Desk::open().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = desk.command(&["status"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
