use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::subprocess::run;
use super::tools::debian;

/// What `dig @server …` prints: `dig(server, &["+short", "name.test", "TXT"])`. Panics if no server answers.
#[track_caller]
pub fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(debian("/usr/bin/dig"));
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]).args(arguments);
    run("dig", command, Duration::from_secs(20)).expect_success().stdout
}
