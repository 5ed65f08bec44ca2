//! How the OpenAPI documents describe texts that are read with more rules than their type says.

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::zone::{Label, Name};

/// Longest note, characters.
pub(crate) const NOTE_LIMIT: usize = 200;

/// A text of this form, for a schema.
pub(crate) fn pattern(pattern: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
}

impl ToSchema for Name {}
impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).description(Some("without the final dot")).into()
    }
}

impl ToSchema for Label {}
impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        pattern("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    }
}

/// A domain name without escapes, as the documents describe it: a final dot or none, after `*.` or not.
pub struct DomainName;

impl ToSchema for DomainName {}
impl PartialSchema for DomainName {
    fn schema() -> RefOr<Schema> {
        domain_name(253)
    }
}

/// The same, with room for `_acme-challenge.` in front.
pub struct CertifiedName;

impl ToSchema for CertifiedName {}
impl PartialSchema for CertifiedName {
    fn schema() -> RefOr<Schema> {
        domain_name(237)
    }
}

/// `most`: characters (RFC 1035 section 2.3.4).
fn domain_name(most: usize) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
    text.pattern(Some(r"^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$")).into()
}

/// The text of a TXT value, as the documents describe it. How many octets it stands for is nothing that a schema counts.
pub struct ValueText;

impl ToSchema for ValueText {}
impl PartialSchema for ValueText {
    fn schema() -> RefOr<Schema> {
        pattern(r"^([^\\]|\\([^0-9]|[01][0-9]{2}|2[0-4][0-9]|25[0-5]))*$")
    }
}

/// A line for people, as the documents describe it.
pub struct Note;

impl ToSchema for Note {}
impl PartialSchema for Note {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(NOTE_LIMIT));
        text.pattern(Some(r"^[^\x00-\x1F\x7F-\x9F]*$")).into()
    }
}

/// An entry of `allowfrom`, as the documents describe it.
pub struct Cidr;

impl ToSchema for Cidr {}
impl PartialSchema for Cidr {
    fn schema() -> RefOr<Schema> {
        const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
        const H: &str = "[0-9A-Fa-f]{1,4}";
        let ipv4 = format!(r"{OCTET}(\.{OCTET}){{3}}/(3[0-2]|[12]?[0-9])");
        // `::` stands for at least one group.
        let mut forms = vec![format!("({H}:){{7}}{H}"), format!("({H}:){{1,7}}:"), format!(":((:{H}){{1,7}}|:)")];
        forms.extend((1..=6).map(|left| format!("({H}:){{1,{left}}}(:{H}){{1,{}}}", 7 - left)));
        let ipv6 = format!(r"\[?({})\]?/(12[0-8]|1[01][0-9]|[1-9]?[0-9])", forms.join("|"));
        pattern(&format!("^({ipv4}|{ipv6})$"))
    }
}
