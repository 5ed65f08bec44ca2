//! How configuration problems are shown: file, line, column, the line itself and a caret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::zone::Place;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// `None` when the problem is the file itself, for example that it cannot be read.
    pub place: Option<Place>,
    /// How many characters the caret underlines; at least 1.
    pub width: usize,
    /// The line in question.
    pub line: String,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one: first those of the configuration file by line, then those of the files that it names.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Box<Problem> {
        Box::new(Problem { file: file.into(), place: None, width: 1, line: String::new(), message, help: None })
    }

    /// A problem of some octets of `text`. What lies beyond the end of their first line is not underlined.
    pub(super) fn at_span(file: &Path, text: &str, span: &Range<usize>, message: String) -> Problem {
        let octets = text.as_bytes();
        let start = span.start.min(octets.len());
        let before = &octets[..start];
        let line_start = before.iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1);
        let number = 1 + before.iter().filter(|octet| **octet == b'\n').count();
        let line = text.split('\n').nth(number - 1).unwrap_or_default().trim_end_matches('\r');
        let end = span.end.clamp(start, (line_start + line.len()).max(start));
        Problem {
            file: file.into(),
            place: Some(Place { line: number, column: 1 + characters(&octets[line_start..start]) }),
            width: characters(&octets[start..end]).max(1),
            line: line.to_owned(),
            message,
            help: None,
        }
    }

    /// A problem at a place of `text`, underlined up to the next white space.
    pub(super) fn at_place(file: &Path, text: &str, place: Place, message: String) -> Problem {
        let line = text.split('\n').nth(place.line.saturating_sub(1)).unwrap_or_default().trim_end_matches('\r');
        let word = line.chars().skip(place.column.saturating_sub(1)).take_while(|c| !c.is_whitespace());
        Problem {
            file: file.into(),
            place: Some(place),
            width: word.count().max(1),
            line: line.to_owned(),
            message,
            help: None,
        }
    }

    /// Counted from 1; 0 for the file as a whole.
    pub(super) fn line_number(&self) -> usize {
        self.place.map_or(0, |place| place.line)
    }
}

/// How many characters begin in these octets of UTF-8.
fn characters(octets: &[u8]) -> usize {
    octets.iter().filter(|octet| **octet & 0b1100_0000 != 0b1000_0000).count()
}

/// Text of a file as it can be shown: control characters would change what the terminal does.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", shown(&self.message))?;
        match self.place {
            None => writeln!(f, " --> {}", self.file.display())?,
            Some(place) => {
                let number = place.line.to_string();
                let margin = " ".repeat(number.len());
                let indent = self.line.chars().take(place.column.saturating_sub(1));
                let indent: String = indent.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(f, "{margin}--> {}:{}:{}", self.file.display(), place.line, place.column)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{}", format!("{number} | {}", shown(&self.line)).trim_end())?;
                writeln!(f, "{margin} | {indent}{}", "^".repeat(self.width.max(1)))?;
            }
        }
        if let Some(help) = &self.help {
            writeln!(f, "  = help: {}", shown(help))?;
        }
        Ok(())
    }
}
