//! The API's certificate in files: another one is used without a restart, and half of one never.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::http::Http;
use crate::support::{Acmezone, Tls, debian, poll, run, serial_shown, tls_connect};

/// Longer than the server takes between two looks at the files.
const SOON: Duration = Duration::from_secs(15);

const TABLES: &str = "[[zone]]\norigin = \"auth.example.org\"\nnameservers = [\"ns1.example.org\"]\n";

/// A server whose files are `live/chain.pem` and `live/key.pem`; `live` is a link to the folder of this pair.
fn served(pair: &Tls) -> Acmezone {
    let mut server = Acmezone::prepare(TABLES);
    link(&server, pair);
    let text = fs::read_to_string(server.config()).unwrap();
    let tls = "[api]\ntls = { certificate = \"live/certificate.pem\", private_key = \"live/key.pem\" }\n";
    fs::write(server.config(), text.replace("[api]\n", tls)).unwrap();
    server.restart();
    server
}

/// Switches the link as one step.
fn link(server: &Acmezone, pair: &Tls) {
    let [next, live] = ["next", "live"].map(|name| server.folder().join(name));
    symlink(pair.folder(), &next).unwrap();
    fs::rename(next, live).unwrap();
}

fn root(pair: &Tls) -> String {
    fs::read_to_string(pair.root_path()).unwrap()
}

/// Whether the server shows this pair, in a chain that its root vouches for.
fn shows(api: SocketAddr, pair: &Tls) -> bool {
    tls_connect(api, &root(pair), "localhost").is_ok()
}

fn wait_for(api: SocketAddr, pair: &Tls) {
    poll(SOON, "the new certificate", || shows(api, pair).then_some(()));
}

fn copy(from: &Path, to: &Path) {
    fs::write(to, fs::read(from).unwrap()).unwrap();
}

#[test]
fn a_switched_link_is_followed_and_connections_go_on() {
    let [first, second] = [Tls::new(&[]), Tls::new(&[])];
    let server = served(&first);
    let stream = tls_connect(server.api, &root(&first), "localhost").unwrap();
    let before = serial_shown(&stream);
    let mut open = Http::over(stream);
    let mut health = || open.request("GET", "/health", &[], b"").status;
    assert_eq!(health(), 200);
    link(&server, &second);
    poll(SOON, "the new certificate", || {
        // More often than a connection may be idle.
        assert_eq!(health(), 200);
        shows(server.api, &second).then_some(())
    });
    assert_eq!(health(), 200);
    let after = serial_shown(&tls_connect(server.api, &root(&second), "localhost").unwrap());
    assert_ne!(before, after);
    assert!(!shows(server.api, &first));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("the new certificate is in use")).expect(&log);
    assert!(line.contains(&after) && line.contains("not_after"), "{line}");
}

#[test]
fn half_a_pair_and_noise_change_nothing_until_the_pair_is_whole() {
    let [first, second, third] = [Tls::new(&[]), Tls::new(&[]), Tls::new(&[])];
    let (chain, key, first_root) = (first.certificate_path(), first.key_path(), root(&first));
    let server = served(&first);
    // Files of `first` from here on hold what others wrote.
    copy(&second.key_path(), &key);
    let text = fs::read_to_string(second.certificate_path()).unwrap();
    fs::write(&chain, &text[..text.len() / 2]).unwrap();
    let api = server.api;
    // Long enough for a look at them.
    let end = Instant::now() + Duration::from_secs(3);
    poll(SOON, "looks at half a pair", || {
        assert!(tls_connect(api, &first_root, "localhost").is_ok());
        (Instant::now() > end).then_some(())
    });
    fs::write(&chain, text).unwrap();
    wait_for(api, &second);
    fs::remove_file(&chain).unwrap();
    fs::write(&key, "noise").unwrap();
    assert!(shows(api, &second));
    copy(&third.certificate_path(), &chain);
    copy(&third.key_path(), &key);
    wait_for(api, &third);
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

/// A root, and the text of certificates below its one intermediate.
struct Below {
    root: String,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Below {
    fn new() -> Below {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = authority("Root");
        let root = params.self_signed(&key).unwrap().pem();
        let above = Issuer::new(params, key);
        let (params, key) = authority("Intermediate");
        let intermediate = params.signed_by(&key, &above).unwrap().pem();
        Below { root, intermediate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for localhost without its chain, and its key.
    fn leaf(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The key and the server's own certificate are there, the certificates above it are not yet: nobody could verify it.
#[test]
fn a_chain_that_is_cut_between_two_certificates_is_never_shown() {
    let (pair, below) = (Tls::new(&[]), Below::new());
    let (chain, key) = (pair.certificate_path(), pair.key_path());
    let (leaf, leaf_key) = below.leaf();
    fs::write(&chain, format!("{leaf}{}", below.intermediate)).unwrap();
    fs::write(&key, leaf_key).unwrap();
    let server = served(&pair);
    let verified = || serial_shown(&tls_connect(server.api, &below.root, "localhost").expect("a chain to the root"));
    let mut shown = verified();
    for cut in [0, "-----BEG".len()] {
        let (leaf, leaf_key) = below.leaf();
        let whole = format!("{leaf}{}", below.intermediate);
        fs::write(&key, leaf_key).unwrap();
        fs::write(&chain, &whole[..leaf.len() + cut]).unwrap();
        // Shorter than between two looks, long enough that one more likely than not comes in between.
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            assert_eq!(verified(), shown);
        }
        fs::write(&chain, whole).unwrap();
        let news = || Some(verified()).filter(|serial| *serial != shown);
        shown = poll(SOON, "the new certificate", news);
    }
}

/// Older versions are refused by the server, not by the client: OpenSSL itself would speak them here.
#[test]
fn tls_1_2_and_1_3_alone_are_spoken_rfc8996() {
    let pair = Tls::new(&[]);
    let server = served(&pair);
    let connect = |version: &str| {
        let mut command = Command::new(debian("/usr/bin/openssl"));
        command.args(["s_client", "-connect", &server.api.to_string(), "-servername", "localhost", version]);
        command.args(["-cipher", "ALL:@SECLEVEL=0", "-verify_return_error", "-CAfile"]).arg(pair.root_path());
        run("openssl s_client", command, Duration::from_secs(20))
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let text = connect(version).expect_success().output();
        assert!(text.contains(&format!("New, {name}")) && text.contains("Verify return code: 0"), "{text}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let text = connect(version).expect_failure().output();
        // protocol_version, or handshake_failure for one that names no signatures.
        let refused = ["SSL alert number 70", "SSL alert number 40"].iter().any(|alert| text.contains(alert));
        assert!(refused, "{version}: {text}");
    }
}
