//! What would happen if a certificate were asked for now: everything is looked at, nothing is ordered or published.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::asked::Listener;
use super::ca::account::{self, Standing};
use super::ca::authority::Authority;
use super::ca::budget::Renews;
use super::ca::session::Session;
use super::certificate::Certificate;
use super::issue::in_order;
use super::order::attempt::same_names;
use super::order::challenge::{self, Method};
use super::order::delegation::{Found, Wanted, domains, locate};
use super::renewal::plan;
use super::renewal::replaced;
use super::slot::Slot;
use super::state::Issuance;
use super::{Issuer, cas, time};
use crate::api::Progress;
use crate::config::Challenge;
use crate::store::now;

impl Issuer {
    /// Tells what an order would meet: the records of each name, each CA's account and limits. The last line is `Done`
    /// if an order could be made, or `Failed`. `None` if the configuration has no certificate of this name.
    ///
    /// Must be called inside the runtime.
    pub fn preview(&self, name: &str) -> Option<mpsc::Receiver<Progress>> {
        let slot = self.slot(name)?.clone();
        Some(self.telling(move |issuer, listener| async move {
            match issuer.look(&slot, &listener).await {
                Ok(()) => Progress::Done {
                    message: "an order could be made; nothing was ordered".into(),
                    path: issuer.path(&slot),
                },
                Err(message) => Progress::Failed { message },
            }
        }))
    }

    /// Tells everything; the first thing that is in the way, if there is one.
    async fn look(&self, slot: &Arc<Slot>, listener: &Listener) -> Result<(), String> {
        let (state, current) = self.load(slot).await.map_err(|error| error.to_string())?;
        listener.step(self.standing(slot, &state, current.as_ref()));
        let mut in_the_way = Vec::new();
        for (authority, rehearsal) in in_order(slot, &state) {
            match self.at_ca(slot, authority, rehearsal, &state, current.as_ref()).await? {
                Ok(line) => listener.step(line),
                Err(line) => {
                    listener.step(line.clone());
                    in_the_way.push(line);
                }
            }
        }
        // One CA is enough.
        if in_the_way.len() < slot.authorities.len() {
            in_the_way.clear();
        }
        match self.method(slot, &state).await {
            Ok(Some(method)) => {
                for wanted in domains(&slot.wanted.names).map_err(|error| error.to_string())? {
                    match self.at_domain(&wanted, &method, listener).await {
                        Ok(line) => listener.step(line),
                        Err(line) => {
                            listener.step(line.clone());
                            in_the_way.push(line);
                        }
                    }
                }
            }
            Ok(None) => {
                let challenge = challenge::method(slot.certificate.challenge);
                listener.step(format!(
                    "which records {challenge} needs depends on what the CA says, so the first order tells"
                ));
            }
            Err(line) => {
                listener.step(line.clone());
                in_the_way.push(line);
            }
        }
        match in_the_way.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(()),
        }
    }

    /// How names are proven at the CA that is tried first; `None` if that
    /// depends on an account, or on an order, that is not there yet.
    async fn method(&self, slot: &Slot, state: &Issuance) -> Result<Option<Method>, String> {
        let challenge = slot.certificate.challenge;
        if challenge == Challenge::Dns01 {
            return Ok(Some(Method::Dns01));
        }
        let Some((authority, _)) = in_order(slot, state).into_iter().next() else { return Ok(None) };
        let writer = &self.shared.writer;
        let standing = account::standing(&authority.ca, writer).await.map_err(|error| error.to_string())?;
        if !matches!(standing, Standing::Account(_)) {
            return Ok(None);
        }
        let session = Session::open(authority, writer).await.map_err(|error| error.to_string())?;
        Ok(match Method::of(challenge, &session) {
            Method::DnsPersist01(holder) if holder.issuers.is_empty() => None,
            method => Some(method),
        })
    }

    /// Where the value for a domain would be; `Err` if something is missing.
    async fn at_domain(&self, wanted: &Wanted, method: &Method, listener: &Listener) -> Result<String, String> {
        let domain = &wanted.domain;
        let tell = |note| listener.step(note);
        match locate(wanted, method, &self.shared.writer, &self.shared.resolver, &tell).await {
            Ok(Ok(Found::Place(place))) => Ok(format!("{domain}: the value would be put at {}", place.way)),
            Ok(Ok(Found::Standing(seen))) => Ok(format!("{domain}: {seen}")),
            Ok(Err(missing)) => {
                Err(format!("{domain}: make this record first: {} (now: {})", missing.records.join("; "), missing.seen))
            }
            Err(error) => Err(format!("{domain}: {error}")),
        }
    }

    /// What there is, and when the server would act by itself.
    fn standing(&self, slot: &Slot, state: &Issuance, current: Option<&Certificate>) -> String {
        let pause = slot.memory().pause;
        let due = plan::due(state, current, &slot.wanted, pause, now());
        let next = if due <= now() { "now".into() } else { format!("at {}", time(due)) };
        match current {
            None => format!("there is no certificate yet; the server tries {next}"),
            Some(current) if !plan::serves(current, &slot.wanted) => {
                format!("the certificate in use is for something else than the configuration; the server tries {next}")
            }
            Some(current) => {
                let until = time(current.not_after);
                format!("the certificate in use is valid until {until}; the server renews it {next}")
            }
        }
    }

    /// What an order at this CA would meet; `Err` if it would not be made.
    async fn at_ca(
        &self,
        slot: &Slot,
        authority: &Authority,
        rehearsal: Option<&Authority>,
        state: &Issuance,
        current: Option<&Certificate>,
    ) -> Result<Result<String, String>, String> {
        let (writer, name) = (&self.shared.writer, &authority.ca.name);
        let store = |error: crate::store::UpdateError| error.to_string();
        let request = slot.request(&authority.ca);
        if let Some(url) = state.step.order_for(&request) {
            return Ok(Ok(format!("{name}: would go on with the order {url}")));
        }
        let directory = match cas::directory(authority).await {
            Ok(directory) => directory,
            Err(error) => return Ok(Err(format!("{name}: {error}"))),
        };
        let renews = match replaced(current, state, &request, &directory) {
            Some(_) => Renews::Replaces,
            None => same_names(current, &request),
        };
        let exceeded = authority.budget.exceeded(&authority.ca, writer, &request.names, renews, now()).await;
        if let Some(exceeded) = exceeded.map_err(store)? {
            return Ok(Err(format!("{name}: {exceeded}; possible at {}", time(exceeded.until))));
        }
        let account = match account::standing(&authority.ca, writer).await.map_err(store)? {
            Standing::Account(url) => format!("with the account {url}"),
            Standing::BeingMade => "with the account that is being made".into(),
            Standing::Unknown => "with a new account".into(),
        };
        let rehearsed = rehearsal.map_or(String::new(), |ca| format!(", after a rehearsal at {}", ca.ca.name));
        let profile = request.profile.map_or(String::new(), |profile| format!(", profile {profile}"));
        let names = request.names.join(", ");
        Ok(Ok(format!("{name}: would order {names} {account}{profile}{rehearsed}")))
    }
}
