//! What the admin API (`/v1/…`) and its client say to each other, as JSON.
//!
//! Times are RFC 3339 in UTC. A failed request has an [`ApiError`] as its body.

mod revocation;
mod schema;
mod tsig_keys;

pub use revocation::{NewReissue, NewRevocation, Revocation, RevocationReason, RevokedBy};
pub(crate) use schema::{CertifiedName, Cidr, DomainName, NOTE_LIMIT, Note, ValueText, pattern};
pub use tsig_keys::{NewTsigKey, Secret, TsigKey, TsigKeySource};

use std::fmt;
use std::net::SocketAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::zone::{Label, Name};

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    /// The configuration file in use.
    pub config: String,
    pub data_dir: String,
    pub started: jiff::Timestamp,
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<SocketAddr>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns_tls: Vec<SocketAddr>,
    #[schema(value_type = Vec<String>)]
    pub api: Vec<SocketAddr>,
    /// Name of the certificate without which the API and DNS over TLS do not listen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_waits_for: Option<String>,
    /// Why the API or DNS over TLS does not listen although its certificate is there. Tried again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_problem: Option<String>,
    #[schema(value_type = String)]
    pub admin: SocketAddr,
    pub zones: usize,
    /// Registered labels, those reserved by the ACME client included.
    pub labels: usize,
    /// Names that hold at least one value.
    pub names_with_values: usize,
    /// What happened to messages over DNS since the start.
    #[serde(default)]
    pub dns_counters: DnsCounters,
    pub certificates: Vec<CertificateStatus>,
}

/// What the DNS listeners count; since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsCounters {
    /// Answers over UDP that the rate limit made an empty TC, or would have with `dry_run`.
    pub limited: u64,
    /// UPDATE, NOTIFY and signed messages over UDP that were dropped because too many were waiting.
    pub dropped: u64,
}

/// An account, without its credentials.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub username: Uuid,
    /// `<label>.<zone>`, the targets for CNAME records.
    pub fulldomains: Vec<Name>,
    pub allowfrom: Vec<String>,
    pub created: jiff::Timestamp,
    /// When the account last put in or took out a value.
    pub updated: Option<jiff::Timestamp>,
    /// How many credentials are valid.
    pub credentials: usize,
}

/// Body of `POST /v1/accounts`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// A random one if left out.
    #[serde(default)]
    pub label: Option<Label>,
    #[serde(default)]
    #[schema(value_type = Vec<Cidr>)]
    pub allowfrom: Vec<String>,
}

/// Answer of `POST /v1/accounts`: the same five keys as acme-dns's `/register`. The password is shown only here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedAccount {
    pub username: Uuid,
    pub password: String,
    pub fulldomain: Name,
    pub subdomain: Label,
    pub allowfrom: Vec<String>,
}

/// Without the password.
impl fmt::Debug for CreatedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CreatedAccount");
        shown.field("username", &self.username).field("fulldomain", &self.fulldomain).finish_non_exhaustive()
    }
}

/// A domain whose challenge name has the values of a label; `GET /v1/aliases`, answer of `POST /v1/aliases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    pub domain: Name,
    pub label: Label,
    /// `_acme-challenge.<domain>`, served as a zone of its own.
    pub zone: Name,
    /// `<label>.<zone>`, where its values are.
    pub fulldomain: Name,
}

/// Body of `POST /v1/aliases`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlias {
    /// With or without `_acme-challenge.` or `*.` in front.
    #[schema(value_type = CertifiedName)]
    pub domain: Name,
    /// A label that an account owns, alone or as a full domain name.
    pub label: String,
}

/// Body of `POST /v1/accounts/{id}/labels`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabel {
    /// A random one if left out.
    #[serde(default)]
    pub label: Option<Label>,
}

/// Answer of `POST /v1/accounts/{id}/labels`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddedLabel {
    pub username: Uuid,
    pub subdomain: Label,
    pub fulldomain: Name,
}

/// Body of `PUT /v1/accounts/{id}/allowfrom`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAllowFrom {
    /// None: from anywhere.
    #[schema(value_type = Vec<Cidr>)]
    pub allowfrom: Vec<String>,
}

/// Answer of `POST /v1/accounts/{id}/credentials`, which makes one more credential, and of `…/rotate`, which puts one in
/// the place of all. The password is shown only here.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewCredential {
    /// With the label that `id` named, else the first one.
    #[serde(flatten)]
    pub account: CreatedAccount,
    /// Of all labels, this one at the front.
    pub fulldomains: Vec<Name>,
    /// How many are valid now.
    pub credentials: usize,
}

/// `GET /account` on the API of acme-dns: what an account may know of itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountState {
    pub username: Uuid,
    pub labels: Vec<LabelState>,
    pub allowfrom: Vec<String>,
    pub created: jiff::Timestamp,
    /// When the account last put in or took out a value.
    pub updated: Option<jiff::Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LabelState {
    pub subdomain: Label,
    pub fulldomain: Name,
    /// Oldest first.
    pub values: Vec<TxtValue>,
}

/// Body of `POST /v1/tokens`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// How many accounts can be made with it; any number if left out.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = 1)]
    pub uses: Option<u64>,
    /// For ever if left out.
    #[serde(default)]
    pub expires: Option<jiff::Timestamp>,
    #[serde(default)]
    #[schema(value_type = Note)]
    pub note: String,
}

/// A registration token, without its text; `GET /v1/tokens`, `DELETE /v1/tokens/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The first twelve digits of the token's SHA-256.
    pub id: String,
    pub note: String,
    pub created: jiff::Timestamp,
    pub expires: Option<jiff::Timestamp>,
    /// Absent: any number.
    pub uses_left: Option<u64>,
    /// How many accounts were made with it.
    pub registered: u64,
    pub state: TokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenState {
    Valid,
    Expired,
    UsedUp,
    Revoked,
}

/// Answer of `POST /v1/tokens`. The token itself is shown only here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub token: String,
    #[serde(flatten)]
    pub facts: Token,
}

/// Without the token.
impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedToken").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Body of `POST /v1/storages`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStorage {
    /// `*.` in front changes nothing.
    #[schema(value_type = Vec<CertifiedName>, min_items = 1, max_items = 100)]
    pub domains: Vec<String>,
    /// User name, label or full domain name of the account whose label all domains are bound to. If left out, each is
    /// bound to a random label of a new account.
    #[serde(default)]
    pub account: Option<String>,
    #[serde(default)]
    #[schema(value_type = Note)]
    pub note: String,
}

/// An HTTP storage of lego, without its secret; `GET /v1/storages`, `DELETE /v1/storages/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Storage {
    /// The first twelve digits of the secret's SHA-256.
    pub id: String,
    pub note: String,
    pub created: jiff::Timestamp,
    pub domains: Vec<StoredDomain>,
    /// How many that were got from it are valid.
    pub credentials: usize,
}

/// A domain of an HTTP storage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StoredDomain {
    pub domain: Name,
    pub username: Uuid,
    /// `<label>.<zone>`, the target for the CNAME of the domain's challenge name.
    pub fulldomain: Name,
}

/// Answer of `POST /v1/storages`. The secret is shown only here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedStorage {
    pub secret: String,
    #[serde(flatten)]
    pub facts: Storage,
}

/// Without the secret.
impl fmt::Debug for CreatedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedStorage").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// One name and its values; `GET /v1/txt`, `GET /v1/txt/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TxtName {
    pub name: Name,
    /// Oldest first.
    pub values: Vec<TxtValue>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TxtValue {
    /// Octets outside printable ASCII as `\DDD`.
    pub value: String,
    /// From then on it is not served.
    pub expires: jiff::Timestamp,
}

/// Body of `POST /v1/txt/{name}` (adds) and `PUT /v1/txt/{name}` (replaces all).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// In the form of [`TxtValue::value`].
    #[schema(value_type = Vec<ValueText>, max_items = 64)]
    pub values: Vec<String>,
}

/// `GET /v1/zones`, `GET /v1/zones/{origin}`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Zone {
    pub origin: Name,
    /// Path of the master file; absent for a zone made from `nameservers`.
    pub file: Option<String>,
    /// As served now.
    pub serial: u32,
    pub nameservers: Vec<String>,
    /// How many static names it has.
    pub static_names: usize,
    /// How many names with values are in it.
    pub names_with_values: usize,
    /// Whether labels are registered here.
    pub registration: bool,
    /// Static records in master-file form; only for one zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
}

/// `GET /v1/certificates`, `GET /v1/certificates/{name}`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    pub name: String,
    pub names: Vec<String>,
    /// In the order in which they are tried.
    pub cas: Vec<String>,
    pub state: CertificateState,
    /// Of the certificate that is in use.
    pub not_before: Option<jiff::Timestamp>,
    pub not_after: Option<jiff::Timestamp>,
    /// When it came from the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<jiff::Timestamp>,
    /// The CA that it came from, as it was called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<String>,
    /// Hexadecimal.
    pub serial: Option<String>,
    /// If it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// Since when, if the CA is asked to revoke it and has not been heard to have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoking: Option<Revocation>,
    /// Folder with privkey.pem, cert.pem, chain.pem and fullchain.pem.
    pub path: Option<String>,
    /// When the running server will try next, to renew or after a failure.
    pub next_attempt: Option<jiff::Timestamp>,
    /// What the last attempt said if it failed, in the CA's own words where they came from the CA.
    pub last_error: Option<LastError>,
    /// When the certificate in use is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<jiff::Timestamp>,
    /// When the CA suggests to do it (RFC 9773), if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_window: Option<RenewalWindow>,
    /// URL of the document with which the CA explains that window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_explanation: Option<String>,
    /// Why the CA could not be asked for it the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_problem: Option<String>,
    /// Only if a deploy program or a webhook is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentStatus>,
    /// Records that have to be made before the next attempt, in master-file form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_records: Vec<String>,
}

/// From when to when a CA wants a certificate to be renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewalWindow {
    pub start: jiff::Timestamp,
    pub end: jiff::Timestamp,
}

/// Something that happened to a certificate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CertificateEvent {
    pub at: jiff::Timestamp,
    /// `issued`, `failed`, `revoked`, `not-revoked`, `deployed`, `deploy-failed`, …
    pub event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// None yet, and no attempt has failed.
    Missing,
    /// A record of the domain's zone has to be made first, see `missing_records`.
    WaitingForDelegation,
    /// An order is under way.
    Issuing,
    /// In use, renewal not yet due.
    Valid,
    /// In use, renewal due.
    RenewalDue,
    /// In use, and revoked.
    Revoked,
    /// The last attempt failed and there is no valid certificate.
    Failed,
    /// The one in use has expired.
    Expired,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    pub at: jiff::Timestamp,
    /// The step that failed.
    pub step: String,
    pub message: String,
    /// What it means and what to do, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// How many attempts in a row have failed.
    pub failures: u32,
}

/// What became of the certificate in use after its files were written.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeploymentStatus {
    /// When the deploy program ended well for it.
    pub deployed_at: Option<jiff::Timestamp>,
    /// The program has been running since then.
    #[serde(default)]
    pub running_since: Option<jiff::Timestamp>,
    /// The last run of the program, if it failed.
    pub last_error: Option<LastError>,
    /// When the running server will run the program by itself.
    pub next_attempt: Option<jiff::Timestamp>,
    /// Events that the webhook has not taken yet.
    pub undelivered: usize,
    /// Why not.
    pub webhook_error: Option<LastError>,
    /// The last event that the webhook was never told of.
    #[serde(default)]
    pub dropped_event: Option<DroppedEvent>,
}

/// An event that was given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DroppedEvent {
    /// As in the message itself: `issued`, `failed`, …
    pub event: String,
    /// When it happened.
    pub at: jiff::Timestamp,
    /// Why the webhook was not told.
    pub reason: String,
}

/// A CA in the configuration; `GET /v1/cas`, `GET /v1/cas/{name}`. What the CA says of itself is empty if it does not
/// answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CaStatus {
    pub name: String,
    /// URL of its ACME directory.
    pub directory: String,
    /// Why its directory cannot be read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub website: Option<String>,
    /// URL of the account there, as it stands at `accounturi` of CAA records.
    pub account: Option<String>,
    /// The account has a key, and the CA has not been heard to have made it.
    #[serde(default)]
    pub account_being_made: bool,
    pub contact: Vec<String>,
    pub terms_of_service: Option<String>,
    /// Whether making an account may agree to the terms.
    pub agrees_to_terms: bool,
    pub external_account_required: bool,
    /// Key ID of the external account that is configured.
    pub external_account: Option<String>,
    pub profiles: Vec<Profile>,
    /// Names that the CA takes for its own in CAA records.
    pub caa_identities: Vec<String>,
    /// CAA records that let the account issue and nobody else, without their owner: type and data.
    pub caa_records: Vec<String>,
}

/// A kind of certificate that a CA offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    pub name: String,
    /// In the CA's words, mostly the URL of a page.
    pub description: String,
}

/// One line of `POST /v1/certificates/{name}/issue`, `…/renew`, `…/reissue`, `…/revoke`, `…/deploy` and of
/// `POST /v1/cas/{name}/rollover` (newline-delimited JSON), as it happens. The last one is `done` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Progress {
    Step {
        message: String,
    },
    Done {
        message: String,
        /// Of the certificate's files; empty where there are none.
        path: String,
    },
    Failed {
        message: String,
    },
}

/// Body of every failed request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// For programs: `not_found`, `bad_request`, `conflict`, `unauthorized`, `unavailable`, …
    pub error: String,
    /// For people.
    pub message: String,
}

/// Reads an integer as JSON Schema knows it: `2.0` is one.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole =
        |number: f64| (number.fract() == 0.0 && (0.0..u64::MAX as f64).contains(&number)).then_some(number as u64);
    let integer = number.as_u64().or_else(|| whole(number.as_f64()?));
    integer.map(Some).ok_or_else(|| D::Error::custom(format!("`{number}` is no integer from 0 on")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_secret() {
        let account = r#"{"username":"11111111-2222-4333-8444-555555555555","password":"hidden",
            "fulldomain":"a.auth.test","subdomain":"a","allowfrom":[]}"#;
        let token = r#"{"token":"hidden","id":"1","note":"","created":"2026-01-01T00:00:00Z","expires":null,
            "uses_left":null,"registered":0,"state":"valid"}"#;
        let storage = r#"{"secret":"hidden","id":"1","note":"","created":"2026-01-01T00:00:00Z","domains":[],
            "credentials":0}"#;
        let account: CreatedAccount = serde_json::from_str(account).unwrap();
        let token: CreatedToken = serde_json::from_str(token).unwrap();
        let storage: CreatedStorage = serde_json::from_str(storage).unwrap();
        let shown = format!("{account:?} {token:?} {storage:?}");
        assert!(shown.contains("a.auth.test") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn an_integer_may_have_a_point() {
        let uses = |text: &str| serde_json::from_str(&format!("{{\"uses\":{text}}}")).map(|token: NewToken| token.uses);
        assert_eq!([uses("2").unwrap(), uses("2.0").unwrap(), uses("null").unwrap()], [Some(2), Some(2), None]);
        assert!(["2.5", "-1", "1e30", "\"2\""].iter().all(|text| uses(text).is_err()));
    }
}
