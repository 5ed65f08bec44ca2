//! The part of an attempt that proves control of the names: publish, check, have the CA look (RFC 8555 section 8.4).

use instant_acme::{AuthorizationStatus, ChallengeStatus, Identifier, Order, OrderStatus};

use super::attempt::Attempt;
use super::challenge::{self, Method};
use super::check::{Expected, PATIENCE, check};
use super::delegation::{Found, Place, Wanted, domains};
use super::failure::{AttemptError, ca_failed, failed, not_seen};
use crate::acme::ca::error::CaError;
use crate::acme::ca::session::{Session, ask};
use crate::acme::random;
use crate::acme::state::{Phase, Published};
use crate::store::{Actor, now};
use crate::zone::{Edit, Timestamp, TxtValue, Update};

/// How long a record that is not to stay holds at least, seconds, should it stay behind.
const DAY: u64 = 24 * 60 * 60;

/// What the CA wants to see for one domain.
struct Asked {
    wanted: Wanted,
    proof: Proof,
}

enum Proof {
    /// This value.
    Value(String),
    /// A record that may have been made by hand, as this method has it.
    Record(Method),
}

impl Attempt<'_> {
    /// Publishes the values, checks that they are seen, and has the CA validate.
    pub async fn prove(
        &mut self,
        session: &Session,
        method: &Method,
        order: &mut Order,
        places: &[Place],
    ) -> Result<(), AttemptError> {
        let asked = match self.asked(session, method, order).await {
            Ok(asked) => asked,
            Err(error) => return Err(self.ended(("order", error)).await?),
        };
        let challenges = self.values(asked, places).await?;
        self.state.phase = Phase::Publishing;
        self.publish(&challenges).await?;
        let mut expected: Vec<Expected<'_>> = Vec::new();
        for (place, value) in &challenges {
            match expected.iter_mut().find(|expected| expected.place == place) {
                Some(expected) => expected.values.push(value.clone()),
                None => expected.push(Expected { place, values: vec![value.clone()] }),
            }
        }
        if let Err(error) = check(&expected, self.own, self.resolver, PATIENCE, &|line| self.say(line)).await {
            // The CA was not told to look: the order stays as it is and costs nothing.
            self.withdraw().await?;
            return Err(not_seen(&error));
        }
        self.enter(Phase::Validating).await?;
        if let Err(error) = self.set_ready(session, order).await {
            return Err(ca_failed("validation", &error));
        }
        self.say("asked the CA to validate".into());
        self.wait(session, order, OrderStatus::Pending, "validation").await
    }

    /// What the CA asks for in each authorization that is still to be proven.
    async fn asked(&self, session: &Session, method: &Method, order: &mut Order) -> Result<Vec<Asked>, CaError> {
        let protocol = |reason: String| CaError::Protocol { url: session.account.id().to_owned(), reason };
        let domains = domains(&self.request.names).map_err(|error| protocol(error.to_string()))?;
        let mut found = Vec::new();
        let answers = session.fetch_authorizations(order).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| session.told(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let Identifier::Dns(domain) = authorization.identifier().identifier.clone() else {
                return Err(protocol("an authorization that is for no DNS name".into()));
            };
            let wanted = domains.iter().find(|wanted| wanted.domain.to_string() == domain.to_ascii_lowercase());
            let wanted = wanted.ok_or_else(|| protocol(format!("an authorization for {domain}")))?.clone();
            let offered = authorization.challenges.iter().map(|offered| challenge::offered(&offered.r#type)).collect();
            let Some(challenge) = authorization.challenge(challenge::kind(self.request.challenge)) else {
                let wanted = challenge::method(self.request.challenge);
                return Err(CaError::NoSuchChallenge { wanted, domain, offered });
            };
            let proof = match method {
                Method::DnsPersist01(holder) => {
                    let told = answers.iter().find_map(|answer| challenge::issuers(answer, &challenge.url));
                    let issuers = told.filter(|told| !told.is_empty()).ok_or_else(|| {
                        protocol(format!("a dns-persist-01 challenge for {domain} without a name that the CA goes by"))
                    })?;
                    Proof::Record(Method::DnsPersist01(challenge::Holder { issuers, ..holder.clone() }))
                }
                _ => Proof::Value(challenge.key_authorization().dns_value()),
            };
            found.push(Asked { wanted, proof });
        }
        Ok(found)
    }

    /// The values that have to be published, and where.
    async fn values(&mut self, asked: Vec<Asked>, places: &[Place]) -> Result<Vec<(Place, String)>, AttemptError> {
        let (mut values, mut missing, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for Asked { wanted, proof } in asked {
            match proof {
                Proof::Value(value) => {
                    let place = places.iter().find(|place| place.domain == wanted.domain).cloned();
                    let place = place.ok_or_else(|| failed("order", format!("no place for {}", wanted.domain)))?;
                    values.push((place, value));
                }
                // One record does for the domain and its wildcard.
                Proof::Record(_) if seen.contains(&wanted) => {}
                Proof::Record(method) => {
                    match (self.locate_one(&wanted, &method).await?, method.standing(&wanted.domain, wanted.wildcard)) {
                        (Ok(Found::Place(place)), Some(standing)) => {
                            values.push((place, standing.value(Some(some_time()))));
                        }
                        (Ok(_), _) => {}
                        (Err(lacking), _) => missing.push(lacking),
                    }
                    seen.push(wanted);
                }
            }
        }
        self.unless_missing(missing).await?;
        Ok(values)
    }

    async fn publish(&mut self, challenges: &[(Place, String)]) -> Result<(), AttemptError> {
        let mut updates = Vec::new();
        for (place, text) in challenges {
            let value = TxtValue::new(text.as_bytes()).map_err(|error| failed("publication", error.to_string()))?;
            updates.push(Update { name: place.kept_at.clone(), edit: Edit::Add(value) });
            let published = Published { name: place.kept_at.clone(), value: text.clone() };
            if !self.state.published.contains(&published) {
                self.state.published.push(published);
            }
        }
        self.save().await?;
        let done = self.writer.update(Actor::AcmeClient, updates).await;
        done.map_err(|error| failed("publication", error.to_string()))?;
        for (place, _) in challenges {
            self.say(format!("published a value at {}", place.kept_at));
        }
        Ok(())
    }

    async fn set_ready(&self, session: &Session, order: &mut Order) -> Result<(), CaError> {
        session.fetch_authorizations(order).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| session.told(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(challenge::kind(self.request.challenge))
                && challenge.status == ChallengeStatus::Pending
            {
                match ask!(session, challenge.set_ready().await) {
                    Ok(()) => {}
                    // What the CA has found already: the order says what comes of it.
                    Err(CaError::Refused(refusal)) if session.is_answered() => self.say(refusal.words),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Until when a record holds that is taken away as soon as the CA has seen it. It is another one for each attempt, so
/// that of two certificates for one domain neither takes away the other's.
fn some_time() -> Timestamp {
    now() + DAY + u64::from(random()) % DAY
}
