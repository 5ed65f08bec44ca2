//! What would happen if a certificate were asked for now: everything is looked at, nothing is ordered or published.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::attempt::same_names;
use super::authority::Authority;
use super::ca::Standing;
use super::certificate::Certificate;
use super::delegation::{base_domain, locate};
use super::issue::in_order;
use super::slot::Slot;
use super::state::Issuance;
use super::{Issuer, ca, plan, time};
use crate::api::Progress;
use crate::store::now;

/// Lines that the listener may be behind.
const LINES: usize = 64;

impl Issuer {
    /// Tells what an order would meet: the records of each name, each CA's account and limits. The last line is `Done`
    /// if an order could be made, or `Failed`. `None` if the configuration has no certificate of this name.
    ///
    /// Must be called inside the runtime.
    pub fn preview(&self, name: &str) -> Option<mpsc::Receiver<Progress>> {
        let slot = self.slot(name)?.clone();
        let (lines, receiver) = mpsc::channel(LINES);
        let issuer = self.clone();
        self.shared.attempts.spawn(async move {
            let stopping = issuer.shared.stopping.clone();
            let told = stopping.run_until_cancelled(issuer.look(&slot, &lines)).await;
            let outcome = match told {
                Some(Ok(())) => Progress::Done {
                    message: "an order could be made; nothing was ordered".into(),
                    path: issuer.path(&slot),
                },
                Some(Err(message)) => Progress::Failed { message },
                None => Progress::Failed { message: "interrupted: the server is stopping".into() },
            };
            // Whoever asked may have gone away.
            let _ = lines.send(outcome).await;
        });
        Some(receiver)
    }

    /// Tells everything; the first thing that is in the way, if there is one.
    async fn look(&self, slot: &Arc<Slot>, lines: &mpsc::Sender<Progress>) -> Result<(), String> {
        let tell = async |message: String| {
            let _ = lines.send(Progress::Step { message }).await;
        };
        let (state, current) = self.load(slot).await.map_err(|error| error.to_string())?;
        tell(self.standing(slot, &state, current.as_ref())).await;
        let mut in_the_way = Vec::new();
        for (authority, rehearsal) in in_order(slot, &state) {
            match self.at_ca(slot, authority, rehearsal, &state, current.as_ref()).await? {
                Ok(line) => tell(line).await,
                Err(line) => {
                    tell(line.clone()).await;
                    in_the_way.push(line);
                }
            }
        }
        // One CA is enough.
        if in_the_way.len() < slot.authorities.len() {
            in_the_way.clear();
        }
        let mut domains = Vec::new();
        for name in &slot.wanted.names {
            let domain = base_domain(name).map_err(|error| error.to_string())?;
            if domains.contains(&domain) {
                continue;
            }
            match locate(&domain, &self.shared.writer, &self.shared.resolver).await {
                Ok(Ok(place)) => tell(format!("{domain}: the value would be put at {}", place.way)).await,
                Ok(Err(missing)) => {
                    let line = format!(
                        "{domain}: make this record first: {} (now: {})",
                        missing.records.join("; "),
                        missing.seen
                    );
                    tell(line.clone()).await;
                    in_the_way.push(line);
                }
                Err(error) => {
                    tell(format!("{domain}: {error}")).await;
                    in_the_way.push(error.to_string());
                }
            }
            domains.push(domain);
        }
        match in_the_way.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(()),
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
        let renews = same_names(current, &request);
        let exceeded = authority.budget.exceeded(&authority.ca, writer, &request.names, renews, now()).await;
        if let Some(exceeded) = exceeded.map_err(store)? {
            return Ok(Err(format!("{name}: {exceeded}; possible at {}", time(exceeded.until))));
        }
        let account = match ca::standing(&authority.ca, writer).await.map_err(store)? {
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
