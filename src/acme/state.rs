//! What is remembered of a certificate's issuance: `Document::Issuance`, as JSON.
//!
//! Written before each step that cannot be taken back, so that a server that was killed goes on where it was: the key
//! before the order, the order's URL as soon as the CA gave it, each TXT value before it is published.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::renewal::ari::Renewal;
use super::request::Request;
use super::secret::Secret;
use crate::zone::{Name, Timestamp};

/// The state of one configured certificate. Fields that a newer version added are ignored, so that the versions before
/// and after can read each other's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Issuance {
    pub(super) step: Step,
    pub(super) phase: Phase,
    /// Version of the certificate in use; counts up from 1.
    pub(super) current: Option<u64>,
    /// Whether a program or a webhook was configured when it was issued, and is to hear of it.
    pub(super) deploys: bool,
    /// Values that may still be in the DNS and are to be taken out when the CA needs them no more.
    pub(super) published: Vec<Published>,
    /// Records that the domains' zones lack, in master-file form.
    pub(super) missing: Vec<String>,
    /// The last attempt, if it failed.
    pub(super) failure: Option<Failed>,
    /// When the CA wants the certificate in use to be renewed.
    pub(super) renewal: Option<Renewal>,
    /// A CA did not take the key of the certificate in use: the next one has another, whatever the configuration says.
    pub(super) key_refused: bool,
    /// What went well at the rehearsal CA and need not be tried there again.
    pub(super) rehearsed: Option<Request>,
}

/// What is about to be done with an order: written before it is done. For people; what the CA has seen of it is asked
/// from the CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// No order, or none that more is known of.
    #[default]
    Begun,
    /// The CA has the order; its values are being put into the DNS and looked for.
    Publishing,
    /// The CA is told to look.
    Validating,
    /// The CA is asked to issue.
    Finalizing,
    Downloading,
}

/// How far an order has come. What the CA has seen of it is asked from the CA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub(super) enum Step {
    /// No order under way.
    #[default]
    Idle,
    /// The key is made; there may be an order that we did not get to know of.
    Prepared { request: Request, key: Secret },
    /// The CA has the order.
    Ordered {
        request: Request,
        key: Secret,
        url: String,
        /// After that the CA has it no more; as the CA says, or a guess if it does not.
        #[serde(default)]
        expires: Option<Timestamp>,
        /// URL of the account that made it: to no other one the CA shows it. An older version did not keep it.
        #[serde(default)]
        account: Option<String>,
    },
}

/// A TXT value that the client put into the DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    /// Where it is kept.
    pub(super) name: Name,
    pub(super) value: String,
}

/// A failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) at: Timestamp,
    pub(super) step: String,
    pub(super) message: String,
    /// What it means and what to do.
    #[serde(default)]
    pub(super) explanation: Option<String>,
    /// How many in a row.
    pub(super) failures: u32,
    /// How many of them make the next wait longer: those in which the CA was asked for something.
    #[serde(default)]
    pub(super) backed_off: u32,
    /// Not before then, unless somebody asks for it.
    pub(super) next_attempt: Timestamp,
    /// What became of it at each CA, in the order in which they were tried.
    #[serde(default)]
    pub(super) cas: Vec<AtCa>,
}

/// Why there is no certificate from one of several CAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AtCa {
    /// Its name.
    pub(super) ca: String,
    pub(super) at: Timestamp,
    pub(super) message: String,
    /// It is not to be asked for this certificate before then.
    #[serde(default)]
    pub(super) retry_at: Option<Timestamp>,
}

/// What the store has. Damaged, or of a newer version that says it in other words, it is no reason to let a certificate
/// lapse: then it begins anew, and knows only what can be told one by one: which version is in use, and what is in the
/// DNS.
pub(super) fn read(name: &str, text: &str) -> Issuance {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(certificate = name, %error, "the state of the certificate cannot be read and begins anew");
        let found: Value = serde_json::from_str(text).unwrap_or_default();
        Issuance {
            current: found.get("current").and_then(Value::as_u64),
            published: found.get("published").and_then(|all| Vec::deserialize(all).ok()).unwrap_or_default(),
            ..Issuance::default()
        }
    })
}

impl Issuance {
    /// Whether the CA has an order that was not brought to its end.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.step, Step::Ordered { .. })
    }
}

impl Step {
    /// The key that was made for an order.
    pub(super) fn key(&self) -> Option<&Secret> {
        match self {
            Step::Prepared { key, .. } | Step::Ordered { key, .. } => Some(key),
            Step::Idle => None,
        }
    }

    /// What was ordered, or is about to be.
    pub(super) fn request(&self) -> Option<&Request> {
        match self {
            Step::Prepared { request, .. } | Step::Ordered { request, .. } => Some(request),
            Step::Idle => None,
        }
    }

    /// The key for this request, if one was made before.
    pub(super) fn key_for(&self, wanted: &Request) -> Option<&Secret> {
        match self {
            Step::Prepared { request, key } | Step::Ordered { request, key, .. } if request == wanted => Some(key),
            _ => None,
        }
    }

    /// The order for this request, if the CA has one.
    pub(super) fn order_for(&self, wanted: &Request) -> Option<&str> {
        match self {
            Step::Ordered { request, url, .. } if request == wanted => Some(url),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Challenge, KeyType};

    fn request(name: &str) -> Request {
        Request {
            directory: "https://ca.test/dir".into(),
            profile: None,
            names: vec![name.into()],
            key_type: KeyType::default(),
            challenge: Challenge::default(),
        }
    }

    #[test]
    fn the_state_survives_the_store() {
        let state = Issuance {
            step: Step::Ordered {
                request: request("a.test"),
                key: Secret::new("KEY".into()),
                url: "https://o".into(),
                expires: Some(8),
                account: Some("https://a".into()),
            },
            phase: Phase::Validating,
            key_refused: true,
            rehearsed: Some(request("a.test")),
            current: Some(3),
            deploys: true,
            published: vec![Published { name: Name::parse("x.test").unwrap(), value: "v".into() }],
            missing: vec!["_acme-challenge.a.test. IN CNAME x.test.".into()],
            failure: Some(Failed {
                at: 1,
                step: "order".into(),
                message: "no".into(),
                explanation: Some("wait".into()),
                failures: 2,
                backed_off: 1,
                next_attempt: 9,
                cas: vec![AtCa { ca: "c".into(), at: 1, message: "no".into(), retry_at: Some(9) }],
            }),
            renewal: Some(Renewal { version: 3, moment: Some(7), ..Renewal::default() }),
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Issuance>(&text).unwrap(), state);
        assert_eq!(serde_json::from_str::<Issuance>("{}").unwrap(), Issuance::default());
        assert!(!format!("{state:?}").contains("KEY"));
    }

    #[test]
    fn of_a_state_that_cannot_be_read_the_version_in_use_and_the_values_are_known() {
        let published = Published { name: Name::parse("x.test").unwrap(), value: "v".into() };
        let state = Issuance { current: Some(3), published: vec![published], ..Issuance::default() };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(read("site", &text), state);
        let newer = text.replace(r#""name":"idle""#, r#""name":"dreaming""#);
        assert_ne!(newer, text);
        assert_eq!(read("site", &newer), state);
        assert_eq!(read("site", r#"{"current":"x","published":[7]}"#), Issuance::default());
        assert_eq!(read("site", "{"), Issuance::default());
    }

    #[test]
    fn an_order_for_other_names_is_not_taken_up() {
        let (ordered, key) = (request("a.test"), Secret::new("KEY".into()));
        let step = Step::Ordered { request: ordered, key, url: "u".into(), expires: None, account: None };
        assert_eq!(step.order_for(&request("a.test")), Some("u"));
        assert!(step.key_for(&request("a.test")).is_some());
        assert_eq!(step.order_for(&request("b.test")), None);
        assert!(step.key_for(&request("b.test")).is_none());
    }
}
