//! Attempts: candidates are tried in order until one answers; what counts as an answer, and what moves on to the next.

pub mod connections;
pub mod upstream;

use std::time::Instant;

use events::request::Attempt;
use events::{KillPoint, kill_point};
use http::StatusCode;
use serde_json::Value;
use wire::openai::request::ChatRequest;

use crate::admission::{Admitted, Served};
use crate::error::GatewayError;
use crate::route::{Candidate, Plan};
use upstream::{Answer, Failure, Upstream};

/// An answer, and who gave it.
pub struct Reply {
    /// The answer; a stream has said its first piece.
    pub answer: Answer,
    /// Who gave it.
    pub served: Served,
}

impl Upstream {
    /// Tries candidates until one answers.
    ///
    /// # Errors
    /// The last candidate's failure, or the first refusal of the request itself.
    pub async fn send(&self, plan: &Plan, chat: &ChatRequest<'_>, admitted: &mut Admitted) -> Result<Reply, GatewayError> {
        let mut last = GatewayError::Upstream("no candidate".to_owned());
        for candidate in &plan.candidates {
            let model = &candidate.model;
            admitted.ask(model);
            let since = Instant::now();
            let body = chat.upstream_body(&model.upstream_model, cap(candidate, plan, admitted), model.provider.cap_field);
            let result = if chat.stream {
                self.stream(&model.provider, body, chat.prompt_tokens_max).await
            } else {
                self.whole(&model.provider, body, chat.prompt_tokens_max).await
            };
            let (status, failure) = match &result {
                Ok(_) => (Some(StatusCode::OK), None),
                Err(failure) => (failure.status(), Some(failure.word())),
            };
            admitted.tried(Attempt {
                provider: model.provider.slug.clone(),
                model: model.id.clone(),
                status: status.map(|status| status.as_u16()),
                error: failure.map(str::to_owned),
                duration_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
            match result {
                Ok(answer) => {
                    kill_point(KillPoint::ProviderAnswered);
                    admitted.first_piece();
                    return Ok(Reply { answer, served: Served { model: model.clone(), tier: plan.tier } });
                }
                Err(Failure::Refused { status, body }) => return Err(refused(status, &body, &model.provider.slug)),
                Err(failure) => {
                    tracing::warn!(
                        provider = model.provider.slug,
                        model = model.id,
                        failure = failure.word(),
                        "{} failed: {failure}",
                        model.provider.slug
                    );
                    last = (&failure).into();
                }
            }
        }
        Err(last)
    }
}

/// The cap sent along: what the hold is enough for when that is less than what may come, or what our own table says the model can emit.
fn cap(candidate: &Candidate, plan: &Plan, admitted: &Admitted) -> Option<u64> {
    candidate.cap(admitted.hold(), plan.choices)
}

fn refused(status: StatusCode, body: &[u8], provider: &str) -> GatewayError {
    let raw: Value = serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body[..body.len().min(2_000)])));
    let message = raw.pointer("/error/message").or_else(|| raw.get("message")).and_then(Value::as_str);
    let message = message.map_or_else(|| format!("The provider refused the request with status {}.", status.as_u16()), str::to_owned);
    GatewayError::UpstreamRefused { status, message, provider: provider.to_owned(), raw }
}

impl From<&Failure> for GatewayError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused { status, body } => refused(*status, body, ""),
            Failure::Timeout => Self::UpstreamTimeout,
            Failure::Connect
            | Failure::Cut
            | Failure::Malformed
            | Failure::TooLarge
            | Failure::Credential(_)
            | Failure::Status(_)
            | Failure::Reported(_) => Self::Upstream(failure.to_string()),
        }
    }
}
