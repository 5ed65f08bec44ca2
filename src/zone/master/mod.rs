//! Reads master files (RFC 1035 section 5): text in, located records out, or every problem with its place.
//!
//! `lex` splits the text into entries and tokens, this module keeps what one entry hands to the next (origin, owner,
//! TTL), `rdata` turns the tokens after the type into octets. What a zone must hold as a whole is not judged here but
//! by [`Zone::from_records`](super::Zone::from_records).
//! `line` is the way back: a record as a line of such a file.

mod lex;
mod line;
mod names;
mod rdata;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use domain::base::iana::Rtype;

pub use self::line::RecordLine;

use self::lex::{Entry, Lexer, Token};
use self::names::{MAX_TTL, absolute, seconds};
use super::record::{Located, Place, Record, ZoneProblem, rtype};
use super::{Name, Soa};

/// Reads the records of a master file in the order of the file; names not ending with a dot are relative to `origin`
/// until an `$ORIGIN` says otherwise. All problems are reported, sorted by place.
///
/// A record without a TTL has that of the last `$TTL` (RFC 2308 section 4); without any, the last explicit TTL
/// (RFC 1035 section 5.1); before any, the MINIMUM of the SOA at `origin`.
pub fn read(text: &str, origin: &Name) -> Result<Vec<Located>, Vec<ZoneProblem>> {
    let mut lexer = Lexer::new(text);
    let mut reader = Reader::new(origin.clone());
    for entry in &mut lexer {
        reader.entry(&entry);
    }
    reader.give_missing_ttls(origin);
    let mut problems = lexer.problems;
    problems.append(&mut reader.problems);
    problems.sort_by_key(|problem| problem.place);
    if problems.is_empty() { Ok(reader.records) } else { Err(problems) }
}

/// Whose the next record without an owner is.
enum Owner {
    Nobody,
    /// A name with a problem already reported.
    Broken,
    Is(Name),
}

/// What one entry hands to the next.
struct Reader {
    origin: Name,
    owner: Owner,
    /// Of `$TTL`.
    default_ttl: Option<u32>,
    /// The last explicit one.
    last_ttl: Option<u32>,
    records: Vec<Located>,
    /// Indices of the records that had no TTL at all.
    without_ttl: Vec<usize>,
    problems: Vec<ZoneProblem>,
}

/// What stands between owner and RDATA.
struct Head<'e, 't> {
    ttl: Option<u32>,
    rtype: u16,
    /// Of the type.
    place: Place,
    rdata: &'e [Token<'t>],
}

impl Reader {
    fn new(origin: Name) -> Reader {
        Reader {
            origin,
            owner: Owner::Nobody,
            default_ttl: None,
            last_ttl: None,
            records: Vec::new(),
            without_ttl: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(ZoneProblem { place, message: message.into() });
    }

    fn entry(&mut self, entry: &Entry) {
        let Some((first, rest)) = entry.tokens.split_first() else { return };
        let directive = !first.quoted && first.text.starts_with('$');
        if entry.broken {
            // The owner still holds for the records that follow.
            if !entry.indented && !directive {
                self.owner = absolute(first, &self.origin).map_or(Owner::Broken, |(name, _)| Owner::Is(name));
            }
        } else if directive {
            self.directive(first, rest);
        } else if entry.indented {
            if matches!(self.owner, Owner::Nobody) {
                self.refuse(first.place, "no record before this one names an owner that it could have");
                self.owner = Owner::Broken;
            }
            self.record(first.place, &entry.tokens);
        } else {
            self.owner = match absolute(first, &self.origin) {
                Ok((name, _)) => Owner::Is(name),
                Err(message) => {
                    self.refuse(first.place, message);
                    Owner::Broken
                }
            };
            self.record(first.place, rest);
        }
    }

    fn directive(&mut self, directive: &Token, arguments: &[Token]) {
        let name = directive.text.to_ascii_uppercase();
        let what = match name.as_str() {
            "$ORIGIN" => "a name",
            "$TTL" => "a time",
            "$INCLUDE" => {
                return self.refuse(directive.place, "$INCLUDE is not supported: put the records into this file");
            }
            "$GENERATE" => {
                return self.refuse(directive.place, "$GENERATE is not supported: write the records one by one");
            }
            _ => {
                let message = format!("`{}` is no directive; an owner with a dollar sign begins `\\$`", directive.text);
                return self.refuse(directive.place, message);
            }
        };
        let Some(argument) = arguments.first() else {
            return self.refuse(directive.place, format!("{name} needs {what}"));
        };
        if let Some(surplus) = arguments.get(1) {
            self.refuse(surplus.place, format!("{name} takes {what} and nothing else"));
        }
        if name == "$ORIGIN" {
            match absolute(argument, &self.origin) {
                Ok((origin, _)) => self.origin = origin,
                Err(message) => self.refuse(argument.place, message),
            }
        } else {
            let ttl = seconds(argument.text).unwrap_or_else(|message| {
                self.refuse(argument.place, message);
                0
            });
            self.default_ttl = Some(ttl);
        }
    }

    /// A record from the token after its owner on.
    fn record(&mut self, place: Place, tokens: &[Token]) {
        let Some(head) = self.head(place, tokens) else { return };
        self.last_ttl = head.ttl.or(self.last_ttl);
        let rdata = match rdata::read(head.rtype, head.rdata, &self.origin, head.place) {
            Ok(rdata) => rdata,
            Err(mut problems) => return self.problems.append(&mut problems),
        };
        let Owner::Is(owner) = &self.owner else { return };
        let ttl = head.ttl.or(self.default_ttl).or(self.last_ttl);
        if ttl.is_none() {
            self.without_ttl.push(self.records.len());
        }
        let record = Record { owner: owner.clone(), rtype: head.rtype, ttl: ttl.unwrap_or(0), rdata };
        self.records.push(Located { record, place });
    }

    /// TTL and class, both optional and in any order, and the type; `None` after a problem that leaves no type.
    fn head<'e, 't>(&mut self, record: Place, tokens: &'e [Token<'t>]) -> Option<Head<'e, 't>> {
        let (mut ttl, mut class) = (None, false);
        let mut before = record;
        for (index, token) in tokens.iter().enumerate() {
            before = token.place;
            if ttl.is_none() && !token.quoted && token.text.starts_with(|char: char| char.is_ascii_digit()) {
                ttl = Some(seconds(token.text).unwrap_or_else(|message| {
                    self.refuse(token.place, message);
                    0
                }));
            } else if !class && !token.quoted && is_class(token.text) {
                class = true;
                if !["IN", "CLASS1"].iter().any(|name| token.text.eq_ignore_ascii_case(name)) {
                    self.refuse(token.place, format!("class {} is not served, only IN is", token.text));
                    return None;
                }
            } else {
                let rtype = self.rtype(token)?;
                let rdata = tokens.get(index + 1..).unwrap_or_default();
                return Some(Head { ttl, rtype, place: token.place, rdata });
            }
        }
        self.refuse(before, "the record ends before its type");
        None
    }

    fn rtype(&mut self, token: &Token) -> Option<u16> {
        let known = Rtype::from_str(token.text).ok().filter(|_| !token.quoted);
        let Some(rtype) = known.map(Rtype::to_int) else {
            self.refuse(token.place, format!("`{}` is no record type", token.text));
            return None;
        };
        // RFC 6895 section 3.1: 128 to 255 are for questions and for meta data
        if matches!(rtype, 0 | rtype::OPT | 128..=255) {
            self.refuse(token.place, format!("{} is no type of record that a zone can hold", token.text));
            return None;
        }
        Some(rtype)
    }

    /// Gives the SOA's MINIMUM to the records that stand before any TTL.
    fn give_missing_ttls(&mut self, origin: &Name) {
        let soa = self.records.iter().map(|located| &located.record);
        let mut soa = soa.filter(|record| record.rtype == rtype::SOA && record.owner == *origin);
        let minimum = soa.next().and_then(|record| Soa::new(record.ttl, record.rdata.clone()));
        let minimum = minimum.map(|soa| soa.minimum().min(MAX_TTL));
        for index in std::mem::take(&mut self.without_ttl) {
            let Some(located) = self.records.get_mut(index) else { continue };
            match minimum {
                Some(minimum) => located.record.ttl = minimum,
                None => {
                    let place = located.place;
                    self.refuse(place, "no TTL: put a line such as `$TTL 1h` at the top");
                }
            }
        }
    }
}

/// Whether a token names a class (RFC 1035 section 3.2.4, RFC 3597 section 5).
fn is_class(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text.as_str(), "IN" | "CH" | "HS" | "CS" | "NONE") || text.strip_prefix("CLASS").is_some_and(number)
}
