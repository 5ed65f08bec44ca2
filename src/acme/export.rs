//! Certificates as PEM files for other programs: `certs/<name>/{privkey,cert,chain,fullchain}.pem`.
//!
//! `certs/<name>` is a symbolic link to a folder of one version, `certs/.versions/<name>/<version>`. A folder is never
//! changed once the link points to it; the link is replaced by one rename. Who opens the folder once reads a key and a
//! chain that belong together. The store is where certificates live: these files can be made again at any time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::certificate::Certificate;

/// How many versions stay beside each other, the one in use included.
pub(super) const KEPT_VERSIONS: usize = 3;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {reason}")]
pub(super) struct ExportError {
    action: &'static str,
    path: String,
    reason: io::Error,
}

/// Makes the files of the certificate the ones in use; nothing happens if they are already. Returns whether files were
/// written.
pub(super) fn export(certs: &Path, name: &str, certificate: &Certificate) -> Result<bool, ExportError> {
    let files = files(certificate);
    let link = certs.join(name);
    if holds(&link, &files) {
        return Ok(false);
    }
    if fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, "something else has this name; move it away");
        return Err(failed("make", &link, taken));
    }
    let versions = certs.join(".versions").join(name);
    make_folder(&versions)?;
    let folder = write_version(&versions, certificate.version, &files)?;
    let target = Path::new(".versions").join(name).join(&folder);
    swap_link(certs, &link, &versions.join(".link"), &target)?;
    remove_old(&versions, &folder);
    Ok(true)
}

fn files(certificate: &Certificate) -> [(&'static str, &str); 4] {
    let (leaf, rest) = certificate.leaf_and_rest();
    [
        ("privkey.pem", certificate.private_key.reveal()),
        ("cert.pem", leaf),
        ("chain.pem", rest.trim_start()),
        ("fullchain.pem", &certificate.chain),
    ]
}

/// Whether the folder in use has exactly these files.
fn holds(link: &Path, files: &[(&str, &str)]) -> bool {
    link.is_symlink() && fs::canonicalize(link).is_ok_and(|folder| has(&folder, files))
}

fn has(folder: &Path, files: &[(&str, &str)]) -> bool {
    files.iter().all(|(file, text)| fs::read(folder.join(file)).is_ok_and(|found| found == text.as_bytes()))
}

/// Writes a complete folder, unless an earlier export did, and returns its name: the version; with an addition if a
/// folder of this version is there but holds something else.
fn write_version(versions: &Path, version: u64, files: &[(&str, &str)]) -> Result<String, ExportError> {
    let mut folder = version.to_string();
    let mut more = 1;
    while versions.join(&folder).exists() {
        if has(&versions.join(&folder), files) {
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
    for (file, text) in files {
        write_file(&new.join(file), text.as_bytes())?;
    }
    sync_folder(&new)?;
    let path = versions.join(&folder);
    fs::rename(&new, &path).map_err(|error| failed("make", &path, error))?;
    sync_folder(versions)?;
    Ok(folder)
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), ExportError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
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

/// Removes folders of older versions. What cannot be removed is said and left.
fn remove_old(versions: &Path, current: &str) {
    let Ok(entries) = fs::read_dir(versions) else { return };
    let mut folders: Vec<((u64, u64), PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name() != current)
        .filter_map(|entry| Some((version_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    folders.sort();
    let surplus = (folders.len() + 1).saturating_sub(KEPT_VERSIONS);
    for (_, folder) in folders.into_iter().take(surplus) {
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
    ExportError { action, path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::acme::certificate::tests::certificate;

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
}
