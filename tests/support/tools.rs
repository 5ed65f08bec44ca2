//! Where the programs are that the tests run.

use std::path::{Path, PathBuf};

/// A program of Debian's, by its whole path: many of these lie outside an ordinary user's PATH.
pub fn debian(path: &str) -> PathBuf {
    installed(PathBuf::from(path))
}

/// A program that `tests/support/install` built: `pebble`, `lego`, `clients`.
pub fn tool(name: &str) -> PathBuf {
    below_tools(&format!("bin/{name}"))
}

/// A program of the Python environment with the ACME clients: `certbot`.
pub fn python_tool(name: &str) -> PathBuf {
    below_tools(&format!("python/bin/{name}"))
}

/// The judge of HTTP APIs, in an environment of its own.
pub fn schemathesis() -> PathBuf {
    below_tools("schemathesis/bin/schemathesis")
}

fn below_tools(path: &str) -> PathBuf {
    // Cargo says it to the tests that it runs. What was compiled in can be another copy of the repository, if several
    // share one CARGO_TARGET_DIR.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    installed(Path::new(&root).join("target/tools").join(path))
}

fn installed(program: PathBuf) -> PathBuf {
    assert!(program.is_file(), "{} is not there: run tests/support/install", program.display());
    program
}
