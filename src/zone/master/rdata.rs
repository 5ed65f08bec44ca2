//! RDATA from presentation to wire form.
//!
//! What can be said of each token by itself (numbers, names, lengths) is checked here, to point at the token that is
//! wrong; then the `domain` crate reads the record, one line at a time, with every name absolute: its reader panics
//! when used after some errors, reports others a line late, takes `@` in RDATA for a label and knows no TTL units.

use std::fmt::Write as _;

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace;

use super::lex::Token;
use super::names::{absolute, seconds};
use crate::zone::record::{rdata_is_sound, rtype};
use crate::zone::{Name, Place, ZoneProblem};

/// What a token must be.
#[derive(Clone, Copy)]
enum Slot {
    /// A decimal number up to this one.
    Number(u32),
    /// Seconds, with or without units.
    Time,
    Name,
    /// A character-string (RFC 1035 section 3.3).
    Text,
    /// What only the `domain` crate judges.
    Other,
}

/// The tokens of a type's RDATA.
struct Shape {
    slots: &'static [Slot],
    /// More tokens may follow the slots: texts after a text, any after others.
    more: bool,
    /// For people.
    words: &'static str,
}

/// The shape of the types whose tokens are checked one by one; `None`: the `domain` crate is the only judge.
fn shape(rtype: u16) -> Option<Shape> {
    use Slot::{Name, Number, Other, Text, Time};
    const N8: Slot = Number(u8::MAX as u32);
    const N16: Slot = Number(u16::MAX as u32);
    const N32: Slot = Number(u32::MAX);
    let (slots, words): (&[Slot], &str) = match rtype {
        rtype::A => (&[Other], "an IPv4 address"),
        rtype::AAAA => (&[Other], "an IPv6 address"),
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => (&[Name], "a name"),
        rtype::SOA => (
            &[Name, Name, N32, Time, Time, Time, Time],
            "a name server, a mailbox as a name, SERIAL, REFRESH, RETRY, EXPIRE, MINIMUM",
        ),
        rtype::MX => (&[N16, Name], "a preference and a name"),
        rtype::TXT => (&[Text], "one or more texts"),
        rtype::HINFO => (&[Text, Text], "a CPU and an operating system"),
        rtype::RP => (&[Name, Name], "a mailbox as a name and the name of a TXT record"),
        rtype::SRV => (&[N16, N16, N16, Name], "a priority, a weight, a port and a name"),
        rtype::NAPTR => {
            (&[N16, N16, Text, Text, Text, Name], "an order, a preference, flags, services, an expression and a name")
        }
        rtype::DS => (&[N16, Other, N8, Other], "a key tag, an algorithm, a digest type and a digest"),
        rtype::SSHFP => (&[N8, N8, Other], "an algorithm, a fingerprint type and a fingerprint"),
        rtype::TLSA => (&[N8, N8, N8, Other], "a usage, a selector, a matching type and data"),
        rtype::CAA => (&[N8, Other, Other], "flags, a tag and a value"),
        rtype::SVCB | rtype::HTTPS => (&[N16, Name], "a priority, a name and parameters"),
        _ => return None,
    };
    let more = matches!(rtype, rtype::TXT | rtype::DS | rtype::SSHFP | rtype::TLSA | rtype::SVCB | rtype::HTTPS);
    Some(Shape { slots, more, words })
}

impl Shape {
    /// What the token at `index` must be; `None` if there is one token too many.
    fn slot(&self, index: usize) -> Option<Slot> {
        let over = || match self.slots.last() {
            Some(Slot::Text) if self.more => Some(Slot::Text),
            _ => self.more.then_some(Slot::Other),
        };
        self.slots.get(index).copied().or_else(over)
    }
}

/// Longest RDATA of SVCB and HTTPS as text: one octet of text makes up to six of RDATA, and the `domain` crate
/// panics above 65,535.
const MAX_PARAMETERS: usize = 8_000;

/// Reads the RDATA of one record of class IN; names in it are relative to `origin`. `end` is where the type stands.
pub(super) fn read(rtype: u16, tokens: &[Token], origin: &Name, end: Place) -> Result<Box<[u8]>, Vec<ZoneProblem>> {
    let mnemonic = Rtype::from_int(rtype);
    let problem = |place, message| vec![ZoneProblem { place, message }];
    let first = tokens.first().map_or(end, |token| token.place);
    let generic = tokens.first().is_some_and(|token| !token.quoted && token.text == "\\#");
    let rdata = if generic {
        unknown(tokens).map_err(|(place, message)| problem(place, message))?
    } else {
        let text = normalised(rtype, tokens, origin, end)?;
        compose(rtype, &text, origin).map_err(|reason| {
            let words = shape(rtype).map_or(String::new(), |shape| format!("; {mnemonic} takes {}", shape.words));
            problem(first, format!("bad {mnemonic} record: {reason}{words}"))
        })?
    };
    if rdata.len() > usize::from(u16::MAX) {
        return Err(problem(first, format!("the RDATA has {} octets, more than 65,535", rdata.len())));
    }
    if !rdata_is_sound(rtype, &rdata) {
        return Err(problem(first, format!("these octets are no RDATA of type {mnemonic}")));
    }
    Ok(rdata.into())
}

/// `\# length hex…` (RFC 3597 section 5).
fn unknown(tokens: &[Token]) -> Result<Vec<u8>, (Place, String)> {
    let [marker, rest @ ..] = tokens else { return Ok(Vec::new()) };
    let [length, words @ ..] = rest else {
        return Err((marker.place, "after `\\#` come the number of octets and the octets in hexadecimal".into()));
    };
    let expected = number(length.text, u32::from(u16::MAX)).map_err(|message| (length.place, message))?;
    let mut octets = Vec::new();
    let mut half = None;
    for word in words {
        for char in word.text.chars() {
            let digit = char.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let digit = digit.ok_or_else(|| (word.place, format!("`{}` is not hexadecimal", word.text)))?;
            match half.take() {
                None => half = Some(digit << 4),
                Some(high) => octets.push(high | digit),
            }
        }
    }
    if half.is_some() || u32::try_from(octets.len()) != Ok(expected) {
        let digits = 2 * octets.len() + usize::from(half.is_some());
        return Err((length.place, format!("{expected} octets are announced, but {digits} hexadecimal digits follow")));
    }
    Ok(octets)
}

/// The tokens as one line that the `domain` crate reads well; every token that is wrong is reported.
fn normalised(rtype: u16, tokens: &[Token], origin: &Name, end: Place) -> Result<String, Vec<ZoneProblem>> {
    let mnemonic = Rtype::from_int(rtype);
    let shape = shape(rtype);
    let mut problems = Vec::new();
    let mut line = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let slot = match &shape {
            None => Slot::Other,
            Some(shape) => match shape.slot(index) {
                Some(slot) => slot,
                None => {
                    let message = format!("one token too many: {mnemonic} takes {}", shape.words);
                    problems.push(ZoneProblem { place: token.place, message });
                    break;
                }
            },
        };
        if !token.joined {
            line.push(' ');
        }
        let pushed = match slot {
            Slot::Number(max) => number(token.text, max).map(|number| _ = write!(line, "{number}")),
            Slot::Time => seconds(token.text).map(|seconds| _ = write!(line, "{seconds}")),
            Slot::Name => absolute(token, origin).map(|(_, text)| line.push_str(&text)),
            Slot::Text if token.octets().len() > 255 => {
                Err(format!("a text of {} octets: split it into quoted texts of up to 255", token.octets().len()))
            }
            Slot::Text | Slot::Other => {
                push_token(&mut line, token);
                Ok(())
            }
        };
        if let Err(message) = pushed {
            problems.push(ZoneProblem { place: token.place, message });
        }
    }
    if let Some(shape) = &shape
        && tokens.len() < shape.slots.len()
        && problems.is_empty()
    {
        let place = tokens.last().map_or(end, |token| token.place);
        let message = format!("the record ends too early: {mnemonic} takes {}", shape.words);
        problems.push(ZoneProblem { place, message });
    }
    if matches!(rtype, rtype::SVCB | rtype::HTTPS) && line.len() > MAX_PARAMETERS {
        let message = format!("parameters of more than {MAX_PARAMETERS} octets are not supported");
        problems.push(ZoneProblem { place: end, message });
    }
    if problems.is_empty() { Ok(line) } else { Err(problems) }
}

/// A decimal number.
fn number(text: &str, max: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= max);
    number.ok_or_else(|| format!("`{text}` is not a number from 0 to {max}"))
}

/// Writes a token back; what is not printable ASCII becomes `\DDD`.
fn push_token(line: &mut String, token: &Token) {
    let quote = if token.quoted { "\"" } else { "" };
    line.push_str(quote);
    let mut chars = token.text.chars();
    while let Some(char) = chars.next() {
        let (char, escaped) = match char {
            '\\' => (chars.next().unwrap_or('\\'), true),
            other => (other, false),
        };
        if char == ' ' || char.is_ascii_graphic() {
            line.push_str(if escaped { "\\" } else { "" });
            line.push(char);
        } else {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                _ = write!(line, "\\{byte:03}");
            }
        }
    }
    line.push_str(quote);
}

/// Wire form of one line of RDATA, by a reader that is used for this line only; the reason if there is none.
fn compose(rtype: u16, line: &str, origin: &Name) -> Result<Vec<u8>, String> {
    let mut reader = inplace::Zonefile::from(format!(". 0 IN TYPE{rtype}{line}\n").as_str());
    let origin = Bytes::copy_from_slice(origin.as_wire());
    reader.set_origin(domain::base::Name::from_octets(origin).map_err(|err| err.to_string())?);
    match reader.next_entry() {
        Ok(Some(inplace::Entry::Record(record))) => {
            let mut rdata = Vec::new();
            record.data().compose_rdata(&mut rdata).map_err(|_| "too long".to_owned())?;
            Ok(rdata)
        }
        Ok(_) => Err("no record".into()),
        Err(err) => Err(reason(&err.to_string())),
    }
}

/// The crate's `line:column: reason`, in words for somebody who never saw the crate.
fn reason(error: &str) -> String {
    let reason = error.splitn(3, ':').nth(2).unwrap_or(error).trim();
    match reason {
        "unexpected end of entry" | "short buffer" => "it ends too early".into(),
        "trailing tokens" => "there is more than belongs in it".into(),
        "bad charstr" => "a text is longer than 255 octets".into(),
        "bad name" => "a name is malformed or too long".into(),
        "unknown record type with concrete data" => {
            "its RDATA can only be written as `\\# length hexadecimal` (RFC 3597 section 5)".into()
        }
        other => other.into(),
    }
}
