//! Where the programs are that the tests run.

use std::path::{Path, PathBuf};

/// A program of Debian's, by its whole path: many of these lie outside an ordinary user's PATH.
pub fn debian(path: &str) -> PathBuf {
    installed(PathBuf::from(path))
}

/// A program that `tests/support/install` built: `pebble`, `lego`.
pub fn tool(name: &str) -> PathBuf {
    installed(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name))
}

fn installed(program: PathBuf) -> PathBuf {
    assert!(program.is_file(), "{} is not there: run tests/support/install", program.display());
    program
}
