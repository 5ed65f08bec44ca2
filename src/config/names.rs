//! The names of a certificate: from what people write to A-labels, with the rules that CAs have for them.

use std::borrow::Cow;
use std::net::IpAddr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::read::{At, Complaint, List, Reader, Table};
use super::value::name;

/// What public CAs put into one certificate.
const MAX_NAMES: usize = 100;
/// The full stops that UTS #46 takes for one.
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// `names` of a [[certificate]].
pub(super) fn certified_names(table: &mut Table, reader: &mut Reader) -> Option<List<String>> {
    table.require("names", "[\"example.com\", \"*.example.com\"]", reader);
    let names = table.strings("names", reader, certified_name)?;
    let complaint = match names.written {
        0 => Some("a certificate needs a name".to_owned()),
        count if count > MAX_NAMES => Some(format!("a certificate has at most {MAX_NAMES} names, not {count}")),
        _ => None,
    };
    if let Some(complaint) = complaint {
        reader.refuse(&names.span, Complaint::new(complaint));
    }
    reader.distinct(&names.items, |name| format!("the name {name}"));
    for At { value: name, span } in &names.items {
        let covers = |other: &&At<String>| {
            let base = other.value.strip_prefix("*.");
            base.is_some_and(|base| {
                !name.starts_with("*.") && name.split_once('.').is_some_and(|(_, rest)| rest == base)
            })
        };
        if let Some(wildcard) = names.items.iter().find(covers) {
            let complaint = Complaint::new(format!("{name} is covered by {} of the same certificate", wildcard.value));
            let line = reader.line(&wildcard.span);
            let help = format!("drop one of them, the wildcard is in line {line}: CAs refuse a name that is redundant");
            reader.refuse(span, complaint.help(help));
        }
    }
    Some(names)
}

/// A name to be certified, in lower case and ASCII: a domain name of two labels or more, with `*.` in front if it is a
/// wildcard.
pub(super) fn certified_name(text: &str) -> Result<String, Complaint> {
    let refuse = |why: &str| Complaint::new(format!("`{text}` is not a name for a certificate: {why}"));
    let base = text.strip_prefix("*.").unwrap_or(text);
    let ascii = a_labels(base).map_err(|why| refuse(&why))?;
    let whole = if base.len() == text.len() { ascii.to_string() } else { format!("*.{ascii}") };
    if whole.parse::<IpAddr>().is_ok() {
        return Err(refuse("it is an IP address").help("dns-01 proves control of domain names alone"));
    }
    if let Some(without) = whole.strip_suffix('.') {
        return Err(refuse("it ends with a dot").help(format!("write `{without}`")));
    }
    if ascii.contains('*') {
        return Err(refuse("`*` can only be the whole first label"));
    }
    if whole.len() > 253 {
        return Err(refuse("it is longer than 253 characters"));
    }
    if name(&ascii, "", "a name for a certificate")?.labels().nth(1).is_none() {
        return Err(refuse("it needs two labels at least"));
    }
    if ascii.len() < whole.len() && is_public_suffix(&ascii) {
        let why =
            format!("everybody can register names below {}, so no CA issues for all of them", ascii.to_lowercase());
        return Err(refuse(&why).help("write the domain below it that is yours, such as \"*.example.co.uk\""));
    }
    Ok(whole.to_ascii_lowercase())
}

/// Whether it is a name such as co.uk, below which a registry lets everybody register: one of ICANN's in the list of
/// public suffixes. That list has more, of companies for their customers, who may well certify their own name.
pub(super) fn is_public_suffix(ascii: &str) -> bool {
    let ascii = ascii.to_ascii_lowercase();
    psl::suffix(ascii.as_bytes())
        .is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann) && suffix.as_bytes() == ascii.as_bytes())
}

/// The name with its labels as they are in the DNS (RFC 5890 section 2.3.2.1); what is wrong with it if it has none.
fn a_labels(text: &str) -> Result<Cow<'_, str>, String> {
    if text.split('.').all(|label| !is_international(label)) {
        return Ok(Cow::Borrowed(text));
    }
    let labels = text.split(DOTS).filter(|label| is_international(label));
    if let Some(bad) = labels.clone().find(|label| !converts(label, Hyphens::Check)) {
        return Err(why_not(bad));
    }
    // once more with all labels, whose directions have to go together (RFC 5893)
    let ascii = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
    ascii.map_err(|_| "its labels are not of one direction of writing (RFC 5893)".to_owned())
}

fn is_international(label: &str) -> bool {
    !label.is_ascii() || label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
}

fn converts(label: &str, hyphens: Hyphens) -> bool {
    Uts46::new().to_ascii(label.as_bytes(), AsciiDenyList::STD3, hyphens, DnsLength::Ignore).is_ok()
}

/// Why a label has no A-label.
fn why_not(label: &str) -> String {
    let ok = |text: &str| converts(text, Hyphens::Allow);
    if label.is_ascii() {
        return format!("the label `{label}` begins with `xn--` and is the A-label of nothing");
    }
    if ok(label) {
        return format!("the label `{label}` has hyphens at its ends, or as its third and fourth character");
    }
    // in the middle of letters of either direction
    let bad = |c: &char| !ok(&format!("a{c}a")) && !ok(&format!("\u{5d0}{c}\u{5d0}"));
    if let Some(c) = label.chars().find(bad) {
        let shown = if c.is_alphanumeric() || c.is_ascii_graphic() { format!("`{c}`, ") } else { String::new() };
        return format!("{shown}U+{:04X} cannot be part of it", u32::from(c));
    }
    if !ok(&label.chars().take(1).collect::<String>()) {
        return format!("the label `{label}` begins with a mark that belongs to a letter before it");
    }
    format!("the label `{label}` is not of one direction of writing (RFC 5893)")
}
