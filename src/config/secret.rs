//! Secrets that a file or a variable of the environment holds.
//!
//! The configuration names them. A file is looked at at once; the environment is not, because every command reads the
//! configuration, and only the server needs its secrets.

use std::path::Path;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::read::{Complaint, Reader, Table, octets_of};
use super::value::{relative, unreadable};
use super::{Eab, SecretSource};

/// base64url (RFC 4648 section 5), with padding or without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Eab {
    /// The octets of an HMAC key in base64url. The error says what is wrong, and has nothing of the key.
    pub fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        match BASE64URL.decode(text).map(Zeroizing::new) {
            Ok(octets) if octets.is_empty() => Err("is empty"),
            Ok(octets) => Ok(octets),
            Err(_) if text.contains(['+', '/']) => Err("is not base64url but base64 with `+` and `/`"),
            Err(_) => Err("is not base64url"),
        }
    }
}

/// Whether the server cannot do without a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Always,
    /// It is used once, and may be taken away after that.
    Once,
}

/// The text of a file with a secret in it; if it cannot be read, why.
pub(super) fn text_in(file: &Path) -> Result<Zeroizing<String>, String> {
    let text = String::from_utf8(octets_of(file)?).map(Zeroizing::new);
    text.map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        "is not UTF-8".to_owned()
    })
}

/// What is written as `file_key` or `env_key` of a table; `check` looks at what is in the file, if there has to be one;
/// `example` shows how the file's key is written.
pub(super) fn secret_source(
    table: &mut Table,
    [file_key, env_key]: [&'static str; 2],
    (whose, example, need): (&str, &str, Need),
    check: impl FnOnce(&str) -> Result<(), Complaint>,
    base: &Path,
    reader: &mut Reader,
) -> Option<SecretSource> {
    let file = table.string(file_key, reader, |text| {
        let file = relative(base, text)?;
        let text = match text_in(&file) {
            Err(_) if need == Need::Once && !file.is_dir() => return Ok(file),
            text => text.map_err(|why| unreadable(&file, &why))?,
        };
        let of_file = |complaint: Complaint| Complaint {
            message: format!("`{}` {}", file.display(), complaint.message),
            ..complaint
        };
        match text.trim() {
            "" => Err(of_file(Complaint::new("is empty"))),
            text => check(text).map(|()| file.clone()).map_err(of_file),
        }
    });
    table.conceal(env_key, |text| variable(text).is_err(), reader);
    let variable = table.string(env_key, reader, variable);
    match (table.has(file_key), table.has(env_key)) {
        (true, true) => {
            let complaint = Complaint::new(format!("{whose} has both `{file_key}` and `{env_key}`"));
            reader.refuse(&table.span, complaint.help("drop one of them"));
            None
        }
        (false, false) => {
            let complaint = Complaint::new(format!("{whose} has neither `{file_key}` nor `{env_key}`"));
            let help = format!("add `{file_key} = \"{example}\"`, or `{env_key} = \"…\"`, the name of a variable");
            reader.refuse(&table.span, complaint.help(help));
            None
        }
        _ => {
            let file = file.map(|at| SecretSource::File(at.value));
            file.or(variable.map(|at| SecretSource::Environment(at.value)))
        }
    }
}

/// The name of a variable of the environment. Who wrote the secret itself does not see it again.
fn variable(text: &str) -> Result<String, Complaint> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(letter) {
        return Err(Complaint::new("a variable of the environment has letters, digits and `_` in its name")
            .help("write its name alone, such as \"ACME_HMAC_KEY\", not what is in it"));
    }
    Ok(text.to_owned())
}
