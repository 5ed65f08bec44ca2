//! Files that change: what is in use, and what is told.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const NOT_AFTER: Timestamp = 1_830_297_600; // 2028-01-01

struct Files {
    folder: TempDir,
    watch: Watch,
    begin: Instant,
}

/// Self-signed: chain and key.
fn made() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["api.example.org".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, private_key] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
        let (chain, key) = made();
        fs::write(&certificate, chain).unwrap();
        fs::write(&private_key, key).unwrap();
        let watch = Watch::start(&TlsFiles { certificate, private_key }, Shown::new()).unwrap();
        Files { folder, watch, begin: Instant::now() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn look_after(&mut self, seconds: u64) -> Look {
        self.watch.look(self.begin + Duration::from_secs(seconds))
    }

    fn told(&mut self, seconds: u64) -> TlsError {
        match self.look_after(seconds) {
            Look::Trouble(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pair_that_is_written_one_after_the_other_ends_in_the_new_one_without_a_word() {
    let mut files = Files::new();
    let before = files.watch.pair.serial.clone();
    let (chain, key) = made();
    assert_eq!(files.look_after(0), Look::Same);
    files.write("key.pem", &key);
    assert_eq!(files.look_after(2), Look::Unusable);
    files.write("chain.pem", &chain[..chain.len() / 2]);
    assert_eq!(files.look_after(4), Look::Unusable);
    assert_eq!(files.watch.pair.serial, before);
    files.write("chain.pem", &chain);
    assert_eq!(files.look_after(6), Look::Arriving);
    assert_eq!(files.watch.pair.serial, before);
    assert_eq!(files.look_after(8), Look::Swapped);
    assert_eq!(files.look_after(10), Look::Same);
    assert_ne!(files.watch.pair.serial, before);
}

/// What is there of it is a certificate with its key, and nobody could verify it.
#[test]
fn a_chain_of_which_the_intermediates_are_still_to_come_is_not_used() {
    let mut files = Files::new();
    let (chain, key) = made();
    let (intermediate, _) = made();
    let whole = format!("{chain}{intermediate}");
    files.write("key.pem", &key);
    for (at, end) in [chain.len(), chain.len() + "-----BEG".len(), whole.len()].into_iter().enumerate() {
        files.write("chain.pem", &whole[..end]);
        assert_eq!(files.look_after(2 * at as u64), Look::Arriving, "{end} octets");
    }
    assert_eq!(files.look_after(8), Look::Swapped);
    // As it was before: what arrived in between is not remembered.
    let (other, other_key) = made();
    for (at, (chain, key, look)) in
        [(&other, &other_key, Look::Arriving), (&whole, &key, Look::Same), (&other, &other_key, Look::Arriving)]
            .into_iter()
            .enumerate()
    {
        files.write("chain.pem", chain);
        files.write("key.pem", key);
        assert_eq!(files.look_after(10 + 2 * at as u64), look);
    }
}

#[test]
fn what_stays_unusable_is_told_once_with_the_file_and_the_reason() {
    let mut files = Files::new();
    let (chain, key) = made();
    files.write("key.pem", &key);
    assert_eq!(files.look_after(0), Look::Unusable);
    assert_eq!(files.look_after(29), Look::Unusable);
    let told = files.told(30);
    assert_eq!(told.path, files.path("key.pem").display().to_string());
    assert!(told.reason.contains("not the key of the certificate in"), "{told}");
    assert_eq!(files.look_after(86_400), Look::Unusable, "told before");
    // Another reason is another word.
    fs::remove_file(files.path("chain.pem")).unwrap();
    assert_eq!(files.told(86_402).path, files.path("chain.pem").display().to_string());
    assert_eq!(files.look_after(86_404), Look::Unusable);
    // A new trouble begins anew.
    files.write("chain.pem", &chain);
    assert_eq!(files.look_after(86_405), Look::Arriving);
    assert_eq!(files.look_after(86_406), Look::Swapped);
    files.write("key.pem", "noise");
    assert_eq!(files.look_after(86_408), Look::Unusable);
    assert_eq!(files.told(86_438).path, files.path("key.pem").display().to_string());
    files.write("key.pem", &key);
    assert_eq!(files.look_after(86_440), Look::Same, "as it was");
}

#[test]
fn a_link_that_is_switched_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    for version in ["1", "2"] {
        let (chain, key) = made();
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("chain.pem"), chain).unwrap();
        fs::write(folder.path().join(version).join("key.pem"), key).unwrap();
    }
    symlink("1", &live).unwrap();
    let files = TlsFiles { certificate: live.join("chain.pem"), private_key: live.join("key.pem") };
    let mut watch = Watch::start(&files, Shown::new()).unwrap();
    assert_eq!(watch.look(Instant::now()), Look::Same);
    symlink("2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &live).unwrap();
    assert_eq!(watch.look(Instant::now()), Look::Arriving);
    assert_eq!(watch.look(Instant::now()), Look::Swapped);
}

#[test]
fn the_last_seven_days_and_what_follows_are_told_once_a_day() {
    let mut files = Files::new();
    let begin = files.begin;
    let mut expiry = |after: u64, left: i64| {
        let now = NOT_AFTER.checked_add_signed(-left).unwrap();
        files.watch.expiry(begin + Duration::from_secs(after), now)
    };
    assert_eq!(expiry(0, 7 * 86_400), None);
    assert_eq!(expiry(1, 7 * 86_400 - 1), Some("expires soon"));
    assert_eq!(expiry(86_400, 6 * 86_400), None);
    assert_eq!(expiry(86_401, 1), Some("expires soon"));
    assert_eq!(expiry(2 * 86_400, 0), None);
    assert_eq!(expiry(2 * 86_401, 0), Some("has expired"));
    // A new one is told of at once.
    let (chain, key) = made();
    files.write("chain.pem", &chain);
    files.write("key.pem", &key);
    assert_eq!(files.look_after(2 * 86_402), Look::Arriving);
    assert_eq!(files.look_after(2 * 86_402), Look::Swapped);
    assert_eq!(files.watch.expiry(begin + Duration::from_secs(2 * 86_402), NOT_AFTER), Some("has expired"));
}

#[test]
fn a_certificate_is_for_its_names_alone() {
    let files = Files::new();
    assert!(files.watch.pair.is_for("api.example.org"));
    assert!(!files.watch.pair.is_for("example.org"));
    assert!(!files.watch.pair.is_for(""));
}
