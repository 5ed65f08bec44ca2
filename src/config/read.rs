//! A small reader of TOML tables that keeps the place of everything and goes on after a problem.
//!
//! serde stops at the first error and forgets where a value stood once it is read; whoever mends a configuration wants
//! to see everything that is wrong at once, also what only shows when two values are compared.

use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use crate::zone::ZoneProblem;

/// Octets of the file, from and to.
pub(super) type Span = Range<usize>;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// The values without their places.
pub(super) fn values<T: Clone>(list: &[At<T>]) -> Vec<T> {
    list.iter().map(|at| at.value.clone()).collect()
}

/// A list of values. Those that were wrong are written, but no items.
#[derive(Debug)]
pub(super) struct List<T> {
    pub items: Vec<At<T>>,
    pub written: usize,
    pub span: Span,
}

/// What is wrong with a value, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub message: String,
    pub help: Option<String>,
}

impl Complaint {
    pub fn new(message: impl Into<String>) -> Complaint {
        Complaint { message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Complaint {
        self.help = Some(help.into());
        self
    }
}

/// The octets of a file; if it cannot be read, what the operating system says, without the number.
pub(super) fn octets_of(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        let text = error.to_string();
        format!("cannot be read: {}", text.split(" (os error").next().unwrap_or(&text))
    })
}

/// The text of a file without a byte order mark, which would be counted in places; the reason with its place if it
/// cannot be read or is not UTF-8.
pub(super) fn text_of(file: &Path) -> Result<String, Box<Problem>> {
    let mut octets = octets_of(file).map_err(|why| Problem::of_file(file, why))?;
    if octets.starts_with("\u{feff}".as_bytes()) {
        octets.drain(..'\u{feff}'.len_utf8());
    }
    String::from_utf8(octets).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // one octet that is wrong is shown as one replacement character
        Box::new(Problem::at_span(file, &text, &(at..at + 1), "this file is not UTF-8".into()))
    })
}

/// The configuration file and what was found wrong in it so far.
pub(super) struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    /// In this file, in the order of discovery.
    own: Vec<Problem>,
    /// In the files that it names.
    named: Vec<Problem>,
    /// What is not shown to anybody.
    secrets: Vec<Span>,
}

impl<'t> Reader<'t> {
    pub fn new(file: &'t Path, text: &'t str) -> Reader<'t> {
        Reader { file, text, own: Vec::new(), named: Vec::new(), secrets: Vec::new() }
    }

    /// The TOML document, `None` if its syntax is wrong.
    pub fn document(&mut self) -> Option<DeTable<'t>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let problem = Problem::at_span(self.file, self.text, &span, error.message().to_owned());
            // what follows on the same line is most often an echo of the first error
            if !self.own.iter().any(|known| known.line_number() == problem.line_number()) {
                self.own.push(problem);
            }
        }
        errors.is_empty().then(|| document.into_inner())
    }

    /// Notes what is wrong at `span`.
    pub fn refuse(&mut self, span: &Span, complaint: Complaint) {
        let problem = Problem::at_span(self.file, self.text, span, complaint.message);
        self.own.push(Problem { help: complaint.help, ..problem });
    }

    /// Notes what is wrong in a zone file with this text.
    pub fn refuse_zone(&mut self, file: &Path, text: &str, problems: Vec<ZoneProblem>) {
        let problems =
            problems.into_iter().map(|problem| Problem::at_place(file, text, problem.place, problem.message));
        self.named.extend(problems);
    }

    /// Notes a problem of another file.
    pub fn refuse_named(&mut self, problem: Problem) {
        self.named.push(problem);
    }

    /// The line that `span` begins in, counted from 1.
    pub fn line(&self, span: &Span) -> usize {
        Problem::at_span(self.file, self.text, span, String::new()).line_number()
    }

    /// The value if `result` is one; its complaint is noted at `span`.
    pub fn accept<T>(&mut self, span: Span, result: Result<T, Complaint>) -> Option<At<T>> {
        match result {
            Ok(value) => Some(At { value, span }),
            Err(complaint) => {
                self.refuse(&span, complaint);
                None
            }
        }
    }

    /// Refuses each item that equals an earlier one. `what` is told with the line of the first.
    pub fn distinct<'a, T: PartialEq + 'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a At<T>>,
        what: impl Fn(&T) -> String,
    ) {
        let mut seen: Vec<&At<T>> = Vec::new();
        for item in items {
            match seen.iter().find(|first| first.value == item.value) {
                None => seen.push(item),
                Some(first) => {
                    let line = self.line(&first.span);
                    let complaint = Complaint::new(format!("{} is there twice", what(&item.value)));
                    self.refuse(&item.span, complaint.help(format!("the first is in line {line}")));
                }
            }
        }
    }

    /// All problems: first those of this file by line, then those of the files that it names.
    pub fn finish(mut self) -> Vec<Problem> {
        self.own.sort_by_key(|problem| problem.place);
        if !self.secrets.is_empty() {
            let concealed = |at: usize| self.secrets.iter().any(|span| span.contains(&at));
            let shown = |(at, c): (usize, char)| if concealed(at) && !c.is_control() { '*' } else { c };
            let text: String = self.text.char_indices().map(shown).collect();
            for problem in self.own.iter_mut().filter(|problem| problem.place.is_some()) {
                let line = text.split('\n').nth(problem.line_number().saturating_sub(1)).unwrap_or_default();
                problem.line = line.trim_end_matches('\r').to_owned();
            }
        }
        self.own.append(&mut self.named);
        self.own
    }
}

/// One table of the document. Each key is known once it was asked for.
pub(super) struct Table<'d> {
    /// As it is written, `[api]`; empty for the top level.
    name: &'static str,
    /// The header; the start of the file for the top level.
    pub span: Span,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub fn top(document: &'d DeTable<'d>) -> Table<'d> {
        Table { name: "", span: 0..0, entries: document, known: Vec::new() }
    }

    /// Whether the key is written, with whatever value.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the key is written with a string.
    pub fn is_string(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_str())
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Notes that a key is missing. `example` shows how it is written.
    pub fn require(&self, key: &str, example: &str, reader: &mut Reader) {
        if !self.has(key) {
            let message = match self.name {
                "" => format!("`{key}` is missing"),
                name => format!("{name} has no `{key}`"),
            };
            reader.refuse(&self.span, Complaint::new(message).help(format!("add `{key} = {example}`")));
        }
    }

    /// A string, taken through `parse`.
    pub fn string<T>(
        &mut self,
        key: &'static str,
        reader: &mut Reader,
        parse: impl FnOnce(&'d str) -> Result<T, Complaint>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str().ok_or_else(|| wrong_type(key, "a string", value));
        reader.accept(value.span(), text.and_then(parse))
    }

    /// Has the string at `key`, or those of a list, shown to nobody if it is a `secret`.
    pub fn conceal(&self, key: &str, secret: impl Fn(&str) -> bool, reader: &mut Reader) {
        let Some(value) = self.entries.get(key) else { return };
        let items = value.get_ref().as_array().map_or_else(|| vec![value], |items| items.iter().collect());
        let secrets = items.into_iter().filter(|item| item.get_ref().as_str().is_some_and(&secret));
        reader.secrets.extend(secrets.map(Spanned::span));
    }

    /// A string, or a list of strings.
    pub fn string_or_strings(&mut self, key: &'static str, reader: &mut Reader) -> Option<List<String>> {
        let value = self.value(key)?;
        let (items, span) = match value.get_ref() {
            DeValue::Array(items) => (items.iter().collect(), value.span()),
            _ => (vec![value], value.span()),
        };
        let written = items.len();
        let strings = items.into_iter().filter_map(|item| {
            let text = item.get_ref().as_str().map(str::to_owned);
            reader.accept(item.span(), text.ok_or_else(|| wrong_type(key, "a string or a list of strings", item)))
        });
        Some(List { items: strings.collect(), written, span })
    }

    /// A list of strings, each taken through `parse`; those that fail are left out.
    pub fn strings<T>(
        &mut self,
        key: &'static str,
        reader: &mut Reader,
        parse: impl Fn(&'d str) -> Result<T, Complaint>,
    ) -> Option<List<T>> {
        let value = self.value(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let mut complaint = wrong_type(key, "a list of strings", value);
            if let Some(text) = value.get_ref().as_str() {
                complaint = complaint.help(format!("write `{key} = [{text:?}]`"));
            }
            reader.refuse(&value.span(), complaint);
            return None;
        };
        let good = items.iter().filter_map(|item| {
            let text = item.get_ref().as_str().ok_or_else(|| wrong_type(key, "a list of strings", item));
            reader.accept(item.span(), text.and_then(&parse))
        });
        Some(List { items: good.collect(), written: items.len(), span: value.span() })
    }

    pub fn boolean(&mut self, key: &'static str, reader: &mut Reader) -> Option<At<bool>> {
        let value = self.value(key)?;
        let result = value.get_ref().as_bool().ok_or_else(|| wrong_type(key, "`true` or `false`", value));
        reader.accept(value.span(), result)
    }

    pub fn integer(&mut self, key: &'static str, reader: &mut Reader) -> Option<At<i64>> {
        let value = self.value(key)?;
        let result = integer_of(value).unwrap_or_else(|| Err(wrong_type(key, "a whole number", value)));
        reader.accept(value.span(), result)
    }

    /// A whole number between two, both included.
    pub fn between<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        least: i64,
        most: i64,
        reader: &mut Reader,
    ) -> Option<T> {
        let At { value, span } = self.integer(key, reader)?;
        if !(least..=most).contains(&value) {
            reader.refuse(&span, Complaint::new(format!("`{key}` is from {least} to {most}, not {value}")));
            return None;
        }
        T::try_from(value).ok()
    }

    /// Seconds as a whole number, or what `parse` makes of a string.
    pub fn seconds(
        &mut self,
        key: &'static str,
        reader: &mut Reader,
        parse: impl FnOnce(&str) -> Result<u64, Complaint>,
    ) -> Option<At<u64>> {
        let value = self.value(key)?;
        let result = match (value.get_ref().as_str(), integer_of(value)) {
            (Some(text), _) => parse(text),
            (None, Some(number)) => number.and_then(|number| {
                u64::try_from(number).map_err(|_| Complaint::new(format!("`{key}` cannot be negative")))
            }),
            (None, None) => Err(wrong_type(key, "a duration", value)
                .help("write seconds as a number, or a string such as \"90s\", \"10m\", \"12h\", \"7d\"")),
        };
        reader.accept(value.span(), result)
    }

    /// A table of its own, `[key]`, or an inline table.
    pub fn table(&mut self, key: &'static str, name: &'static str, reader: &mut Reader) -> Option<Table<'d>> {
        let value = self.value(key)?;
        let Some(entries) = value.get_ref().as_table() else {
            reader.refuse(&value.span(), wrong_type(key, "a table", value).help(format!("write it once, as `{name}`")));
            return None;
        };
        Some(Table { name, span: value.span(), entries, known: Vec::new() })
    }

    /// Tables that repeat, `[[key]]`; `None` if something else is written there.
    pub fn tables(&mut self, key: &'static str, name: &'static str, reader: &mut Reader) -> Option<Vec<Table<'d>>> {
        let Some(value) = self.value(key) else { return Some(Vec::new()) };
        let mut refuse = |value: &Spanned<DeValue>| {
            let complaint = wrong_type(key, "a list of tables", value).help(format!("write each one as `{name}`"));
            reader.refuse(&value.span(), complaint);
        };
        let Some(items) = value.get_ref().as_array() else {
            refuse(value);
            return None;
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(entries) => tables.push(Table { name, span: item.span(), entries, known: Vec::new() }),
                None => refuse(item),
            }
        }
        (tables.len() == items.len()).then_some(tables)
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self, reader: &mut Reader) {
        for (key, value) in self.entries.iter() {
            let written: &str = key.get_ref();
            if self.known.contains(&written) {
                continue;
            }
            let is_table = match value.get_ref() {
                DeValue::Table(_) => true,
                DeValue::Array(items) => items.iter().any(|item| item.get_ref().is_table()),
                _ => false,
            };
            let what = if is_table { "table" } else { "key" };
            let inside = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            let help = match nearest(written, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", listed(self.known.iter())),
            };
            reader.refuse(&key.span(), Complaint::new(format!("unknown {what} `{written}`{inside}")).help(help));
        }
    }
}

fn wrong_type(key: &str, wanted: &str, value: &Spanned<DeValue>) -> Complaint {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Complaint::new(format!("`{key}` is {wanted}, not {found}"))
}

/// `None` if the value is no integer at all.
fn integer_of(value: &Spanned<DeValue>) -> Option<Result<i64, Complaint>> {
    let integer = value.get_ref().as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_err(|_| Complaint::new(format!("{} is too large a number", integer.as_str()))))
}

/// `a`, `b`, `c`
pub(super) fn listed(items: impl Iterator<Item = impl std::fmt::Display>) -> String {
    items.map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

/// The known word that `written` was most likely meant to be.
pub(super) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let written: Vec<char> = written.to_lowercase().replace('-', "_").chars().take(40).collect();
    let near = known.iter().map(|word| (distance(&written, &word.chars().collect::<Vec<_>>()), *word));
    let (distance, word) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= (written.len() / 3).max(1)).then_some(word)
}

/// How many letters are to be added, dropped, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
