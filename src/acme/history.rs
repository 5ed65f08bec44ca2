//! What has happened to a certificate, for people: `Document::History`, as JSON, the newest last.

use serde::{Deserialize, Serialize};

use super::time;
use crate::api::CertificateEvent;
use crate::store::{Body, Document, Put, UpdateError, Writer};
use crate::zone::Timestamp;

/// How many events are kept of a certificate.
const KEPT: usize = 200;
/// So many of them tell what was issued and revoked, however much has failed since.
const CERTAIN: usize = 50;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) what: What,
    /// Name of the CA in the configuration of that time.
    #[serde(default)]
    pub(super) ca: Option<String>,
    #[serde(default)]
    pub(super) serial: Option<String>,
    #[serde(default)]
    pub(super) not_after: Option<Timestamp>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// Also what a newer version knows and this one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Issued,
    Failed,
    Revoked,
    NotRevoked,
    Deployed,
    DeployFailed,
    #[serde(other)]
    Other,
}

impl Event {
    pub(super) fn new(at: Timestamp, what: What) -> Event {
        Event { at, what, ca: None, serial: None, not_after: None, message: None }
    }

    fn told(self) -> CertificateEvent {
        let Event { at, what, ca, serial, not_after, message } = self;
        let (event, not_after) = (what.word().to_owned(), not_after.map(time));
        CertificateEvent { at: time(at), event, ca, serial, not_after, message }
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Issued => "issued",
            What::Failed => "failed",
            What::Revoked => "revoked",
            What::NotRevoked => "not-revoked",
            What::Deployed => "deployed",
            What::DeployFailed => "deploy-failed",
            What::Other => "other",
        }
    }
}

/// The history of one certificate. Who adds to it takes turns.
#[derive(Debug, Default)]
pub(super) struct History {
    turn: tokio::sync::Mutex<()>,
}

impl History {
    /// Adds an event in one commit with other documents.
    pub(super) async fn add_with(
        &self,
        writer: &Writer,
        name: &str,
        event: Event,
        mut documents: Vec<Put>,
    ) -> Result<(), UpdateError> {
        let _turn = self.turn.lock().await;
        let mut events = read(writer, name).await?;
        events.push(event);
        forget(&mut events);
        documents.push((Document::History, name.to_owned(), Some(Body::of(&events)?)));
        writer.put_documents(documents).await
    }

    /// Adds an event. That it cannot be kept stops nothing.
    pub(super) async fn add(&self, writer: &Writer, name: &str, event: Event) {
        if let Err(error) = self.add_with(writer, name, event, Vec::new()).await {
            tracing::warn!(certificate = name, %error, "cannot add to the history");
        }
    }
}

/// Forgets the oldest events that are too many, but not the last that tell what was issued and revoked.
fn forget(events: &mut Vec<Event>) {
    let mut surplus = events.len().saturating_sub(KEPT);
    let is_certain = |event: &Event| matches!(event.what, What::Issued | What::Revoked);
    let mut certain = events.iter().filter(|event| is_certain(event)).count();
    events.retain(|event| {
        let stays = surplus == 0 || is_certain(event) && certain <= CERTAIN;
        certain -= usize::from(is_certain(event));
        surplus -= usize::from(!stays);
        stays
    });
}

/// All events, the oldest first. A history that cannot be read begins anew.
pub(super) async fn read(writer: &Writer, name: &str) -> Result<Vec<Event>, UpdateError> {
    let Some(text) = writer.document(Document::History, name).await? else { return Ok(Vec::new()) };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(certificate = name, %error, "the history cannot be read and begins anew");
        Vec::new()
    }))
}

/// All events for the API.
pub(super) async fn told(writer: &Writer, name: &str) -> Result<Vec<CertificateEvent>, UpdateError> {
    let events = read(writer, name).await?;
    Ok(events.into_iter().map(Event::told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program whose every failure reads differently.
    #[test]
    fn failures_do_not_push_out_what_was_issued_and_revoked() {
        let events = |what: &[(What, usize)]| -> Vec<Event> {
            let whats = what.iter().flat_map(|(what, count)| std::iter::repeat_n(*what, *count));
            whats.enumerate().map(|(at, what)| Event::new(at as u64, what)).collect()
        };
        let mut failing =
            events(&[(What::Issued, 1), (What::Revoked, 1), (What::Issued, 1), (What::DeployFailed, KEPT)]);
        forget(&mut failing);
        let expected: Vec<u64> = (0..3).chain(6..KEPT as u64 + 3).collect();
        assert_eq!(failing.iter().map(|event| event.at).collect::<Vec<_>>(), expected);
        // Nor do these push out the last failure.
        let mut busy = events(&[(What::Issued, KEPT), (What::Failed, 1)]);
        forget(&mut busy);
        assert_eq!((busy.len(), busy[0].at, busy[KEPT - 1].what), (KEPT, 1, What::Failed));
    }

    #[test]
    fn an_event_of_a_newer_version_is_read_too() {
        let text = r#"{"at":1,"what":"ascended","message":"up","more":2}"#;
        let event = serde_json::from_str::<Event>(text).unwrap();
        assert_eq!((event.what, event.message.as_deref()), (What::Other, Some("up")));
    }
}
