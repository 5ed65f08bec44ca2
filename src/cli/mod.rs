//! The command line: one file per noun, each a thin layer over [`crate::client`].
//!
//! Answers go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or configuration.

mod account;
mod alias;
mod ca;
mod cert;
mod check;
mod export;
mod output;
mod serve;
mod status;
mod storage;
mod token;
mod tsig;
mod tsig_clients;
mod txt;
mod zone;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::Output;
use crate::api::ApiError;
use crate::client::{Client, ClientError};
use crate::config::{Config, ConfigError};

/// Authoritative DNS server for ACME DNS-01: delegate _acme-challenge once, issue wildcard certificates for ever.
#[derive(Debug, Parser)]
#[command(
    name = "acmezone",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_long_help = "\
Start here:
  acmezone check                 is the configuration right?
  acmezone serve                 run the server
  acmezone account create        make credentials for an ACME client, and see the CNAME to put into your zone

All commands but `serve` and `check` talk to the running server over loopback; they find it by its configuration.
Exit codes: 0 done, 1 failed, 2 bad usage or configuration.")]
struct Arguments {
    /// The configuration file.
    ///
    /// Default: /etc/acmezone/acmezone.toml if there is one, else ./config/acmezone.toml.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print JSON for programs; progress as one JSON object per line, an error as one on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    /// Check the configuration and everything it names
    ///
    /// Prints every problem with its place, exit code 2; or a summary, exit code 0.
    #[command(after_long_help = "Example:\n  acmezone check --config ./acmezone.toml")]
    Check,
    /// Show what the running server serves
    ///
    /// Exit code 1 if no server is running.
    #[command(after_long_help = "Example:\n  acmezone status --json")]
    Status,
    /// Accounts that ACME clients put values in with
    #[command(subcommand)]
    Account(account::Command),
    /// Challenge names elsewhere, for clients that do not follow their CNAME
    #[command(subcommand)]
    Alias(alias::Command),
    /// Registration tokens: who has one makes accounts over the API
    #[command(subcommand)]
    Token(token::Command),
    /// HTTP storages: where lego gets credentials for listed domains
    #[command(subcommand)]
    Storage(storage::Command),
    /// TXT values of challenge names
    #[command(subcommand)]
    Txt(txt::Command),
    /// Keys that sign updates over DNS (RFC 2136): for certbot, lego, nsupdate and others
    #[command(subcommand)]
    Tsig(tsig::Command),
    /// Certificates that the server itself obtains and renews
    #[command(subcommand)]
    Cert(cert::Command),
    /// Certificate authorities, and the accounts there
    #[command(subcommand)]
    Ca(ca::Command),
    /// Zones that are served
    #[command(subcommand)]
    Zone(zone::Command),
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error("error: {0}")]
    Client(#[from] ClientError),
    #[error("error: {0}")]
    Serve(#[from] crate::server::StartError),
    #[error("error: {0}")]
    Failed(String),
    #[error("error: cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) | Failure::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// For programs: in the words of the server where it said no.
    fn told(&self) -> ApiError {
        let error = match self {
            Failure::Client(ClientError::Refused(refusal)) => return refusal.clone(),
            Failure::Client(ClientError::NotRunning { .. } | ClientError::NoToken { .. }) => "not_running",
            Failure::Client(_) => "client",
            Failure::Config(_) => "configuration",
            Failure::Usage(_) => "usage",
            Failure::Serve(_) => "start",
            Failure::Failed(_) | Failure::Output(_) => "failed",
        };
        let message = self.to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end().to_owned();
        ApiError { error: error.to_owned(), message }
    }
}

/// Parses the arguments of the process, does what they say, and tells the exit code.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough: `acmezone txt list | head -1`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            match serde_json::to_string(&failure.told()) {
                Ok(text) if json => output::note(format_args!("{text}")),
                _ => output::note(format_args!("{failure}")),
            }
            failure.exit_code()
        }
    }
}

impl Arguments {
    fn run(self) -> Result<(), Failure> {
        let path = config_file(self.config)?;
        let mut out = Output::new(self.json);
        match self.command {
            Command::Serve(arguments) => return serve::run(arguments, &path),
            Command::Check => return check::run(&path, &mut out),
            _ => {}
        }
        let config = Config::read(&path)?;
        let client = Client::new(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.command {
                Command::Serve(_) | Command::Check => Ok(()),
                Command::Status => status::run(&client, &mut out).await,
                Command::Account(command) => command.run(&client, &config, &mut out).await,
                Command::Alias(command) => command.run(&client, &mut out).await,
                Command::Token(command) => command.run(&client, &config.api, &mut out).await,
                Command::Storage(command) => command.run(&client, &config.api, &mut out).await,
                Command::Txt(command) => command.run(&client, &mut out).await,
                Command::Tsig(command) => command.run(&client, &mut out).await,
                Command::Ca(command) => command.run(&client, &mut out).await,
                Command::Cert(command) => command.run(&client, &mut out).await,
                Command::Zone(command) => command.run(&client, &mut out).await,
            }
        })
    }
}

const SYSTEM_CONFIG: &str = "/etc/acmezone/acmezone.toml";
const LOCAL_CONFIG: &str = "./config/acmezone.toml";

fn config_file(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path);
    }
    let present = [SYSTEM_CONFIG, LOCAL_CONFIG].map(Path::new).into_iter().find(|path| path.exists());
    present.map(Path::to_owned).ok_or_else(|| {
        Failure::Usage(format!(
            "error: no configuration: there is neither {SYSTEM_CONFIG} nor {LOCAL_CONFIG}\nName one with --config FILE."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        fn look(command: &clap::Command) {
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaf || help.contains("  acmezone "), "`{}` has no example", command.get_name());
            command.get_subcommands().for_each(look);
        }
        look(&Arguments::command());
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in ["acmezone --config a --json txt list", "acmezone txt list --json --config a"] {
            let parsed = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(parsed.json && parsed.config == Some("a".into()), "{line}");
        }
    }

    #[test]
    fn examples_in_the_help_parse() {
        fn look(command: &clap::Command) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.strip_prefix("  acmezone ")) {
                let line = line.split("  ").next().unwrap_or_default();
                let words = std::iter::once("acmezone").chain(line.split_whitespace());
                assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
            }
            command.get_subcommands().for_each(look);
        }
        look(&Arguments::command());
    }

    #[test]
    fn bad_usage_is_exit_code_2() {
        for line in [
            "acmezone txt set",
            "acmezone txt set a",
            "acmezone account show",
            "acmezone nonsense",
            "acmezone cert revoke a --reason nonsense",
            "acmezone cert revoke a --by nobody",
            "acmezone cert revoke a --serial xyz",
            "acmezone cert revoke a --serial 1f --reissue",
        ] {
            assert_eq!(Arguments::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
