//! dnsperf against one server, and what the server used of its core meanwhile.

use std::process::Command;
use std::time::Duration;

use crate::cases::{Case, Transport};
use crate::servers::Server;
use crate::support::{debian, run as run_to_end};

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Microseconds of CPU, user and system, per query answered.
    pub cpu: f64,
    /// The same for acmezone's UDP threads alone.
    pub cpu_of_udp: Option<f64>,
    /// Queries per second.
    pub rate: f64,
}

/// Asks for so many seconds. Panics if answers are missing or have another response code than they should.
pub fn run(case: &Case, server: &Server, seconds: u64) -> Sample {
    let mut command = Command::new(debian("/usr/bin/dnsperf"));
    command.args(["-s", "127.0.0.1", "-p", &server.address.port().to_string(), "-l", &seconds.to_string()]);
    // Eight clients, one thread that sends and one that receives.
    command.args(["-c", "8", "-T", "1", "-q", "200", "-t", "1"]);
    command.args(["-m", if case.transport == Transport::Tcp { "tcp" } else { "udp" }]);
    command.arg("-d").arg(&case.file);
    if case.edns {
        command.args(["-e", "-D"]);
    }
    let before = (server.cpu(), server.cpu_of_udp());
    let output = run_to_end("dnsperf", command, Duration::from_secs(seconds + 30)).expect_success().stdout;
    let after = (server.cpu(), server.cpu_of_udp());

    let after_words = |words: &str| output.lines().find_map(|line| line.trim().strip_prefix(words)).map(str::trim);
    let number = |words: &str| {
        let value = after_words(words).and_then(|rest| rest.split_whitespace().next());
        value.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no `{words}` in:\n{output}"))
    };
    let (sent, completed) = (number("Queries sent:"), number("Queries completed:"));
    assert!(completed > 0.99 * sent, "{}, {}: many answers are missing:\n{output}", server.name, case.name);
    let codes = after_words("Response codes:").unwrap_or_default();
    let good = format!("{} {completed}", case.rcode);
    assert!(
        server.name == crate::echo::NAME || codes.starts_with(&good),
        "{}, {}: {good} is expected, not {codes}",
        server.name,
        case.name
    );
    let per_query = |before: f64, after: f64| (after - before) * 1e6 / completed;
    Sample {
        cpu: per_query(before.0, after.0),
        cpu_of_udp: before.1.zip(after.1).map(|(before, after)| per_query(before, after)),
        rate: number("Queries per second:"),
    }
}
