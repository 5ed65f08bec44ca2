//! The label under which an account's values are found: `<label>.<zone>`.

use std::fmt;

/// One lower-case LDH label: letters, digits and hyphens, neither first nor last a hyphen (RFC 952, RFC 1123 2.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a label of 1 to 63 lower-case letters, digits and inner hyphens")]
pub struct LabelError(pub String);

impl Label {
    pub fn parse(text: &str) -> Result<Label, LabelError> {
        let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let good = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| letter(byte) || *byte == b'-')
            && bytes.first().is_some_and(letter)
            && bytes.last().is_some_and(letter);
        if good { Ok(Label(text.into())) } else { Err(LabelError(text.chars().take(80).collect())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;
    fn try_from(text: String) -> Result<Label, LabelError> {
        Label::parse(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_lower_case_ldh() {
        for good in ["a", "0", "a-b", "8e5700ea-a4bf-41c7-8a77-e990661dcc6a"] {
            assert_eq!(Label::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "_acme-challenge", "ä", &"a".repeat(64)] {
            assert!(Label::parse(bad).is_err(), "{bad}");
        }
    }
}
