//! The credentials of one candidate in turn: those of the operator, or the own keys of the account.

use std::sync::Arc;

use http::StatusCode;
use routing::pool::CredentialOutcome;
use routing::sticky::prefix_hash;

use super::blame;
use super::error::AttemptError;
use crate::admission::{Access, Admitted, Served};
use crate::error::GatewayError;
use crate::route::own_keys::{OwnKey, OwnKeys};
use crate::route::provider::Credential;
use crate::route::{Candidate, Provider};

/// The credentials of a candidate that were not tried yet.
pub struct Credentials<'a> {
    candidate: &'a Candidate,
    is_last_resort: bool,
    tried: Vec<usize>,
}

/// A credential for one call; without a place for a provider that needs none.
pub struct Turn {
    place: Option<usize>,
    /// The account's own key.
    pub own: Option<Arc<OwnKey>>,
}

impl<'a> Credentials<'a> {
    #[must_use]
    pub const fn new(candidate: &'a Candidate, is_last_resort: bool) -> Self {
        Self { candidate, is_last_resort, tried: Vec::new() }
    }

    /// Returns the first credential. `access` is the right to call the endpoint, which own keys do not need.
    ///
    /// # Errors
    /// Fails if no own key can be used now.
    pub fn first(&self, admitted: &Admitted, access: Access) -> Result<(Turn, Access), GatewayError> {
        let provider = &self.candidate.endpoint.provider;
        match &self.candidate.own {
            None => {
                let place = provider.choose_credential(admitted.now_us(), seed(admitted), &self.tried);
                Ok((Turn { place, own: None }, access))
            }
            Some(keys) => self.next_own(keys, admitted).ok_or_else(|| unusable(&provider.slug)),
        }
    }

    /// Notes the provider's answer to a credential. Returns the next one, if this one is at fault.
    pub fn judge(&mut self, turn: &Turn, failure: Option<&AttemptError>, admitted: &Admitted) -> Option<(Turn, Access)> {
        let (place, now_us) = (turn.place?, admitted.now_us());
        self.tried.push(place);
        let outcome = outcome(failure, now_us)?;
        if let (Some(own), Some(keys)) = (&turn.own, &self.candidate.own) {
            own.rests.record(now_us, 0, outcome);
            failure?;
            return self.next_own(keys, admitted);
        }
        let provider: &Provider = &self.candidate.endpoint.provider;
        provider.pool.record(now_us, place, outcome);
        failure?;
        let place = provider.choose_credential(now_us, seed(admitted), &self.tried)?;
        Some((Turn { place: Some(place), own: None }, Access::LastResort))
    }

    fn next_own(&self, keys: &OwnKeys, admitted: &Admitted) -> Option<(Turn, Access)> {
        let (place, permit) = keys.choose(admitted.now_us(), seed(admitted), &self.tried, self.is_last_resort)?;
        let own = keys.keys.get(place).map(Arc::clone);
        Some((Turn { place: Some(place), own }, permit.map_or(Access::LastResort, Access::Permitted)))
    }
}

impl Turn {
    /// Returns the header with the credential.
    #[must_use]
    pub fn header<'a>(&'a self, provider: &'a Provider) -> Option<&'a Credential> {
        match &self.own {
            Some(own) => Some(&own.credential),
            None => provider.credential(self.place?),
        }
    }

    /// Returns the error that a caller gets for a provider's failure.
    #[must_use]
    pub fn error(&self, failure: &AttemptError, provider: &str) -> GatewayError {
        match (&self.own, failure) {
            (Some(own), AttemptError::Operator { status, .. }) => {
                let label = &own.state.label;
                let status = status.map(|status| format!(" with status {}", status.as_u16())).unwrap_or_default();
                GatewayError::Upstream(format!("{provider} refused the provider key '{label}' of this account{status}"))
            }
            _ => GatewayError::of_provider(failure, provider),
        }
    }
}

impl Served {
    /// Returns the endpoint's failure without the credentials, which a provider may repeat.
    #[must_use]
    pub fn cleaned(&self, failure: AttemptError) -> AttemptError {
        match &self.own {
            Some(own) => failure.without(own.secret()),
            None => self.endpoint.provider.secrets().fold(failure, AttemptError::without),
        }
    }
}

fn unusable(provider: &str) -> GatewayError {
    GatewayError::Upstream(format!(
        "the provider keys of this account for {provider} cannot be used now: the provider refuses them, or their rpm_limit or budget is used up"
    ))
}

/// Returns a provider's answer to a credential; `None` if it says nothing about the credential.
fn outcome(failure: Option<&AttemptError>, now_us: i64) -> Option<CredentialOutcome> {
    match failure {
        None => Some(CredentialOutcome::Accepted),
        Some(AttemptError::Operator { status: Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED), .. }) => None,
        Some(AttemptError::Operator { .. }) => Some(CredentialOutcome::Rejected),
        Some(AttemptError::Overloaded { status: Some(StatusCode::TOO_MANY_REQUESTS), retry_after, .. }) => {
            Some(CredentialOutcome::RateLimited { retry_after_us: blame::retry_after_us(retry_after.as_ref(), now_us) })
        }
        Some(
            AttemptError::Refused { .. }
            | AttemptError::Overloaded { .. }
            | AttemptError::Connect
            | AttemptError::Cut
            | AttemptError::Timeout
            | AttemptError::Malformed
            | AttemptError::Coding(_)
            | AttemptError::TooLarge,
        ) => None,
    }
}

/// Returns a number that differs for each request and attempt.
pub(super) fn seed(admitted: &Admitted) -> u64 {
    prefix_hash([admitted.request().as_str().as_bytes(), &[u8::try_from(admitted.attempts().len()).unwrap_or(u8::MAX)]].into_iter())
}
