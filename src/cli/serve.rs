//! `acmezone serve`

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::{Failure, output};
use crate::config::Config;

/// Run the server in the foreground
///
/// Logs go to stderr. The server stops, finishing what it has begun, on SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  acmezone serve
  acmezone serve --config ./acmezone.toml --log-level debug

Without --log-level the variable RUST_LOG counts, for example RUST_LOG=debug,hyper=info.")]
pub(super) struct Arguments {
    /// Log from this level on [default: RUST_LOG, else info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    log_level: Option<LogLevel>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

pub(super) fn run(arguments: Arguments, path: &Path) -> Result<(), Failure> {
    output::note(format_args!("configuration: {}", path.display()));
    start_logging(arguments.log_level)?;
    let config = Config::read(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(crate::server::run(config));
    // A look-up of a CA's address that hangs in the system's resolver cannot be cancelled: it is left behind.
    runtime.shutdown_background();
    Ok(outcome?)
}

fn start_logging(level: Option<LogLevel>) -> Result<(), Failure> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (level, from_environment) {
        (Some(level), _) => format!("{},hickory_server=error", format!("{level:?}").to_ascii_lowercase()),
        (None, Some(filter)) => filter,
        (None, None) => "info,hickory_server=error".to_owned(),
    };
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::Usage(format!("error: RUST_LOG is no filter of log lines: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Failure::Failed(format!("cannot set up the log: {error}")))
}
