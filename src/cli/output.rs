//! What people and programs see: aligned columns, dates, durations, JSON.

use std::fmt::{self, Display};
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

/// The answer of a command.
pub(super) struct Output {
    pub(super) json: bool,
    to: Box<dyn Write>,
}

impl Output {
    pub(super) fn new(json: bool) -> Output {
        Output { json, to: Box::new(io::stdout().lock()) }
    }

    pub(super) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// One answer as a whole.
    pub(super) fn pretty_json(&mut self, answer: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(answer)?;
        self.line(text)
    }

    /// One of many answers, on a line of its own, at once.
    pub(super) fn json_line(&mut self, answer: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(answer)?;
        self.line(text)?;
        self.to.flush()
    }

    /// Rows under a head, or a sentence if there are none.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>], none: &str) -> io::Result<()> {
        if rows.is_empty() {
            return self.line(none);
        }
        let head = head.iter().map(|title| title.to_string()).collect();
        write!(self.to, "{}", columns(std::iter::once(&head).chain(rows)))
    }

    /// Facts, one a line, named.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> io::Result<()> {
        let rows: Vec<Vec<String>> = facts.iter().map(|(name, fact)| vec![format!("{name}:"), fact.clone()]).collect();
        write!(self.to, "{}", columns(&rows))
    }
}

/// Tells something beside the answer, on stderr. Whether somebody listens there changes nothing.
pub(super) fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Cells in left-aligned columns, two spaces apart.
fn columns<'a>(rows: impl IntoIterator<Item = &'a Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Text without characters that steer a terminal: some of it comes from certificate authorities.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// `2026-11-22 04:34 UTC`
pub(super) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `2026-11-22 04:34 UTC (in 58 days)`
pub(super) fn date_and_distance(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", date(at), distance(at, now))
}

/// `in 58 days`, `3 hours ago`
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second().saturating_sub(now.as_second());
    match (seconds, duration(seconds.unsigned_abs())) {
        (0, _) => "now".to_owned(),
        (1.., duration) => format!("in {duration}"),
        (_, duration) => format!("{duration} ago"),
    }
}

/// The largest unit that is at least two, else the next smaller one.
fn duration(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = unit.unwrap_or((1, "second"));
    match seconds / length {
        1 => format!("1 {unit}"),
        many => format!("{many} {unit}s"),
    }
}

/// `a, b, c`, or `–` for none.
pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "–".to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| cell.to_string()).collect()
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [row(&["NAME", "VALUES"]), row(&["a.example", "ä"]), row(&["ü", ""])];
        assert_eq!(columns(&rows), "NAME       VALUES\na.example  ä\nü\n");
    }

    #[test]
    fn nothing_in_a_cell_steers_the_terminal() {
        assert_eq!(columns(&[row(&["a\x1b[31m\nb"])]), "a\\u{1b}[31m\\nb\n");
    }

    #[test]
    fn distances_are_told_in_one_unit() {
        let now: Timestamp = "2026-11-22T04:34:56Z".parse().unwrap();
        let at = |seconds: i64| distance(Timestamp::from_second(now.as_second() + seconds).unwrap(), now);
        assert_eq!(at(58 * 86_400 + 7), "in 58 days");
        assert_eq!(at(-3 * 3_600), "3 hours ago");
        assert_eq!(at(90), "in 90 seconds");
        assert_eq!(at(-1), "1 second ago");
        assert_eq!(at(0), "now");
        assert_eq!(date(now), "2026-11-22 04:34 UTC");
    }
}
