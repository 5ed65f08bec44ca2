//! What has happened to a certificate, for people: `Document::History`, as JSON, the newest last.

use serde::{Deserialize, Serialize};

use super::time;
use crate::api::CertificateEvent;
use crate::store::{Body, Document, UpdateError, Writer};
use crate::zone::Timestamp;

/// How many events are kept of a certificate.
const KEPT: usize = 200;

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
        mut documents: Vec<(Document, String, Option<Body>)>,
    ) -> Result<(), UpdateError> {
        let _turn = self.turn.lock().await;
        let mut events = read(writer, name).await?;
        events.push(event);
        let surplus = events.len().saturating_sub(KEPT);
        events.drain(..surplus);
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

    #[test]
    fn an_event_of_a_newer_version_is_read_too() {
        let text = r#"{"at":1,"what":"ascended","message":"up","more":2}"#;
        let event = serde_json::from_str::<Event>(text).unwrap();
        assert_eq!((event.what, event.message.as_deref()), (What::Other, Some("up")));
    }
}
