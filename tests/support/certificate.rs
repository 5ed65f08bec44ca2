//! Certificates: those that the tests' own servers show, and judging those that a CA issued.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::subprocess::run;
use super::tools::debian;

/// A new CA and a certificate of it for a server on loopback, as PEM files, which go when this is dropped.
pub struct Tls {
    folder: TempDir,
}

impl Tls {
    /// For `localhost`, 127.0.0.1 and the given names.
    pub fn new(more_names: &[&str]) -> Tls {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tls = Tls { folder };

        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "TLS root of a test");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let root = params.self_signed(&key).expect("the parameters are sound");
        let issuer = Issuer::new(params, key);

        let names = ["localhost", "127.0.0.1"].iter().chain(more_names).map(|&name| name.to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).expect("the names are DNS names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &issuer).expect("the parameters are sound");

        let files = [
            (tls.root_path(), root.pem()),
            (tls.certificate_path(), certificate.pem()),
            (tls.key_path(), key.serialize_pem()),
        ];
        for (path, text) in files {
            std::fs::write(path, text).expect("the folder is ours");
        }
        tls
    }

    /// The CA's certificate, for whoever is to trust the server.
    pub fn root_path(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub fn certificate_path(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn key_path(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Panics unless OpenSSL accepts the chain, leaf first, as a server's under that root, and the leaf is for these names
/// and no others.
#[track_caller]
pub fn verify_chain(chain_pem: &str, root_pem: &str, names: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [chain, root] = ["chain.pem", "root.pem"].map(|name| folder.path().join(name));
    std::fs::write(&chain, chain_pem).expect("the folder is ours");
    std::fs::write(&root, root_pem).expect("the folder is ours");
    // Of the file to be judged OpenSSL takes the first certificate: the leaf.
    let mut command = Command::new(debian("/usr/bin/openssl"));
    command.args(["verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-CAfile"]).arg(&root);
    command.arg("-untrusted").arg(&chain).arg(&chain);
    run("openssl verify", command, Duration::from_secs(10)).expect_success();
    let wanted: BTreeSet<_> = names.iter().map(|name| name.to_string()).collect();
    assert_eq!(names_in(chain_pem), wanted, "the names in the certificate");
}

/// The DNS names of the first certificate in a PEM text. Panics on an alternative name of another kind.
#[track_caller]
pub fn names_in(pem: &str) -> BTreeSet<String> {
    let first = Pem::iter_from_buffer(pem.as_bytes()).next().expect("a PEM block").expect("a sound PEM block");
    let certificate = first.parse_x509().expect("a certificate");
    let names = certificate.subject_alternative_name().expect("at most one extension").expect("alternative names");
    let dns_name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.to_string(),
        other => panic!("{other:?} is no DNS name"),
    };
    names.value.general_names.iter().map(dns_name).collect()
}
