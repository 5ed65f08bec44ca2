//! Programs that read the files: they serve with them, and with the next ones when the deploy program says so.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use acmezone::api::{CertificateState, Progress};

use crate::house::{Ca, House, PATIENCE};
use crate::support::{
    PebbleVersion, Subprocess, debian, free_port, poll, poll_async, run, serial_shown, tls_connect, verify_chain,
};

const NAMES: [&str; 2] = ["*.delegated.test", "delegated.test"];

/// A server that reads its configuration and the certificate's files from these places.
struct Reader {
    program: &'static str,
    arguments: &'static [&'static str],
    /// For an address, the certificate's folder and one of its own.
    configuration: fn(SocketAddr, &Path, &Path) -> String,
    /// What makes it read the files again.
    signal: &'static str,
}

const HAPROXY: Reader = Reader {
    program: "/usr/sbin/haproxy",
    arguments: &["-W", "-f"],
    configuration: |address, certificate, _| {
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend front\n \
             bind {address} ssl crt {}/combined.pem\n http-request return status 200\n",
            certificate.display()
        )
    },
    signal: "USR2",
};

const NGINX: Reader = Reader {
    program: "/usr/sbin/nginx",
    arguments: &["-e", "stderr", "-c"],
    configuration: |address, certificate, own| {
        let (certificate, own) = (certificate.display(), own.display());
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|folder| format!("{folder}_temp_path {own}/{folder};\n"))
            .concat();
        format!(
            "daemon off;\npid {own}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}server {{\n\
             listen {address} ssl;\nssl_certificate {certificate}/fullchain.pem;\n\
             ssl_certificate_key {certificate}/privkey.pem;\nreturn 200;\n}}\n}}\n"
        )
    },
    signal: "HUP",
};

async fn serves_each_new_certificate(reader: Reader) {
    let mut house = House::new();
    let own = tempfile::tempdir().unwrap();
    let (reload, process) = (own.path().join("reload"), own.path().join("process"));
    let script = format!("#!/bin/sh\n[ ! -e {0} ] || kill -{1} $(cat {0})\n", process.display(), reader.signal);
    fs::write(&reload, script).unwrap();
    fs::set_permissions(&reload, fs::Permissions::from_mode(0o700)).unwrap();
    house.certificate = format!("combined = true\ndeploy = [{reload:?}]\n");
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let root = pebble.issuance_root_pem();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let first = poll_async(PATIENCE, "the files", || async {
        let status = server.show().await;
        status.deployment.as_ref()?.deployed_at.and(status.serial)
    })
    .await;

    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let configuration = own.path().join("configuration");
    fs::write(&configuration, (reader.configuration)(address, &house.certificate_folder(), own.path())).unwrap();
    let mut command = Command::new(debian(reader.program));
    command.args(reader.arguments).arg(&configuration);
    let mut program = Subprocess::start(reader.program, command);
    let shown = |host: &str| tls_connect(address, &root, host).map(|stream| serial_shown(&stream));
    let serial = program.wait_until(PATIENCE, "a handshake", || shown("delegated.test").ok());
    assert_eq!(serial, first);
    assert_eq!(shown("any.delegated.test").unwrap(), first);
    fs::write(&process, program.id().to_string()).unwrap();

    let lines = server.issue(true).await;
    assert!(matches!(lines.last(), Some(Progress::Done { .. })), "{lines:#?}");
    let second = server.show().await.serial.unwrap();
    assert_ne!(first, second);
    poll(PATIENCE, "the new certificate", || shown("delegated.test").ok().filter(|serial| *serial == second));
    assert!(program.is_running());
    server.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_serves_with_combined_pem_and_with_the_next_one_after_the_deploy_program() {
    serves_each_new_certificate(HAPROXY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_with_fullchain_and_privkey_and_with_the_next_ones_after_the_deploy_program() {
    serves_each_new_certificate(NGINX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_reads_pkcs12_with_keys_of_all_kinds_and_a_password_beyond_ascii_rfc7292() {
    let mut house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let password = house.folder.path().join("p12.password");
    fs::write(&password, "pässwörd – 密\n").unwrap();
    for kind in ["rsa2048", "p384"] {
        house.certificate = format!("key_type = {kind:?}\npkcs12_password_file = {password:?}\n");
        let server = house.serve(&Ca::of(&pebble), &NAMES).await;
        poll_async(PATIENCE, "a certificate", || async {
            let status = server.show().await;
            let lines = server.issue(false).await;
            let done = matches!(lines.last(), Some(Progress::Done { .. }));
            (status.state == CertificateState::Valid && done).then_some(())
        })
        .await;
        server.handle.stop().await;
        let mut openssl = Command::new(debian("/usr/bin/openssl"));
        openssl.args(["pkcs12", "-nodes", "-in"]).arg(house.certificate_folder().join("bundle.p12"));
        openssl.arg("-passin").arg(format!("file:{}", password.display()));
        let inside = run("openssl", openssl, Duration::from_secs(10)).expect_success().stdout;
        assert!(inside.contains(&house.pem("privkey.pem")), "{kind}: {inside}");
        let (chain, root) = (house.pem("fullchain.pem"), pebble.issuance_root_pem());
        for certificate in chain.split_inclusive("-----END CERTIFICATE-----\n") {
            assert!(inside.contains(certificate.trim_start()), "{kind}: {inside}");
        }
        verify_chain(&chain, &root, &NAMES);
    }
}
