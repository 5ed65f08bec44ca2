//! Many certificates at once, each for a domain of its own and everything below it, behind a CNAME in `example.test`.

use std::fmt::Write;
use std::path::Path;

use acmezone::api::CertificateState;
use x509_parser::pem::Pem;

use crate::house::{Ca, House, PATIENCE};
use crate::support::{poll_async, verify_chain};

/// The names of the crowd's certificates, the one of the house itself first.
pub fn certificates(count: usize) -> Vec<String> {
    let others = (1..count).map(|index| format!("site-{index}"));
    std::iter::once("site".to_owned()).chain(others).collect()
}

/// What a certificate of the crowd is for.
pub fn names(certificate: &str) -> [String; 2] {
    [format!("{certificate}.example.test"), format!("*.{certificate}.example.test")]
}

/// A house with so many certificates to obtain, so many of them at the same time; all records are made.
pub async fn crowd(ca: &Ca, mut house: House, count: usize, orders: usize) -> House {
    house.tables = format!("[acme]\norders = {orders}\n");
    for certificate in &certificates(count)[1..] {
        let names = names(certificate);
        writeln!(house.tables, "[[certificate]]\nname = {certificate:?}\nnames = {names:?}").unwrap();
    }
    // Nobody asks the CA for anything before the records are there.
    let server = house.serve(ca, &own(&names("site"))).await;
    let records = poll_async(PATIENCE, "the records to make", || async {
        let all = server.client.certificates().await.ok()?;
        let waiting = all.iter().all(|status| status.state == CertificateState::WaitingForDelegation);
        waiting.then(|| all.into_iter().flat_map(|status| status.missing_records).collect::<Vec<_>>())
    });
    let records = records.await;
    server.handle.stop().await;
    assert_eq!(records.len(), count, "{records:?}");
    house.add_record(&records.join("\n"));
    house
}

/// Two names as the house takes them.
pub fn own(names: &[String; 2]) -> [&str; 2] {
    [&names[0], &names[1]]
}

/// Panics unless the files of a certificate are there and belong together: key, chain to this root, names.
#[track_caller]
pub fn check_files(certs: &Path, certificate: &str, root: &str) {
    let read = |file: &str| std::fs::read_to_string(certs.join(certificate).join(file)).unwrap();
    let (chain, key) = (read("fullchain.pem"), rcgen::KeyPair::from_pem(&read("privkey.pem")).unwrap());
    verify_chain(&chain, root, &own(&names(certificate)));
    let leaf = Pem::iter_from_buffer(chain.as_bytes()).next().unwrap().unwrap();
    let leaf = leaf.parse_x509().unwrap();
    assert_eq!(leaf.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key), "the key of another one");
}
