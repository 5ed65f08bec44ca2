//! Certificates as files for other programs: `certs/<name>/{privkey,cert,chain,fullchain}.pem`, and `combined.pem` and
//! `bundle.p12` where they are wanted.
//!
//! `certs/<name>` is a symbolic link to a folder of one version, `certs/.versions/<name>/<version>`. A folder is never
//! changed once the link points to it; the link is replaced by one rename. Who opens the folder once reads a key and a
//! chain that belong together. The store is where certificates live: these files can be made again at any time.

mod access;
mod pkcs12;
pub mod upkeep;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::acme::certificate::Certificate;
use crate::config::Files;
use access::{Access, AccessError};
use pkcs12::Pkcs12Error;

/// Files that are there only if the configuration says so.
const OPTIONAL: [&str; 2] = ["combined.pem", "bundle.p12"];
/// What the files were made of, for a server that may give files away but not read them afterwards.
const DIGEST: &str = ".digest";

/// Why the files are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot {action} {path}: {reason}")]
    File { action: &'static str, path: String, reason: io::Error },
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Pkcs12(#[from] Pkcs12Error),
}

/// What a file is to hold.
enum Content<'a> {
    Text(&'a str),
    Joined(Zeroizing<String>),
    Pkcs12 { name: &'a str, certificate: &'a Certificate, password: Zeroizing<String> },
}

/// The files of one certificate as they should be.
struct Wanted<'a> {
    files: Vec<(&'static str, Content<'a>)>,
    access: Access,
}

/// Makes the files of the certificate the ones in use; nothing happens if they are already. So many versions stay, the
/// one in use included. Returns whether files were written.
pub fn export(
    certs: &Path,
    name: &str,
    certificate: &Certificate,
    files: &Files,
    kept: usize,
) -> Result<bool, ExportError> {
    let wanted = Wanted::new(name, certificate, files)?;
    let link = certs.join(name);
    let versions = certs.join(".versions").join(name);
    if let Some(folder) = folder_in_use(&link, &versions).filter(|folder| wanted.is_in(&versions.join(folder))) {
        wanted.open_passages(certs, &versions)?;
        remove_old(&versions, &folder, kept, &wanted.access);
        return Ok(false);
    }
    if fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, "something else has this name; move it away");
        return Err(failed("make", &link, taken));
    }
    make_folder(&versions)?;
    let folder = wanted.write_version(&versions, certificate.version)?;
    wanted.open_passages(certs, &versions)?;
    let target = Path::new(".versions").join(name).join(&folder);
    swap_link(certs, &link, &versions.join(".link"), &target)?;
    remove_old(&versions, &folder, kept, &wanted.access);
    if let Some(barred) = wanted.access.barred_by(certs) {
        let (folder, certs) = (barred.display(), certs.display());
        tracing::warn!(certificate = name, %folder, %certs, "owner and group of the files cannot pass a folder above them");
    }
    Ok(true)
}

/// The name of the folder that the link points to, if it is one of ours.
fn folder_in_use(link: &Path, versions: &Path) -> Option<String> {
    let found = fs::read_link(link).ok()?;
    let folder = found.file_name()?.to_str()?;
    let points_there = link.parent()?.join(&found) == versions.join(folder);
    points_there.then(|| folder.to_owned())
}

impl<'a> Wanted<'a> {
    fn new(name: &'a str, certificate: &'a Certificate, files: &Files) -> Result<Wanted<'a>, ExportError> {
        let access = Access::new(files)?;
        let (leaf, rest) = certificate.leaf_and_rest();
        let key = certificate.private_key.reveal();
        let mut all = vec![
            ("privkey.pem", Content::Text(key)),
            ("cert.pem", Content::Text(leaf)),
            ("chain.pem", Content::Text(rest.trim_start())),
            ("fullchain.pem", Content::Text(&certificate.chain)),
        ];
        if files.combined {
            let mut joined = Zeroizing::new(String::with_capacity(key.len() + 1 + certificate.chain.len()));
            joined.push_str(key);
            if !key.ends_with('\n') {
                joined.push('\n');
            }
            joined.push_str(&certificate.chain);
            all.push(("combined.pem", Content::Joined(joined)));
        }
        if let Some(file) = &files.pkcs12_password_file {
            let password = pkcs12::password(file)?;
            all.push(("bundle.p12", Content::Pkcs12 { name, certificate, password }));
        }
        Ok(Wanted { files: all, access })
    }

    /// Whether the folder has exactly these files, and they and it are open to those who should read them.
    fn is_in(&self, folder: &Path) -> bool {
        let unwanted = |file: &str| self.files.iter().all(|(wanted, _)| *wanted != file) && folder.join(file).exists();
        fs::symlink_metadata(folder).is_ok_and(|found| self.access.fits_folder(&found))
            && !OPTIONAL.iter().any(|file| unwanted(file))
            && self.files.iter().all(|(file, content)| self.is_file(folder, file, content))
    }

    fn is_file(&self, folder: &Path, file: &str, content: &Content) -> bool {
        let path = folder.join(file);
        fs::symlink_metadata(&path).is_ok_and(|found| self.access.fits_file(&found))
            && match fs::read(&path).map(Zeroizing::new) {
                Ok(found) => content.is(&found),
                // It was given away.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    fs::read(folder.join(DIGEST)).is_ok_and(|found| found == self.digest().as_bytes())
                }
                Err(_) => false,
            }
    }

    /// Writes a complete folder, unless an earlier export did, and returns its name: the version; with an addition if a
    /// folder of this version is there but holds something else.
    fn write_version(&self, versions: &Path, version: u64) -> Result<String, ExportError> {
        let mut folder = version.to_string();
        let mut more = 1;
        while versions.join(&folder).exists() {
            if self.is_in(&versions.join(&folder)) {
                return Ok(folder);
            }
            more += 1;
            folder = format!("{version}-{more}");
        }
        let new = versions.join(".new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|error| failed("remove", &new, error))?;
        }
        make_folder(&new)?;
        write_file(&new.join(DIGEST), self.digest().as_bytes())?;
        for (name, content) in &self.files {
            let path = new.join(name);
            let file = match content {
                Content::Text(text) => write_file(&path, text.as_bytes()),
                Content::Joined(text) => write_file(&path, text.as_bytes()),
                Content::Pkcs12 { name, certificate, password } => {
                    write_file(&path, &pkcs12::encode(name, certificate, password)?)
                }
            }?;
            self.access.give_file(&file, &path)?;
        }
        self.access.give_folder(&new)?;
        sync_folder(&new)?;
        let path = versions.join(&folder);
        fs::rename(&new, &path).map_err(|error| failed("make", &path, error))?;
        sync_folder(versions)?;
        Ok(folder)
    }

    fn open_passages(&self, certs: &Path, versions: &Path) -> Result<(), ExportError> {
        self.access.widen_passage(certs)?;
        self.access.widen_passage(&certs.join(".versions"))?;
        Ok(self.access.open_passage(versions)?)
    }

    /// Nobody can guess a password from it who does not have the key.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (file, content) in &self.files {
            let parts = match content {
                Content::Text(text) => [text, ""],
                Content::Joined(text) => [text.as_str(), ""],
                Content::Pkcs12 { name, password, .. } => [name, password.as_str()],
            };
            for part in [file, parts[0], parts[1]] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

impl Content<'_> {
    fn is(&self, found: &[u8]) -> bool {
        match self {
            Content::Text(text) => found == text.as_bytes(),
            Content::Joined(text) => found == text.as_bytes(),
            Content::Pkcs12 { name, certificate, password } => pkcs12::holds(found, name, certificate, password),
        }
    }
}

fn write_file(path: &Path, content: &[u8]) -> Result<File, ExportError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        Ok(file)
    };
    write().map_err(|error| failed("write", path, error))
}

/// Makes the link under the name `new` and renames it, so that there is one at any time.
fn swap_link(certs: &Path, link: &Path, new: &Path, target: &Path) -> Result<(), ExportError> {
    // Left over if the server was killed between the two steps.
    let _ = fs::remove_file(new);
    symlink(target, new).map_err(|error| failed("make", new, error))?;
    fs::rename(new, link).map_err(|error| failed("replace", link, error))?;
    sync_folder(certs)
}

/// Removes folders of older versions, and those that others may read than may now. What cannot be removed is said and
/// left.
fn remove_old(versions: &Path, current: &str, kept: usize, access: &Access) {
    let Ok(entries) = fs::read_dir(versions) else { return };
    let mut folders: Vec<((u64, u64), PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name() != current)
        .filter_map(|entry| Some((version_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    folders.sort();
    let surplus = (folders.len() + 1).saturating_sub(kept.max(1));
    let fits = |folder: &Path| {
        fs::symlink_metadata(folder).is_ok_and(|found| access.fits_folder(&found))
            && fs::symlink_metadata(folder.join("privkey.pem")).is_ok_and(|found| access.fits_file(&found))
    };
    for (index, (_, folder)) in folders.into_iter().enumerate() {
        if index >= surplus && fits(&folder) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove an old certificate folder");
        }
    }
}

fn version_of(folder: &str) -> Option<(u64, u64)> {
    match folder.split_once('-') {
        None => Some((folder.parse().ok()?, 1)),
        Some((version, more)) => Some((version.parse().ok()?, more.parse().ok()?)),
    }
}

fn make_folder(path: &Path) -> Result<(), ExportError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("make", path, error))
}

/// A file's name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> Result<(), ExportError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| failed("flush", path, error))
}

fn failed(action: &'static str, path: &Path, reason: io::Error) -> ExportError {
    ExportError::File { action, path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::acme::certificate::tests::certificate;

    /// Four files, for the server alone.
    fn export(certs: &Path, name: &str, certificate: &Certificate) -> Result<bool, ExportError> {
        super::export(certs, name, certificate, &Files::default(), 3)
    }

    fn read(certs: &Path, file: &str) -> String {
        fs::read_to_string(certs.join("site").join(file)).unwrap()
    }

    #[test]
    fn four_files_private_to_us_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        let certificate = certificate(1);
        assert!(export(&certs, "site", &certificate).unwrap());
        assert!(!export(&certs, "site", &certificate).unwrap());
        assert_eq!(fs::read_link(certs.join("site")).unwrap(), Path::new(".versions/site/1"));
        assert_eq!(read(&certs, "privkey.pem"), certificate.private_key.reveal());
        assert_eq!(read(&certs, "fullchain.pem"), certificate.chain);
        assert!(read(&certs, "chain.pem").starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(read(&certs, "cert.pem").matches("BEGIN").count(), 1);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(certs.clone()), 0o700);
        assert_eq!(mode(certs.join("site")), 0o700);
        for file in ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"] {
            assert_eq!(mode(certs.join("site").join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn the_last_three_versions_stay() {
        let folder = tempfile::tempdir().unwrap();
        for version in 8..=12 {
            assert!(export(folder.path(), "site", &certificate(version)).unwrap());
        }
        let mut left: Vec<_> = fs::read_dir(folder.path().join(".versions/site"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["10", "11", "12"]);
        assert_eq!(fs::read_link(folder.path().join("site")).unwrap(), Path::new(".versions/site/12"));
    }

    #[test]
    fn what_differs_is_written_anew_and_what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificate(1);
        export(folder.path(), "site", &certificate).unwrap();
        fs::write(folder.path().join("site/privkey.pem"), "other").unwrap();
        assert!(export(folder.path(), "site", &certificate).unwrap());
        assert_eq!(read(folder.path(), "privkey.pem"), certificate.private_key.reveal());
        fs::remove_file(folder.path().join("site")).unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        let error = export(folder.path(), "site", &certificate).unwrap_err().to_string();
        assert!(error.contains("site") && error.contains("move it away"), "{error}");
    }

    /// The running server tries again and again.
    #[test]
    fn exports_that_fail_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificate(1);
        fs::create_dir(folder.path().join("site")).unwrap();
        for _ in 0..3 {
            export(folder.path(), "site", &certificate).unwrap_err();
        }
        let versions = folder.path().join(".versions/site");
        assert!(!versions.exists() || fs::read_dir(&versions).unwrap().next().is_none());

        // The link cannot be swapped: something is where it is made.
        fs::remove_dir(folder.path().join("site")).unwrap();
        fs::create_dir_all(versions.join(".link")).unwrap();
        for _ in 0..3 {
            export(folder.path(), "site", &certificate).unwrap_err();
        }
        let mut left: Vec<_> = fs::read_dir(&versions).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".link", "1"]);
        fs::remove_dir(versions.join(".link")).unwrap();
        assert!(export(folder.path(), "site", &certificate).unwrap());
        assert_eq!(fs::read_link(folder.path().join("site")).unwrap(), Path::new(".versions/site/1"));
    }

    #[test]
    fn names_that_look_alike_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificate(1);
        for name in ["site.link", "site", "site.new"] {
            assert!(export(folder.path(), name, &certificate).unwrap(), "{name}");
        }
    }

    /// A reader that opens the folder once never sees a key with the chain of another version.
    #[test]
    fn the_swap_is_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let pair = [certificate(1), certificate(2)];
        export(folder.path(), "site", &pair[0]).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) || reads == 0 {
                    // Folders of old versions go away after two more exports; then the reader looks again.
                    let Ok(opened) = fs::canonicalize(folder.path().join("site")) else { continue };
                    let files = ["privkey.pem", "fullchain.pem"].map(|file| fs::read_to_string(opened.join(file)));
                    let [Ok(key), Ok(chain)] = files else { continue };
                    assert!(pair.iter().any(|one| one.private_key.reveal() == key && one.chain == chain));
                    reads += 1;
                }
            });
            for turn in 0..40 {
                export(folder.path(), "site", &pair[turn % 2]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
        });
    }

    #[test]
    fn as_many_versions_stay_as_are_configured() {
        let folder = tempfile::tempdir().unwrap();
        let left = || {
            let mut left: Vec<_> = fs::read_dir(folder.path().join(".versions/site"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            left.sort();
            left
        };
        let keep = |version, kept| {
            super::export(folder.path(), "site", &certificate(version), &Files::default(), kept).unwrap();
        };
        (1..=5).for_each(|version| keep(version, 5));
        assert_eq!(left(), ["1", "2", "3", "4", "5"]);
        keep(6, 2);
        assert_eq!(left(), ["5", "6"]);
        keep(7, 1);
        assert_eq!(left(), ["7"]);
        // The one in use stays whatever is asked for.
        keep(8, 0);
        assert_eq!(left(), ["8"]);

        // A smaller number takes effect although there is nothing new.
        let last = certificate(10);
        super::export(folder.path(), "site", &certificate(9), &Files::default(), 3).unwrap();
        assert!(super::export(folder.path(), "site", &last, &Files::default(), 3).unwrap());
        assert!(!super::export(folder.path(), "site", &last, &Files::default(), 1).unwrap());
        assert_eq!(left(), ["10"]);
    }

    #[test]
    fn more_files_come_and_go_with_the_configuration_and_are_not_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        let password = folder.path().join("password");
        fs::write(&password, "secret\n").unwrap();
        let certificate = certificate(1);
        let export = |files: &Files| super::export(&certs, "site", &certificate, files, 3);
        let more = Files { combined: true, pkcs12_password_file: Some(password.clone()), ..Files::default() };
        assert!(export(&Files::default()).unwrap());
        assert!(export(&more).unwrap());
        assert!(!export(&more).unwrap());
        let combined = read(&certs, "combined.pem");
        assert_eq!(combined, format!("{}{}", certificate.private_key.reveal(), certificate.chain));
        let bundle = || fs::read(certs.join("site/bundle.p12")).unwrap();
        let first = bundle();
        assert!(pkcs12::holds(&first, "site", &certificate, "secret"));

        // Another password makes another file; so does damage.
        fs::write(&password, "other\n").unwrap();
        assert!(export(&more).unwrap());
        assert!(!export(&more).unwrap());
        assert!(pkcs12::holds(&bundle(), "site", &certificate, "other"));
        fs::write(certs.join("site/bundle.p12"), &first).unwrap();
        assert!(export(&more).unwrap());
        assert!(pkcs12::holds(&bundle(), "site", &certificate, "other"));

        // Without a password the files stay as they are.
        fs::remove_file(&password).unwrap();
        let error = export(&more).unwrap_err().to_string();
        assert!(error.contains("password") && error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(pkcs12::holds(&bundle(), "site", &certificate, "other"));

        assert!(export(&Files::default()).unwrap());
        assert!(!certs.join("site/combined.pem").exists() && !certs.join("site/bundle.p12").exists());
    }
}
