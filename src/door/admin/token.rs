//! The bearer token of the admin API: 240 random bits, new at every start, in a file that only the server's user reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::account::{Credential, CredentialHash};

/// What the server knows of its token: enough to recognise it.
#[derive(Clone, Debug)]
pub struct AdminToken(CredentialHash);

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("no random numbers from the operating system: {0}")]
    NoRandomness(getrandom::Error),
    #[error("cannot write the admin token {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
}

impl AdminToken {
    /// Makes a new token and writes it to `path`: mode 0600, the whole token or the file as it was.
    pub fn create(path: &Path) -> Result<AdminToken, TokenError> {
        let token = Credential::random().map_err(TokenError::NoRandomness)?;
        write(path, &token).map_err(|error| TokenError::Write { path: path.to_owned(), error })?;
        Ok(AdminToken(token.hash()))
    }

    /// Compares in constant time.
    pub fn accepts(&self, given: &str) -> bool {
        Credential::parse(given).is_some_and(|given| self.0.matches(&given.hash()))
    }
}

fn write(path: &Path, token: &Credential) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(token.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_holds_the_token_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin-token");
        fs::write(folder.path().join("admin-token.new"), "left by a crash").unwrap();
        let old = AdminToken::create(&path).unwrap();
        let token = AdminToken::create(&path).unwrap();
        let read = fs::read_to_string(&path).unwrap();
        assert!(token.accepts(read.trim_end()) && !old.accepts(read.trim_end()) && !token.accepts(""));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = AdminToken::create(Path::new("/nonexistent/admin-token")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/admin-token"), "{error}");
    }
}
