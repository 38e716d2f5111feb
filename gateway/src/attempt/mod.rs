//! Attempts: candidates are tried in order until one responds. This module decides which response counts, and which failure moves on to the
//! next candidate.

pub mod egress;
pub mod connections;
pub mod error;
pub mod upstream;
pub mod blame;
pub mod media;
pub mod credentials;
mod rounds;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use events::request::Attempt;
use events::{Failpoint, failpoint};
use http::{HeaderMap, StatusCode};
use routing::Why;
use routing::health::Outcome;
use wire::call::{Call, Format, Target};

use crate::admission::{Access, Admitted, Served};
use crate::error::GatewayError;
use crate::meter;
use crate::route::address::Address;
use crate::route::provider::refuses_tools_in_chat;
use crate::route::{Candidate, Egress, Plan, Provider};
use credentials::{Credentials, Turn, seed};
use error::AttemptError;
use rounds::{Chance, Rounds};
use upstream::{Answer, Upstream, UpstreamCall};

/// A response, with the endpoint that gave it.
pub struct Reply {
    /// The response; at least the first piece of a stream has been read.
    pub answer: Answer,
    /// The endpoint and tier that served the request.
    pub served: Served,
}

/// One candidate, as it is tried.
struct Try<'a> {
    candidate: &'a Candidate,
    /// Whether another candidate can take the request.
    has_next: bool,
    access: Access,
    /// Whether the candidate's breaker, or those of its own keys, let nothing through.
    is_last_resort: bool,
    /// The reason for its place.
    why: Why,
    /// The number of the round, from 1.
    round: u32,
}

/// A request as it was prepared for a provider.
struct Prepared<'a> {
    format: Format,
    address: Cow<'a, Address>,
    body: Bytes,
}

impl Upstream {
    /// Tries candidates until one responds: first those that their breakers let through, then the others. If all fail, those whose failure
    /// may pass are tried again after a wait, as far as the budget goes.
    ///
    /// # Errors
    /// Fails with the last candidate's failure, or with the first refusal of the request itself.
    pub async fn send(
        &self,
        plan: &Plan,
        (call, headers): (&Call<'_>, &HeaderMap),
        admitted: &mut Admitted,
    ) -> Result<Reply, GatewayError> {
        let mut last = GatewayError::Upstream("no candidate".to_owned());
        let mut rounds = Rounds::new(&plan.candidates, self.retry_budget());
        loop {
            while let Some(attempt) = rounds.next(admitted.now_us(), admitted.attempts().len()) {
                let candidate = attempt.candidate;
                match self.attempt(plan, attempt, (call, headers), admitted).await {
                    Ok(reply) => {
                        admitted.left_alone(rounds.left_alone());
                        return Ok(reply);
                    }
                    Err(Stop::Request(error)) => return Err(with_attempts(error, admitted)),
                    Err(Stop::Candidate(error, chance)) => {
                        rounds.failed(candidate, chance);
                        last = error;
                    }
                }
            }
            let Some(wait) = rounds.next_round(admitted.attempts().len(), seed(admitted)) else {
                return Err(with_attempts(last, admitted));
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Tries one candidate, with one credential after the other as long as they are at fault.
    async fn attempt(
        &self,
        plan: &Plan,
        attempt: Try<'_>,
        (call, headers): (&Call<'_>, &HeaderMap),
        admitted: &mut Admitted,
    ) -> Result<Reply, Stop> {
        let Try { candidate, has_next, access, is_last_resort, why, round } = attempt;
        let (endpoint, provider) = (&candidate.endpoint, &candidate.endpoint.provider);
        let cap = candidate.cap(admitted.hold(), plan.choices, admitted.is_free_with_own());
        let target = Target { model: &endpoint.upstream_model, cap, dialect: &provider.dialect };
        let Prepared { format, address, body } =
            self.prepared(call, provider, &target).await.map_err(|error| Stop::Candidate(error, Chance::Gone))?;
        let prompt_tokens = meter::tokens_of(call.head.prompt_text_bytes).min(endpoint.context_length);
        let client_headers = Some(headers).filter(|_| format == call.format());
        let mut credentials = Credentials::new(candidate, is_last_resort);
        let (mut turn, mut access) = credentials.first(admitted, access).map_err(|error| Stop::Candidate(error, Chance::Gone))?;
        loop {
            let sent = Arc::new(AtomicBool::new(false));
            let served = Served { endpoint: Arc::clone(endpoint), tier: plan.tier, own: turn.own.clone() };
            admitted.start_attempt(served.clone(), prompt_tokens, Arc::clone(&sent), access);
            let since = Instant::now();
            let (own_address, egress) = own_address(&turn, provider, target.model, (format, call.head.stream));
            let headers = provider.request_headers(client_headers, turn.header(provider));
            let address = own_address.as_ref().unwrap_or(&address);
            let upstream_call = UpstreamCall { headers, format, address, egress, body: body.clone(), prompt_tokens, sent: &sent };
            let result = self.answered(upstream_call, call.head.stream, has_next).await.map_err(|failure| served.cleaned(failure));
            let failure = result.as_ref().err();
            let next = credentials.judge(&turn, failure, admitted);
            let is_credentials = failure.is_some() && next.is_some();
            let outcome = failure.map(|failure| if is_credentials { Outcome::Neutral } else { health_of(failure, admitted.now_us()) });
            admitted.tried(record(candidate, place_of(plan, why, round), failure, since), outcome);
            match result {
                Ok(answer) => {
                    failpoint(Failpoint::ProviderAnswered);
                    admitted.first_piece();
                    return Ok(Reply { answer, served });
                }
                Err(failure) => {
                    admitted.counts().failed(&provider.slug, failure.code());
                    report((&provider.slug, turn.own.is_some()), &endpoint.model.id, &failure);
                    let Some(next) = next else {
                        let error = turn.error(&failure, &provider.slug);
                        let is_requests = matches!(failure, AttemptError::Refused { .. });
                        let chance = Chance::of(&failure, admitted.now_us());
                        return Err(if is_requests { Stop::Request(error) } else { Stop::Candidate(error, chance) });
                    };
                    (turn, access) = next;
                }
            }
        }
    }

    /// Calls a provider. If another one can take the request, it gets less time for a sign of life.
    async fn answered(&self, call: UpstreamCall<'_>, stream: bool, has_next: bool) -> Result<Answer, AttemptError> {
        let patience = self.patience(stream).filter(|_| has_next);
        let asked = async { if stream { self.stream(call).await } else { self.whole(call).await } };
        match patience {
            Some(patience) => tokio::time::timeout(patience, asked).await.unwrap_or(Err(AttemptError::Timeout)),
            None => asked.await,
        }
    }

    /// Returns the format, address and body of a request to a provider.
    async fn prepared<'a>(&self, call: &Call<'_>, provider: &'a Provider, target: &Target<'_>) -> Result<Prepared<'a>, GatewayError> {
        let wrong = |problem: &str| GatewayError::Upstream(format!("{} {problem}", provider.slug));
        // Chat shows no reasoning of OpenAI's models.
        let needs_responses = call.head.has_reasoning_object || call.head.has_tools && refuses_tools_in_chat(target.model);
        let unaddressable = || wrong("has a model name that fits no address");
        let format = provider.format_for(call.format(), needs_responses).ok_or_else(|| wrong("has no such operation"))?;
        let stream = call.head.stream;
        if format == Format::Generate && call.format() != Format::Generate {
            let mut request = call.neutral()?;
            self.media().inline(&mut request).await?;
            let address = provider.address(format, target.model, stream).ok_or_else(unaddressable)?;
            return Ok(Prepared { format, address, body: wire::call::write(&request, format, stream, target)?.into() });
        }
        // A provider with both operations is asked by the other one if Responses cannot say the request.
        let (format, body) = match (call.upstream_body(format, target), provider.format_for(Format::Chat, false)) {
            (Err(_), Some(Format::Chat)) if format == Format::Responses => (Format::Chat, call.upstream_body(Format::Chat, target)?),
            (body, _) => (format, body?),
        };
        let address = provider.address(format, target.model, stream).ok_or_else(unaddressable)?;
        Ok(Prepared { format, address, body: body.into() })
    }
}

/// The scope of a failure: the candidate, after which the next one is tried, or the request itself.
enum Stop {
    Candidate(GatewayError, Chance),
    Request(GatewayError),
}

/// Returns the address of an operation at an own key's address, if it has one, and the way there.
fn own_address<'a>(
    turn: &'a Turn,
    provider: &Provider,
    model: &str,
    (format, stream): (Format, bool),
) -> (Option<Cow<'a, Address>>, Egress) {
    let elsewhere = turn.own.as_ref().and_then(|own| own.provider.as_ref());
    (
        elsewhere.and_then(|provider| provider.address(format, model, stream)),
        elsewhere.map_or(provider.egress, |elsewhere| elsewhere.egress),
    )
}

/// Adds the attempts to an error, if there were several.
fn with_attempts(error: GatewayError, admitted: &Admitted) -> GatewayError {
    match admitted.attempts() {
        [] | [_] => error,
        attempts => GatewayError::Exhausted { last: Box::new(error), attempts: attempts.to_vec() },
    }
}

/// Returns the reason for an attempt, if there was a choice, and its round, if it is not the first.
fn place_of(plan: &Plan, why: Why, round: u32) -> (Option<Why>, Option<u32>) {
    let has_choice = plan.candidates.len() > 1 || !plan.skipped.is_empty() || why == Why::Broken;
    (has_choice.then_some(why), Some(round).filter(|round| *round > 1))
}

fn record(candidate: &Candidate, (why, round): (Option<Why>, Option<u32>), failure: Option<&AttemptError>, since: Instant) -> Attempt {
    Attempt {
        provider: candidate.endpoint.provider.slug.clone(),
        model: candidate.endpoint.model.id.clone(),
        status: failure.map_or(Some(StatusCode::OK), AttemptError::status).map(|status| status.as_u16()),
        error: failure.map(|failure| failure.code().to_owned()),
        duration_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        why: why.map(|why| why.as_str().to_owned()),
        round,
    }
}

/// Returns the result of a failed attempt for the health of its endpoint.
#[must_use]
pub fn health_of(failure: &AttemptError, now_us: i64) -> Outcome {
    match failure {
        AttemptError::Refused { .. } => Outcome::Neutral,
        AttemptError::Overloaded { status: Some(StatusCode::TOO_MANY_REQUESTS), retry_after, .. } => {
            Outcome::RateLimited { retry_after_us: blame::retry_after_us(retry_after.as_ref(), now_us) }
        }
        // An endpoint that refuses the gateway is as useless as one that fails.
        AttemptError::Operator { .. }
        | AttemptError::Overloaded { .. }
        | AttemptError::Connect
        | AttemptError::Cut
        | AttemptError::Timeout
        | AttemptError::Malformed
        | AttemptError::Coding(_)
        | AttemptError::TooLarge => Outcome::Failed,
    }
}

/// Logs a failure: at error level if the operator must act, otherwise as a warning. A refusal of the request is not logged.
/// A failure of an account's own key is not the operator's, and what the provider says about it is not logged.
fn report((provider, is_own): (&str, bool), model: &str, failure: &AttemptError) {
    let code = failure.code();
    match failure {
        AttemptError::Refused { .. } => {}
        AttemptError::Operator { .. } if is_own => {
            tracing::info!(provider, model, code, "{provider} refused a provider key of an account: {code}");
        }
        AttemptError::Operator { error, .. } => {
            let says = error.message.as_deref().unwrap_or_default();
            tracing::error!(provider, model, code, says, "{provider} failed: {failure}");
        }
        AttemptError::Overloaded { .. }
        | AttemptError::Connect
        | AttemptError::Cut
        | AttemptError::Timeout
        | AttemptError::Malformed
        | AttemptError::Coding(_)
        | AttemptError::TooLarge => tracing::warn!(provider, model, code, "{provider} failed: {failure}"),
    }
}

impl GatewayError {
    /// Returns the error that a caller gets for a provider's failure.
    #[must_use]
    pub fn of_provider(failure: &AttemptError, provider: &str) -> Self {
        match failure {
            AttemptError::Refused { status, error } => {
                Self::UpstreamRefused { status: *status, error: error.clone(), provider: provider.to_owned() }
            }
            AttemptError::Overloaded { status, error, retry_after } => Self::UpstreamOverloaded {
                is_rate: *status == Some(StatusCode::TOO_MANY_REQUESTS),
                error: error.clone(),
                provider: provider.to_owned(),
                retry_after: retry_after.clone(),
            },
            AttemptError::Connect | AttemptError::Cut => {
                Self::UpstreamOverloaded { is_rate: false, error: Box::default(), provider: provider.to_owned(), retry_after: None }
            }
            AttemptError::Timeout => Self::UpstreamTimeout,
            // The provider's message may name the operator's account, so it appears only in the log.
            AttemptError::Operator { .. } => {
                Self::Upstream(format!("{provider} does not take the gateway's requests; its operator is told"))
            }
            AttemptError::Malformed | AttemptError::Coding(_) | AttemptError::TooLarge => Self::Upstream(failure.to_string()),
        }
    }
}
