//! The part of an attempt that begins to speak with the CA, if it is not to be left alone.

use super::attempt::Attempt;
use super::failure::{AttemptError, ca_failed, store_failed};
use crate::acme::ca::breaker::Pass;
use crate::acme::ca::error::SessionError;
use crate::acme::ca::session::Session;
use crate::store::now;

impl<'a> Attempt<'a> {
    pub async fn session(&mut self) -> Result<Session, AttemptError> {
        let pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.pass()?,
        };
        let pass = self.pass.insert(pass);
        let session = Session::open(self.authority, self.writer).await.map_err(no_session)?;
        pass.entered();
        Ok(session)
    }

    /// The right to ask the CA: people have it always.
    fn pass(&self) -> Result<Pass<'a>, AttemptError> {
        let breaker = &self.authority.breaker;
        match breaker.pass(now(), self.current.map(|current| current.not_after)) {
            Ok(pass) => Ok(pass),
            Err(held) if self.due => Err(AttemptError::Held(held)),
            Err(held) => {
                self.say(format!("{}; asking it all the same", held.words(&self.authority.ca.name)));
                Ok(breaker.pass_anyway())
            }
        }
    }
}

pub fn no_session(error: SessionError) -> AttemptError {
    match error {
        SessionError::Ca(error) => ca_failed("account", &error),
        SessionError::Store(error) => store_failed(&error),
    }
}
