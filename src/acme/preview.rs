//! What would happen if a certificate were asked for now: everything is looked at, nothing is ordered or published.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::asked::Listener;
use super::ca::account::{self, Standing};
use super::ca::authority::Authority;
use super::ca::directory::Meta;
use super::ca::registration::may_register;
use super::ca::rollover;
use super::ca::session::check_profile;
use super::certificate::Certificate;
use super::issue::{in_order, is_good, is_rehearsed_first};
use super::order::caa;
use super::order::challenge::{self, Method};
use super::order::delegation::{Found, Wanted, base_domain, domains, locate};
use super::renewal::plan;
use super::renewal::{allowed_at, renews};
use super::request::Request;
use super::slot::Slot;
use super::state::Issuance;
use super::{Issuer, cas, time};
use crate::api::Progress;
use crate::config::{Ca, Challenge};
use crate::store::now;

impl Issuer {
    /// Tells what an order would meet: the records of each name, and whether each CA would take an order: its account,
    /// profile, CAA records and limits. The last line is `Done` if an order could be made, or none is needed, or
    /// `Failed`. `None` if the configuration has no certificate of this name.
    ///
    /// Must be called inside the runtime.
    pub fn preview(&self, name: &str) -> Option<mpsc::Receiver<Progress>> {
        let slot = self.slot(name)?.clone();
        Some(self.telling(move |issuer, listener| async move {
            let (state, current) = match issuer.load(&slot).await {
                Ok(loaded) => loaded,
                Err(error) => return Progress::Failed { message: error.to_string() },
            };
            let path = current.as_ref().map_or_else(String::new, |_| issuer.path(&slot));
            if let Some(current) = current.as_ref().filter(|current| is_good(&slot, &state, current)) {
                let (until, renewal) = (time(current.not_after), plan::renewal(current, state.renewal.as_ref()));
                let message = format!(
                    "the certificate is valid until {until}: nothing would be ordered; renewal at {}",
                    time(renewal)
                );
                return Progress::Done { message, path };
            }
            match issuer.look(&slot, &state, current.as_ref(), &listener).await {
                Ok(()) => Progress::Done { message: "an order could be made; nothing was ordered".into(), path },
                Err(message) => Progress::Failed { message },
            }
        }))
    }

    /// Tells everything; the first thing that is in the way, if there is one.
    async fn look(
        &self,
        slot: &Arc<Slot>,
        state: &Issuance,
        current: Option<&Certificate>,
        listener: &Listener,
    ) -> Result<(), String> {
        listener.step(self.standing(slot, state, current));
        let (mut in_the_way, mut able) = (Vec::new(), None);
        for (authority, rehearsal) in in_order(slot, state) {
            match self.at_ca(slot, authority, rehearsal, state, current).await? {
                Ok(line) => {
                    listener.step(line);
                    able = able.or(Some(authority));
                }
                Err(line) => {
                    listener.step(line.clone());
                    in_the_way.push(line);
                }
            }
        }
        // One CA is enough.
        if able.is_some() {
            in_the_way.clear();
        }
        let first = || in_order(slot, state).first().map(|(authority, _)| *authority);
        match self.method(slot, able.or_else(first)).await? {
            Some(method) => {
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
            None => {
                let challenge = challenge::method(slot.certificate.challenge);
                listener.step(format!(
                    "which records {challenge} needs depends on what the CA says, so the first order tells"
                ));
            }
        }
        match in_the_way.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(()),
        }
    }

    /// How names are proven at this CA, as the account that is kept; `None` if that depends on an account, or on what
    /// the CA says, that is not there yet. Says nothing to the CA.
    async fn method(&self, slot: &Slot, authority: Option<&Authority>) -> Result<Option<Method>, String> {
        let challenge = slot.certificate.challenge;
        if challenge == Challenge::Dns01 {
            return Ok(Some(Method::Dns01));
        }
        let Some(authority) = authority else { return Ok(None) };
        let kept = account::kept(&authority.ca, &self.shared.writer).await.map_err(|error| error.to_string())?;
        // That there is no directory has been told.
        let (Some(kept), Ok(directory)) = (kept, cas::directory(authority).await) else { return Ok(None) };
        let holder = rollover::holder(&authority.ca, &kept).map_err(|error| error.to_string())?;
        let thumbprint = holder.key.jwk().thumbprint();
        Ok(match Method::with(challenge, &holder.account, (&thumbprint, &kept.former_keys), &directory.meta) {
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
        let standing = account::standing(&authority.ca, writer).await.map_err(store)?;
        if let Err(reason) = self.would_take(&authority.ca, &directory.meta, &request, &standing).await {
            return Ok(Err(format!("{name}: {reason}")));
        }
        let renews = renews(current, state, &request, &directory, now());
        let budget = &authority.budget;
        let exceeded = budget.exceeded(&authority.ca, writer, slot.name(), &request.names, renews, now()).await;
        if let Some(exceeded) = exceeded.map_err(store)? {
            let at = allowed_at(exceeded.until, current, state, now());
            return Ok(Err(format!("{name}: {exceeded}; possible at {}", time(at))));
        }
        let account = match standing {
            Standing::Account(url) => format!("with the account {url}"),
            Standing::BeingMade => "with the account that is being made".into(),
            Standing::Unknown => "with a new account".into(),
        };
        let rehearsal = rehearsal.filter(|_| is_rehearsed_first(&request, state, current));
        let rehearsed = rehearsal.map_or(String::new(), |ca| format!(", after a rehearsal at {}", ca.ca.name));
        let profile = request.profile.map_or(String::new(), |profile| format!(", profile {profile}"));
        let names = request.names.join(", ");
        Ok(Ok(format!("{name}: would order {names} {account}{profile}{rehearsed}")))
    }

    /// Whether the CA would take an order, as far as that can be seen without making an account or an order there.
    async fn would_take(&self, ca: &Ca, meta: &Meta, request: &Request, standing: &Standing) -> Result<(), String> {
        if let Some(profile) = &request.profile {
            check_profile(meta, profile).map_err(|error| error.to_string())?;
        }
        let account = match standing {
            Standing::Account(url) => Some(url.as_str()),
            // There may be one already, which needs nothing.
            Standing::BeingMade => None,
            Standing::Unknown => {
                may_register(ca, meta).map_err(|error| error.to_string())?;
                None
            }
        };
        let names: Vec<String> = request.names.iter().filter(|name| !self.will_permit(name, meta)).cloned().collect();
        let allowed =
            caa::look(&ca.name, &names, request.challenge, (&meta.caa_identities, account), &self.shared.resolver);
        allowed.await.map_err(|reason| format!("{}: {reason}", caa::STEP))
    }

    /// Whether the CAA records for this name are ours to make, and are made before an order.
    fn will_permit(&self, name: &str, meta: &Meta) -> bool {
        let Ok(domain) = base_domain(name) else { return false };
        let live = self.shared.writer.live();
        let Some(zone) = live.zones().find(domain.as_wire()).cloned() else { return false };
        meta.caa_identities.iter().any(|identity| zone.permitting(identity, "").is_some())
    }
}
