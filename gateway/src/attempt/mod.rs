//! Attempts: candidates are tried in order until one responds. This module decides which response counts, and which failure moves on to the
//! next candidate.

pub mod connections;
pub mod error;
pub mod upstream;
pub mod blame;
pub mod media;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use events::request::Attempt;
use events::{Failpoint, failpoint};
use http::{HeaderMap, StatusCode};
use wire::call::{Call, Format, Target};

use crate::admission::{Admitted, Served};
use crate::error::GatewayError;
use crate::meter;
use crate::route::address::Address;
use crate::route::provider::refuses_tools_in_chat;
use crate::route::{Plan, Provider};
use error::AttemptError;
use upstream::{Answer, Upstream, UpstreamCall};

/// A response, with the endpoint that gave it.
pub struct Reply {
    /// The response; at least the first piece of a stream has been read.
    pub answer: Answer,
    /// The endpoint and tier that served the request.
    pub served: Served,
}

impl Upstream {
    /// Tries candidates until one responds.
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
        for candidate in &plan.candidates {
            let (endpoint, provider) = (&candidate.endpoint, &candidate.endpoint.provider);
            let cap = candidate.cap(admitted.hold(), plan.choices);
            let target = Target { model: &endpoint.upstream_model, cap, dialect: &provider.dialect };
            let (format, address, body) = match self.prepared(call, provider, &target).await {
                Ok(prepared) => prepared,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let prompt_tokens = meter::tokens_of(call.head.prompt_text_bytes).min(endpoint.context_length);
            let sent = Arc::new(AtomicBool::new(false));
            admitted.start_attempt(Served { endpoint: Arc::clone(endpoint), tier: plan.tier }, prompt_tokens, Arc::clone(&sent));
            let since = Instant::now();
            let client_headers = Some(headers).filter(|_| format == call.format());
            let upstream_call = UpstreamCall { provider, format, address: &address, client_headers, body, prompt_tokens, sent: &sent };
            let result = if call.head.stream { self.stream(upstream_call).await } else { self.whole(upstream_call).await };
            let (status, failure) = match &result {
                Ok(_) => (Some(StatusCode::OK), None),
                Err(failure) => (failure.status(), Some(failure.code())),
            };
            admitted.tried(Attempt {
                provider: endpoint.provider.slug.clone(),
                model: endpoint.model.id.clone(),
                status: status.map(|status| status.as_u16()),
                error: failure.map(str::to_owned),
                duration_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
            match result {
                Ok(answer) => {
                    failpoint(Failpoint::ProviderAnswered);
                    admitted.first_piece();
                    return Ok(Reply { answer, served: Served { endpoint: Arc::clone(endpoint), tier: plan.tier } });
                }
                Err(failure) => {
                    admitted.counts().failed(&endpoint.provider.slug, failure.code());
                    report(&endpoint.provider.slug, &endpoint.model.id, &failure);
                    last = GatewayError::of_provider(&failure, &endpoint.provider.slug);
                    if matches!(failure, AttemptError::Refused { .. }) {
                        return Err(last);
                    }
                }
            }
        }
        Err(last)
    }

    /// Returns the format, address and body of a request to a provider.
    async fn prepared<'a>(
        &self,
        call: &Call<'_>,
        provider: &'a Provider,
        target: &Target<'_>,
    ) -> Result<(Format, Cow<'a, Address>, Vec<u8>), GatewayError> {
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
            return Ok((format, address, wire::call::write(&request, format, stream, target)?));
        }
        // A provider with both operations is asked by the other one if Responses cannot say the request.
        let (format, body) = match (call.upstream_body(format, target), provider.format_for(Format::Chat, false)) {
            (Err(_), Some(Format::Chat)) if format == Format::Responses => (Format::Chat, call.upstream_body(Format::Chat, target)?),
            (body, _) => (format, body?),
        };
        let address = provider.address(format, target.model, stream).ok_or_else(unaddressable)?;
        Ok((format, address, body))
    }
}

/// Logs a failure: at error level if the operator must act, otherwise as a warning. A refusal of the request is not logged.
fn report(provider: &str, model: &str, failure: &AttemptError) {
    let code = failure.code();
    match failure {
        AttemptError::Refused { .. } => {}
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
            AttemptError::Connect => {
                Self::UpstreamOverloaded { is_rate: false, error: Box::default(), provider: provider.to_owned(), retry_after: None }
            }
            AttemptError::Timeout => Self::UpstreamTimeout,
            // The provider's message may name the operator's account, so it appears only in the log.
            AttemptError::Operator { .. } => {
                Self::Upstream(format!("{provider} does not take the gateway's requests; its operator is told"))
            }
            AttemptError::Cut | AttemptError::Malformed | AttemptError::Coding(_) | AttemptError::TooLarge => {
                Self::Upstream(failure.to_string())
            }
        }
    }
}
