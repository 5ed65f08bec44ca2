//! Why an attempt ended without a certificate.

use super::check::CheckError;
use super::delegation::{DelegationError, Missing};
use crate::acme::ca::breaker::Held;
use crate::acme::ca::error::CaError;
use crate::acme::ca::problem::Class;
use crate::store::{UpdateError, now};
use crate::zone::Timestamp;

/// Why there is no certificate now.
#[derive(Debug)]
pub enum AttemptError {
    /// Records have to be made first. Costs no order and no back-off.
    Waiting(Vec<Missing>),
    /// The CA is left alone, and was asked nothing.
    Held(Held),
    Failed(Failure),
}

/// What failed, and when to try again.
#[derive(Debug)]
pub struct Failure {
    pub step: &'static str,
    pub message: String,
    /// Not before then, if the CA said so.
    pub retry_at: Option<Timestamp>,
    /// Whether the CA was asked for something, so that the next attempt has to wait longer and longer.
    pub backs_off: bool,
    pub class: Class,
    /// Whether something is wrong with the CA itself.
    pub outage: bool,
    /// What it means and what to do.
    pub explanation: Option<String>,
    pub unknown_account: bool,
}

/// A failure that waits longer and longer, and that somebody may see differently.
pub fn failure(step: &'static str, message: String) -> Failure {
    Failure {
        step,
        message,
        retry_at: None,
        backs_off: true,
        class: Class::Later,
        outage: false,
        explanation: None,
        unknown_account: false,
    }
}

pub fn failed(step: &'static str, message: String) -> AttemptError {
    AttemptError::Failed(failure(step, message))
}

/// What was published is not seen. The CA was not told to look: it is looked at again every few minutes, whatever the CA.
pub fn not_seen(error: &CheckError) -> AttemptError {
    let class = Class::Person;
    AttemptError::Failed(Failure { backs_off: false, class, ..failure("self-check", error.to_string()) })
}

pub fn failed_look_up(error: &DelegationError) -> AttemptError {
    AttemptError::Failed(Failure { backs_off: false, ..failure("delegation", error.to_string()) })
}

/// The CA does not do what it should, and another one may.
pub fn useless(step: &'static str, message: String) -> AttemptError {
    AttemptError::Failed(Failure { class: Class::Elsewhere, ..failure(step, message) })
}

pub fn store_failed(error: &UpdateError) -> AttemptError {
    failed("store", error.to_string())
}

pub fn ca_failed(step: &'static str, error: &CaError) -> AttemptError {
    AttemptError::Failed(Failure {
        retry_at: error.retry_at(),
        class: error.class(now()),
        outage: error.is_outage(),
        explanation: error.explanation(),
        unknown_account: error.is_unknown_account(),
        ..failure(step, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::zone::Name;

    #[test]
    fn a_failed_self_check_names_the_record_to_fix_and_is_no_failure_of_any_ca() {
        let challenge = Name::parse("_acme-challenge.a.test").unwrap();
        let (records, seen) = ("`_acme-challenge.a.test. IN CNAME x.auth.test.`".to_owned(), "nothing".to_owned());
        let error = CheckError::NotSeen { challenge, records, seen, patience: Duration::from_secs(60) };
        let AttemptError::Failed(failure) = not_seen(&error) else { panic!() };
        assert!(failure.message.contains("`_acme-challenge.a.test. IN CNAME x.auth.test.`"), "{}", failure.message);
        assert_eq!((failure.backs_off, failure.class, failure.outage), (false, Class::Person, false));
    }
}
