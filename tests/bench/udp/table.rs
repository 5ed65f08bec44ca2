//! The figures, in the form of the README.

use crate::cases::Case;
use crate::load::Sample;
use crate::stand::median;

/// Prints medians, and medians of the ratios of each run: the machine's mood is the same above and below the line.
/// `samples` by case, server and run; acmezone is the first server, its first case the plain hit.
pub fn print(cases: &[Case], names: &[&str], samples: &[Vec<Vec<Sample>>]) {
    println!("\n| case | server | µs CPU per query | queries/s | × NSD | × echo | × own first case |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    let at = |name: &str| names.iter().position(|other| *other == name);
    for (case, servers) in cases.iter().zip(samples) {
        for (index, (name, runs)) in names.iter().zip(servers).enumerate() {
            let Some(cpu) = median(runs.iter().map(|run| run.cpu).collect()) else { continue };
            let rate = median(runs.iter().map(|run| run.rate).collect()).unwrap_or_default();
            let to = |other: Option<&Vec<Sample>>| ratio(runs, other.map_or(&[], Vec::as_slice));
            let to_nsd = to(at("NSD").and_then(|nsd| servers.get(nsd)));
            let to_echo = to(servers.last());
            let to_first = to(samples.first().and_then(|servers| servers.get(index)));
            println!("| {} | {name} | {cpu:.2} | {rate:.0} | {to_nsd} | {to_echo} | {to_first} |", case.name);
        }
    }
}

fn ratio(runs: &[Sample], others: &[Sample]) -> String {
    let ratios = runs.iter().zip(others).map(|(run, other)| run.cpu / other.cpu).collect();
    median(ratios).map_or("–".into(), |ratio| format!("{ratio:.2}"))
}
