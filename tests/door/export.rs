//! `account export`: each form is read as its client reads it, and what is in it works.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use acmezone::account::MAX_CREDENTIALS;
use acmezone::api::{Account, CreatedAccount};
use acmezone::config::Registration;
use serde_json::{Value, json};

use crate::acmedns::{TXT, body, update};
use crate::commands::Desk;
use crate::house::name;

const CLIENTS: [&str; 7] = ["lego", "traefik", "certbot", "cert-manager", "caddy", "acme.sh", "posh-acme"];

struct Shop {
    desk: Desk,
    api: SocketAddr,
    url: String,
    account: CreatedAccount,
}

impl Shop {
    /// With an account of the labels `www` and `mail`.
    async fn open() -> Shop {
        let desk = Desk::open().await;
        let api = desk.house.acmedns(Registration::Closed).await;
        let account = desk.json(&["account", "create", "--label", "www"]);
        desk.stdout(&["account", "add-label", "www", "--label", "mail"]);
        Shop { desk, api, url: format!("http://{api}"), account }
    }

    /// What goes to stdout and what to stderr.
    fn export(&self, client: &str, more: &[&str]) -> (String, String) {
        let fixed = ["account", "export", "--for", client, "www", "--server-url", &self.url];
        let output = self.desk.run(&[&fixed, more].concat());
        assert!(output.status.success(), "{client}: {output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).into()
    }

    /// The entries are complete, say what they shall, and put a value in.
    async fn works(&self, entry: &BTreeMap<String, String>) {
        let username = self.account.username.to_string();
        for (key, value) in [
            ("username", username.as_str()),
            ("subdomain", "www"),
            ("fulldomain", "www.auth.example.org"),
            ("server_url", &self.url),
        ] {
            assert_eq!(entry.get(key).map(String::as_str), Some(value), "{key} in {entry:?}");
        }
        let account = CreatedAccount { password: entry["password"].clone(), ..self.account.clone() };
        assert_ne!(account.password, self.account.password, "it is a new credential");
        assert_eq!(update(self.api, &account, &body(&account, TXT)).await.status, 200);
        assert_eq!(self.desk.house.values("www.auth.example.org"), [TXT]);
        self.desk.stdout(&["txt", "remove", "www.auth.example.org"]);
    }

    fn credentials(&self) -> usize {
        self.desk.json::<Account>(&["account", "show", "www"]).credentials
    }
}

fn entry<'a>(facts: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    facts.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The account of one domain in the JSON storage of goacmedns, all of it strings.
fn stored(storage: &Value, domain: &str) -> BTreeMap<String, String> {
    let object = storage[domain].as_object().unwrap_or_else(|| panic!("no {domain} in {storage}"));
    entry(object.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
}

/// YAML documents as JSON.
fn yaml(text: &str) -> Value {
    let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const DOMAINS: [&str; 6] =
    ["--domain", "*.Example.com", "--domain", "_acme-challenge.example.com.", "--domain", "b.test"];

#[tokio::test(flavor = "multi_thread")]
async fn lego_and_traefik_get_the_storage_of_goacmedns() {
    let shop = Shop::open().await;
    for client in ["lego", "traefik"] {
        let (file, said) = shop.export(client, &DOMAINS);
        let storage: Value = serde_json::from_str(&file).unwrap();
        assert_eq!(storage.as_object().unwrap().keys().collect::<Vec<_>>(), ["b.test", "example.com"]);
        for domain in ["example.com", "b.test"] {
            assert_eq!(stored(&storage, domain).len(), 5);
            shop.works(&stored(&storage, domain)).await;
            let record = format!("  _acme-challenge.{domain}.  IN  CNAME  www.auth.example.org.\n");
            assert!(said.contains(&record), "{said}");
        }
        assert!(said.contains(&format!("ACME_DNS_API_BASE={} ", shop.url)), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_gets_its_registration_and_is_told_its_ini() {
    let shop = Shop::open().await;
    shop.desk.stdout(&["account", "allow-from", "www", "127.0.0.0/8"]);
    let (file, said) = shop.export("certbot", &DOMAINS);
    let storage: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(storage["example.com"]["allowfrom"], json!(["127.0.0.0/8"]));
    shop.works(&stored(&storage, "example.com")).await;
    let ini = entry(said.lines().filter_map(|line| line.split_once(" = ")));
    assert_eq!(ini["dns_acmedns_api_url"], shop.url);
    assert!(ini["dns_acmedns_registration_file"].starts_with("/etc/letsencrypt/"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cert_manager_gets_a_secret_and_the_solver_for_the_issuer() {
    let shop = Shop::open().await;
    let (file, _) = shop.export("cert-manager", &DOMAINS);
    let secret = yaml(&file);
    assert_eq!(
        (&secret["apiVersion"], &secret["kind"], &secret["type"]),
        (&json!("v1"), &json!("Secret"), &json!("Opaque"))
    );
    let storage: Value = serde_json::from_str(secret["stringData"]["acmedns.json"].as_str().unwrap()).unwrap();
    shop.works(&stored(&storage, "example.com")).await;
    shop.works(&stored(&storage, "b.test")).await;
    let issuer: Vec<_> = file.lines().filter_map(|line| line.strip_prefix("# ")).skip(1).collect();
    let solver = &yaml(&issuer.join("\n"))["spec"]["acme"]["solvers"][0]["dns01"]["acmeDNS"];
    assert_eq!(solver["host"], shop.url);
    assert_eq!(solver["accountSecretRef"], json!({ "name": secret["metadata"]["name"], "key": "acmedns.json" }));
}

/// A Caddyfile's blocks as a tree: words, the last of a line perhaps opening a block (one word a line is not told apart).
fn caddyfile(words: &mut dyn Iterator<Item = Vec<&str>>) -> Value {
    let mut block = serde_json::Map::new();
    while let Some(line) = words.next() {
        match line.as_slice() {
            ["}"] => break,
            [key, "{"] => drop(block.insert(key.to_string(), caddyfile(words))),
            [key, value, "{"] => drop(block.insert(format!("{key} {value}"), caddyfile(words))),
            [key, value] => drop(block.insert(key.to_string(), json!(value))),
            line => panic!("{line:?}"),
        }
    }
    Value::Object(block)
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_gets_a_block_for_a_site() {
    let shop = Shop::open().await;
    let parsed = |file: &str| {
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        caddyfile(&mut lines.map(|line| line.split_whitespace().collect::<Vec<_>>()))["tls"]["dns acmedns"].clone()
    };
    let (file, said) = shop.export("caddy", &DOMAINS);
    for domain in ["example.com", "b.test"] {
        shop.works(&stored(&parsed(&file)["config"], domain)).await;
    }
    assert!(said.contains("import"), "{said}");
    // without domains the form for all of them, which knows no full domain
    let (file, _) = shop.export("caddy", &[]);
    let mut one = stored(&json!({ "all": parsed(&file) }), "all");
    assert_eq!(one.insert("fulldomain".into(), "www.auth.example.org".into()), None);
    shop.works(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_sh_gets_lines_for_a_shell() {
    let shop = Shop::open().await;
    let (file, said) = shop.export("acme.sh", &["--domain", "example.com"]);
    let path = shop.desk.house.folder.path().join("acmedns.sh");
    std::fs::write(&path, file).unwrap();
    let mut shell = Command::new("/bin/sh");
    let output = shell.args(["-euc", ". \"$0\"; env"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let environment = String::from_utf8(output.stdout).unwrap();
    let exported = entry(environment.lines().filter_map(|line| line.strip_prefix("ACMEDNS_")?.split_once('=')));
    let mut facts: BTreeMap<_, _> = exported.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect();
    facts.insert("server_url".into(), facts["base_url"].clone());
    facts.insert("fulldomain".into(), "www.auth.example.org".into());
    shop.works(&facts).await;
    assert!(said.contains("--dns dns_acmedns"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn posh_acme_gets_plugin_arguments() {
    let shop = Shop::open().await;
    let (file, _) = shop.export("posh-acme", &DOMAINS);
    assert!(file.is_ascii(), "Windows PowerShell takes a file without a mark for its own code page");
    let facts: BTreeMap<&str, &str> = file.lines().filter_map(|line| line.trim().split_once(" = ")).collect();
    assert_eq!(facts["ACMEUri"], format!("'{}'", shop.url));
    for domain in ["example.com", "b.test"] {
        let list = facts[format!("'_acme-challenge.{domain}'").as_str()];
        let list = list.strip_prefix("@('").and_then(|rest| rest.strip_suffix("')")).unwrap();
        let [subdomain, username, password, fulldomain] = list.split("', '").collect::<Vec<_>>()[..] else {
            panic!("{list}")
        };
        let facts = [("subdomain", subdomain), ("username", username), ("password", password)];
        let more = [("fulldomain", fulldomain), ("server_url", shop.url.as_str())];
        shop.works(&entry(facts.into_iter().chain(more))).await;
    }
    // a name on the standard port is what the plugin calls a server
    let url = ["account", "export", "--for", "posh-acme", "www", "--server-url", "https://acme.example.org/"];
    assert!(shop.desk.stdout(&url).contains("    ACMEServer = 'acme.example.org'\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_holds_the_credential_and_every_file() {
    let shop = Shop::open().await;
    for client in CLIENTS {
        let more = ["--domain", "example.com", "--json"];
        let (answer, _) = shop.export(client, &more);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["server_url"], &answer["domains"]), (&json!(shop.url), &json!(["example.com"])));
        assert_eq!(answer["fulldomains"], json!(["www.auth.example.org", "mail.auth.example.org"]));
        shop.works(&stored(&json!({ "it": answer }), "it")).await;
        let files = answer["files"].as_array().unwrap();
        assert_eq!(files.len(), if client == "certbot" { 2 } else { 1 });
        let password = answer["password"].as_str().unwrap();
        assert!(files[0]["content"].as_str().unwrap().contains(password), "{client}");
        assert!(files.iter().all(|file| file["name"].is_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_on_stdout_alone_and_a_missing_domain_is_told() {
    let shop = Shop::open().await;
    for client in CLIENTS {
        let (file, said) = shop.export(client, &[]);
        let word = |c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c));
        let username = shop.account.username.to_string();
        let password = file.split(word).find(|word| word.len() == 40).unwrap_or_else(|| panic!("{client}: {file}"));
        assert!(file.contains(&username) && !said.contains(password), "{client}: {said}");
        assert_eq!(said.contains("No --domain was given"), file.contains("example.com"), "{client}");
        assert!(said.contains("_acme-challenge.<your domain>.  IN  CNAME  www.auth.example.org."), "{said}");
        assert!(said.contains("mail.auth.example.org"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_too_many_says_to_rotate() {
    let shop = Shop::open().await;
    for n in 2..=MAX_CREDENTIALS {
        let (_, said) = shop.export("acme.sh", &[]);
        assert!(said.contains(&format!("The account has {n} credentials now.")), "{said}");
    }
    let export = ["account", "export", "--for", "acme.sh", "www", "--server-url", &shop.url];
    assert_eq!(shop.desk.fails(&export, "acmezone account rotate"), Some(1));
    assert_eq!(shop.credentials(), MAX_CREDENTIALS);
    assert!(shop.desk.stdout(&["account", "show", "www"]).contains("credentials:   16\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_found_in_the_configuration_or_asked_for() {
    let shop = Shop::open().await;
    let plain = std::fs::read_to_string(&shop.desk.config).unwrap();
    let with = |api: &str| std::fs::write(&shop.desk.config, format!("{plain}\n[api]\n{api}")).unwrap();
    let export = ["account", "export", "--for", "acme.sh", "www"];
    assert_eq!(shop.desk.fails(&export, "--server-url"), Some(2));
    with("listen = [\"0.0.0.0:8053\"]\nallow_plaintext = true\n");
    assert_eq!(shop.desk.fails(&export, "the API listens on 0.0.0.0:8053"), Some(2));
    assert_eq!(shop.credentials(), 1, "nothing was minted for nothing");
    let cases = [
        ("listen = [\"127.0.0.1:8053\", \"127.0.0.2:8053\"]\n", "http://127.0.0.1:8053"),
        ("listen = [\"[::1]:8053\"]\n", "http://[::1]:8053"),
        (
            "listen = [\"0.0.0.0:8053\"]\nallow_plaintext = true\nhostname = \"acme.example.org\"\n",
            "https://acme.example.org",
        ),
    ];
    for (api, url) in cases {
        with(api);
        assert!(shop.desk.stdout(&export).contains(&format!("export ACMEDNS_BASE_URL='{url}'\n")), "{api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_mint_nothing() {
    let shop = Shop::open().await;
    let fails = |arguments: &[&str]| {
        let fixed = ["account", "export", "--for", "acme.sh", "www"];
        shop.desk.fails(&[&fixed, arguments].concat(), "error: ")
    };
    let urls = [
        "acme.example.org",
        "ftp://a.test",
        "https://",
        "https://a.test/'x",
        "https://u:p@a.test",
        "https://a/?x",
        "http://a b",
    ];
    for url in urls {
        assert_eq!(fails(&["--server-url", url]), Some(2), "{url}");
    }
    for domain in ["", ".", "a..b", "a b", "a'b.test", "a\\\"b.test", "*.", "_acme-challenge."] {
        assert_eq!(fails(&["--server-url", "https://a.test", "--domain", domain]), Some(2), "{domain}");
    }
    assert_eq!(shop.desk.fails(&["account", "export", "--for", "certify", "www"], "possible values"), Some(2));
    assert_eq!(shop.desk.fails(&["account", "export", "www"], "--for"), Some(2));
    let unknown = ["account", "export", "--for", "lego", "nobody", "--server-url", "https://a.test"];
    assert_eq!(shop.desk.fails(&unknown, "no user name"), Some(1));
    assert_eq!(shop.credentials(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_label_that_was_named_is_exported() {
    let shop = Shop::open().await;
    for id in ["mail", "mail.auth.example.org", &shop.account.username.to_string()] {
        let url = ["account", "export", "--for", "acme.sh", id, "--server-url", &shop.url];
        // by its user name an account shows its first label
        assert!(shop.desk.stdout(&url).contains("export ACMEDNS_SUBDOMAIN='mail'\n"), "{id}");
    }
    assert!(shop.desk.house.writer.live().txt_set(&name("mail.auth.example.org")).is_some());
}
