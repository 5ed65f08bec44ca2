//! The part of an attempt that proves control of the names: publish, check, have the CA look (RFC 8555 section 8.4).

use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, Order, OrderStatus};

use super::attempt::{Attempt, AttemptError, failed};
use super::ca::{CaError, Session, ask};
use super::check::{Expected, PATIENCE, check};
use super::delegation::Place;
use super::state::{Phase, Published};
use crate::store::Actor;
use crate::zone::{Edit, TxtValue, Update};

impl Attempt<'_> {
    /// Publishes the values, checks that they are seen, and has the CA validate.
    pub(super) async fn prove(
        &mut self,
        session: &Session,
        order: &mut Order,
        places: &[Place],
    ) -> Result<(), AttemptError> {
        let challenges = match self.challenges(session, order, places).await {
            Ok(challenges) => challenges,
            Err(error) => return Err(self.ended(error).await?),
        };
        self.state.phase = Phase::Publishing;
        self.publish(&challenges).await?;
        let expected: Vec<Expected<'_>> = places
            .iter()
            .map(|place| Expected {
                place,
                values: challenges.iter().filter(|(at, _)| *at == place).map(|(_, value)| value.clone()).collect(),
            })
            .filter(|expected| !expected.values.is_empty())
            .collect();
        if let Err(error) = check(&expected, self.own, self.resolver, PATIENCE, &|line| self.say(line)).await {
            // The CA was not told to look: the order stays as it is and costs nothing.
            self.withdraw().await?;
            return Err(failed("self-check", error.to_string()));
        }
        self.enter(Phase::Validating).await?;
        if let Err(error) = self.set_ready(session, order).await {
            return Err(self.ended(("validation", error)).await?);
        }
        self.say("asked the CA to validate".into());
        self.wait(session, order, OrderStatus::Pending, "validation").await
    }

    /// The place and value of each challenge that is still to be proven.
    async fn challenges<'p>(
        &self,
        session: &Session,
        order: &mut Order,
        places: &'p [Place],
    ) -> Result<Vec<(&'p Place, String)>, (&'static str, CaError)> {
        let protocol = |reason: String| CaError::Protocol { url: session.account.id().to_owned(), reason };
        let mut found = Vec::new();
        session.fetch_authorizations(order).await.map_err(|error| ("order", error))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| ("order", session.told(error)))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let Identifier::Dns(domain) = authorization.identifier().identifier.clone() else {
                return Err(("order", protocol("an authorization that is for no DNS name".into())));
            };
            let place = places.iter().find(|place| place.domain.to_string() == domain.to_ascii_lowercase());
            let place = place.ok_or_else(|| ("order", protocol(format!("an authorization for {domain}"))))?;
            let challenge = authorization.challenge(ChallengeType::Dns01);
            let challenge =
                challenge.ok_or_else(|| ("order", protocol(format!("no dns-01 challenge for {domain}"))))?;
            found.push((place, challenge.key_authorization().dns_value()));
        }
        Ok(found)
    }

    async fn publish(&mut self, challenges: &[(&Place, String)]) -> Result<(), AttemptError> {
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
            if let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01)
                && challenge.status == ChallengeStatus::Pending
            {
                ask!(session, challenge.set_ready().await)?;
            }
        }
        Ok(())
    }
}
