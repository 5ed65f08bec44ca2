//! The names at which CAs look for TXT values, and the domain that each one proves control of.

use super::Name;

/// The label under which a CA looks for dns-01 values (RFC 8555 section 8.4).
pub const ACME_CHALLENGE: &[u8] = b"_acme-challenge";

/// The label under which a CA looks for dns-persist-01 values (draft-ietf-acme-dns-persist).
pub const VALIDATION_PERSIST: &[u8] = b"_validation-persist";

/// Characters of an account's label, the underscore in front included.
const ACCOUNT_LABEL: usize = 17;

/// The domain that values at this name prove control of: `_acme-challenge.<domain>` for dns-01,
/// `_<account>._acme-challenge.<domain>` for dns-account-01, `_validation-persist.<domain>` for dns-persist-01; `None`
/// for every other name.
pub fn proven_domain(name: &Name) -> Option<Name> {
    let above = name.parent()?;
    match name.labels().next()? {
        ACME_CHALLENGE | VALIDATION_PERSIST => Some(above),
        label if is_account_label(label) && above.labels().next() == Some(ACME_CHALLENGE) => above.parent(),
        _ => None,
    }
}

/// An underscore and ten octets in base32 (draft-ietf-acme-dns-account-label section 3.1).
fn is_account_label(label: &[u8]) -> bool {
    let base32 = |octet: &u8| matches!(octet, b'a'..=b'z' | b'2'..=b'7');
    label.len() == ACCOUNT_LABEL && label.strip_prefix(b"_").is_some_and(|rest| rest.iter().all(base32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_name_rfc8555_8_4() {
        let proven = |text: &str| proven_domain(&Name::parse(text).unwrap()).map(|domain| domain.to_string());
        for name in [
            "_acme-challenge.www.example.test",
            "_UJMMOVF2VN55TGYE._acme-challenge.www.example.test",
            "_validation-persist.www.example.test",
        ] {
            assert_eq!(proven(name).as_deref(), Some("www.example.test"), "{name}");
        }
        for name in [
            "www.example.test",
            "_ujmmovf2vn55tgye.www.example.test",
            "_ujmmovf2vn55tgy1._acme-challenge.example.test",
            "_ujmmovf2vn55tgy._acme-challenge.example.test",
            "ujmmovf2vn55tgyee._acme-challenge.example.test",
            "x._acme-challenge.example.test",
            "_ujmmovf2vn55tgye._validation-persist.example.test",
            ".",
        ] {
            assert_eq!(proven(name), None, "{name}");
        }
    }
}
