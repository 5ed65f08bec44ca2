//! Secrets that the configuration only points at: read when they are needed, named in errors, never shown.

use std::fs;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::secret::Secret;
use crate::config::SecretSource;

/// Why there is no secret. Says where it should be, never what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSecret {
    #[error("cannot read the secret in {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("the file {} has no secret in it", .0.display())]
    EmptyFile(PathBuf),
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("the environment variable {0} is empty")]
    EmptyVariable(String),
    #[error("the environment variable {0} is not UTF-8")]
    Encoding(String),
}

/// The content of the file or of the environment variable, without white space around it. It is never empty.
pub(super) fn read(source: &SecretSource) -> Result<Secret, NoSecret> {
    let (text, empty) = match source {
        SecretSource::File(path) => {
            let failed = |error: std::io::Error| NoSecret::File { path: path.clone(), reason: error.to_string() };
            (fs::read_to_string(path).map_err(failed)?, NoSecret::EmptyFile(path.clone()))
        }
        SecretSource::Environment(name) => {
            let text = std::env::var_os(name).ok_or_else(|| NoSecret::NoVariable(name.clone()))?;
            let text = text.into_string().map_err(|_| NoSecret::Encoding(name.clone()))?;
            (text, NoSecret::EmptyVariable(name.clone()))
        }
    };
    let text = Zeroizing::new(text);
    match text.trim() {
        "" => Err(empty),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_the_white_space_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        let error = read(&source).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("No such file"), "{error}");
        fs::write(&path, "\n  s3cret word \r\n").unwrap();
        assert_eq!(read(&source).unwrap().reveal(), "s3cret word");
        fs::write(&path, " \n").unwrap();
        assert_eq!(read(&source), Err(NoSecret::EmptyFile(path.clone())));
        fs::write(&path, b"hush\xff").unwrap();
        let error = read(&source).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_variable_of_the_environment_is_read_and_named_when_it_is_missing() {
        // Cargo sets it for every test.
        let source = SecretSource::Environment("CARGO_PKG_NAME".into());
        assert_eq!(read(&source).unwrap().reveal(), "acmezone");
        let source = SecretSource::Environment("ACMEZONE_NO_SUCH_SECRET".into());
        assert_eq!(read(&source), Err(NoSecret::NoVariable("ACMEZONE_NO_SUCH_SECRET".into())));
    }
}
