//! Names and times as tokens of a master file (RFC 1035 section 5.1).

use super::lex::Token;
use crate::zone::Name;

/// Longest TTL: 2^31 - 1 seconds (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// The name that a token stands for, relative to `origin` if it does not end with a dot, and its text with a final
/// dot, in the case of the file.
pub(super) fn absolute(token: &Token, origin: &Name) -> Result<(Name, String), String> {
    let written = token.text;
    if token.quoted {
        return Err(format!("a name stands without quotes: \"{written}\""));
    }
    if !written.is_ascii() {
        return Err(format!("`{written}` is not ASCII: write the name in its `xn--` form (RFC 5890)"));
    }
    let text = match written {
        "@" if origin.is_root() => ".".into(),
        "@" => format!("{origin}."),
        _ if ends_with_dot(written) => written.into(),
        _ if origin.is_root() => format!("{written}."),
        _ => format!("{written}.{origin}."),
    };
    match Name::parse(&text) {
        Ok(name) => Ok((name, text)),
        Err(err) => Err(format!("`{written}` is no name here: {err}")),
    }
}

/// Whether the last character is a dot and no backslash escapes it.
fn ends_with_dot(text: &str) -> bool {
    let Some(before) = text.strip_suffix('.') else { return false };
    let backslashes = before.len() - before.trim_end_matches('\\').len();
    backslashes % 2 == 0
}

/// Seconds, or numbers with units such as `1h30m` or `1w2d`.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let bad = || format!("`{text}` is not a time: write seconds, or numbers with the units w, d, h, m, s");
    let mut total = 0u64;
    let mut number: Option<u64> = None;
    let mut units = false;
    for char in text.chars() {
        if let Some(digit) = char.to_digit(10) {
            number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit.into()));
            continue;
        }
        let unit = match char.to_ascii_lowercase() {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(bad()),
        };
        total = total.saturating_add(number.take().ok_or_else(bad)?.saturating_mul(unit));
        units = true;
    }
    let total = match number {
        Some(_) if units => return Err(bad()), // `1h30`: thirty what?
        Some(number) => number,
        None if units => total,
        None => return Err(bad()),
    };
    let seconds = u32::try_from(total).ok().filter(|seconds| *seconds <= MAX_TTL);
    seconds.ok_or_else(|| format!("`{text}` is longer than 2147483647 seconds (RFC 2181 section 8)"))
}
