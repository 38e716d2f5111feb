//! The errors of a call: one exhaustive match maps each to status, type and code, and one function renders the body.

mod form;
mod message;
pub mod quota;

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use events::request::{Attempt, Guardrail};
use events::rpc::{Denial, LimitSource, Peer};
use events::{Nanos, RequestId};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use wire::call::{Format, RequestError};
use wire::client_error::ClientError;
use wire::reported::Reported;

use crate::route::choice::Skipped;
pub use form::ErrorForm;
use message::{overload, payment, refusal, refused_kind, suggestion, unfit};
pub use quota::Quota;

/// The reason why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A missing or unusable credential; the response does not reveal which.
    #[error("Missing or invalid API key.")]
    Unauthenticated,
    /// A credential without the right to make the call.
    #[error("{0}")]
    Forbidden(String),
    /// A model or provider that the key's lists exclude.
    #[error("{message}")]
    NotAllowed { guardrail: Guardrail, message: String },
    /// A body that the route does not accept.
    #[error("{message}")]
    BadRequest {
        /// The fault, and the correction.
        message: String,
        /// The faulty field.
        param: Option<Cow<'static, str>>,
    },
    /// A model name that no provider serves.
    #[error("The model '{name}' does not exist; {}GET /v1/models lists those that do.", suggestion(nearest.as_deref()))]
    UnknownModel {
        name: String,
        /// The known model with the most similar name.
        nearest: Option<String>,
    },
    /// A request whose constraints exclude every endpoint of its models.
    #[error("{}", unfit(models, skipped))]
    NoEndpoint { models: Vec<String>, skipped: Vec<Skipped> },
    /// The last failure, after several attempts.
    #[error("{last}")]
    Exhausted {
        last: Box<GatewayError>,
        /// All attempts in order.
        attempts: Vec<Attempt>,
    },
    /// A body that exceeds the limit in bytes.
    #[error("The request body is larger than {0} bytes.")]
    BodyTooLarge(usize),
    /// A body that arrived too slowly.
    #[error("The request body did not arrive in time.")]
    BodyTimeout,
    /// A lack of credit.
    #[error("{}", payment(denial))]
    PaymentRequired {
        /// The limit that was hit.
        denial: Box<Denial>,
        /// The amount that the request would need, in nano-USD.
        needed: Nanos,
    },
    /// An unavailable ledger. A model request fails with it only if the leases at hand do not cover its cost.
    #[error("The ledger does not answer, so no credit can be set aside; try again shortly.")]
    LedgerUnavailable,
    /// An unavailable projector.
    #[error("The projector does not answer, so there are no reports now; try again shortly.")]
    ProjectorUnavailable,
    /// A spool that accepts nothing more.
    #[error("Requests cannot be recorded safely right now, so none is sent; the operator must free the spool.")]
    SpoolFull,
    /// A refusal of the request itself by the provider.
    #[error("{}", refusal(error, *status))]
    UpstreamRefused {
        status: StatusCode,
        error: Box<Reported>,
        /// The provider's slug.
        provider: String,
    },
    /// A failure or overload of the provider, after all others failed too.
    #[error("{}", overload(error, provider))]
    UpstreamOverloaded {
        /// Whether the provider reported a rate limit.
        is_rate: bool,
        error: Box<Reported>,
        /// The provider's slug.
        provider: String,
        /// The provider's `Retry-After`.
        retry_after: Option<HeaderValue>,
    },
    /// A quota that the account, or all accounts together, have used up.
    #[error("{}", quota.message(*is_own))]
    Busy {
        quota: Quota,
        /// Whether the account's own share is used up.
        is_own: bool,
    },
    /// A request beyond a rate limit.
    #[error("rate limit exceeded: {most} {what}; see the header Retry-After")]
    RateLimited {
        what: &'static str,
        most: u64,
        /// The milliseconds after which the request passes if no other one does.
        passes_in_ms: u64,
    },
    /// An account that has had the maximum number of keys.
    #[error("This account has had {0} keys, as many as it may (budget keys_per_account): use one of them, or ask the operator.")]
    TooManyKeys(usize),
    /// A request that reached the time limit in seconds.
    #[error("The request was ended after {0} s, the longest that this gateway allows.")]
    TooLong(u64),
    #[error("This account is suspended; ask the operator of this gateway.")]
    Suspended,
    /// A body with an unknown content coding.
    #[error("{0}")]
    Coding(String),
    /// A call that no provider answered.
    #[error("The provider failed: {0}.")]
    Upstream(String),
    /// A provider that did not answer in time.
    #[error("The provider did not answer in time.")]
    UpstreamTimeout,
    /// An object that does not exist, or that belongs to another account.
    #[error("{0}")]
    NotFound(String),
    /// A call that contradicts an earlier one.
    #[error("{0}")]
    Conflict(String),
    /// A model request whose idempotency key has been used. It is not sent again, and answers are not kept.
    #[error("A request with this Idempotency-Key was sent before, and answers are not kept: its generation is {generation}.")]
    Repeated {
        generation: RequestId,
        /// The cost of the first request, once it has ended and is posted.
        cost: Option<Nanos>,
    },
    /// A method that the address does not accept.
    #[error("Method not allowed.")]
    MethodNotAllowed,
    /// A bug of the gateway.
    #[error("The gateway made a mistake; its log says more.")]
    Internal,
}

impl From<RequestError> for GatewayError {
    fn from(error: RequestError) -> Self {
        Self::BadRequest { message: error.to_string(), param: error.param().map(|param| Cow::Owned(param.to_owned())) }
    }
}

/// The rendering of an error.
struct Shown<'a> {
    status: StatusCode,
    kind: Cow<'a, str>,
    code: Cow<'a, str>,
    /// The time to wait before a retry, if a retry may succeed.
    retry_after: Option<HeaderValue>,
}

/// The `Retry-After` of temporary errors of the gateway, in seconds.
const SOON: HeaderValue = HeaderValue::from_static("1");

const fn shown(status: StatusCode, kind: &'static str, code: &'static str) -> Shown<'static> {
    Shown { status, kind: Cow::Borrowed(kind), code: Cow::Borrowed(code), retry_after: None }
}

const fn shown_until_soon(status: StatusCode, kind: &'static str, code: &'static str) -> Shown<'static> {
    Shown { status, kind: Cow::Borrowed(kind), code: Cow::Borrowed(code), retry_after: Some(SOON) }
}

impl GatewayError {
    fn shown(&self) -> Shown<'_> {
        match self {
            Self::Unauthenticated => shown(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key"),
            Self::Forbidden(_) => shown(StatusCode::FORBIDDEN, "permission_error", "permission_denied"),
            Self::NotAllowed { guardrail, .. } => shown(StatusCode::FORBIDDEN, "permission_error", guardrail.as_str()),
            Self::BadRequest { .. } => shown(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_request"),
            Self::UnknownModel { .. } => shown(StatusCode::BAD_REQUEST, "invalid_request_error", "model_not_found"),
            Self::NoEndpoint { .. } => shown(StatusCode::NOT_FOUND, "not_found_error", "no_matching_provider"),
            Self::Exhausted { last, .. } => last.shown(),
            Self::BodyTooLarge(_) => shown(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "request_too_large"),
            Self::BodyTimeout => shown(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", "request_timeout"),
            Self::PaymentRequired { denial, .. } => {
                let shown_as = |code| shown(StatusCode::PAYMENT_REQUIRED, "payment_required", code);
                match denial.source {
                    LimitSource::Credits => shown_as("insufficient_credits"),
                    LimitSource::KeyLimit => shown_as("key_limit"),
                    LimitSource::InFlightBudget => Shown { retry_after: Some(SOON), ..shown_as("in_flight_budget") },
                }
            }
            Self::LedgerUnavailable => shown_until_soon(StatusCode::SERVICE_UNAVAILABLE, "server_error", "ledger_unavailable"),
            Self::ProjectorUnavailable => shown_until_soon(StatusCode::SERVICE_UNAVAILABLE, "server_error", "projector_unavailable"),
            Self::SpoolFull => shown_until_soon(StatusCode::SERVICE_UNAVAILABLE, "server_error", "spool_full"),
            Self::UpstreamRefused { status, error, .. } => Shown {
                status: *status,
                kind: error.kind.as_deref().unwrap_or_else(|| refused_kind(*status)).into(),
                code: error.code.as_deref().unwrap_or("upstream_refused").into(),
                retry_after: None,
            },
            Self::UpstreamOverloaded { is_rate: true, error, retry_after, .. } => Shown {
                retry_after: retry_after.clone(),
                code: error.code.as_deref().unwrap_or("upstream_rate_limit").into(),
                ..shown(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "")
            },
            Self::UpstreamOverloaded { is_rate: false, error, retry_after, .. } => Shown {
                retry_after: retry_after.clone(),
                code: error.code.as_deref().unwrap_or("upstream_overloaded").into(),
                ..shown(StatusCode::SERVICE_UNAVAILABLE, "no_available_providers", "")
            },
            Self::Busy { quota, is_own: true } => shown_until_soon(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", quota.code()),
            Self::Busy { quota, is_own: false } => shown_until_soon(StatusCode::SERVICE_UNAVAILABLE, "server_error", quota.code()),
            Self::RateLimited { passes_in_ms, .. } => Shown {
                retry_after: Some(HeaderValue::from(passes_in_ms.div_ceil(1_000))),
                ..shown(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Guardrail::RateLimitExceeded.as_str())
            },
            Self::TooManyKeys(_) => shown(StatusCode::CONFLICT, "conflict_error", "keys_per_account"),
            Self::TooLong(_) => shown(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "request_too_long"),
            Self::Suspended => shown(StatusCode::FORBIDDEN, "permission_error", "account_suspended"),
            Self::Coding(_) => shown(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", "unsupported_content_encoding"),
            Self::Upstream(_) => shown(StatusCode::BAD_GATEWAY, "upstream_error", "upstream_error"),
            Self::UpstreamTimeout => shown(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "upstream_timeout"),
            Self::NotFound(_) => shown(StatusCode::NOT_FOUND, "not_found_error", "not_found"),
            Self::Conflict(_) => shown(StatusCode::CONFLICT, "conflict_error", "conflict"),
            Self::Repeated { .. } => shown(StatusCode::CONFLICT, "conflict_error", "idempotency_key_used"),
            Self::MethodNotAllowed => shown(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed"),
            Self::Internal => shown(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error"),
        }
    }

    /// Returns the error for an unavailable process of the system.
    #[must_use]
    pub const fn unavailable(who: Peer) -> Self {
        match who {
            Peer::Ledger => Self::LedgerUnavailable,
            Peer::Projector => Self::ProjectorUnavailable,
        }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.shown().status
    }

    /// Returns the code in the body.
    #[must_use]
    pub fn code(&self) -> String {
        self.shown().code.into_owned()
    }

    /// Returns the rule of the key or account that the request broke.
    #[must_use]
    pub fn guardrail(&self) -> Option<Guardrail> {
        if let Self::NotAllowed { guardrail, .. } = self {
            return Some(*guardrail);
        }
        if matches!(self, Self::RateLimited { .. }) {
            return Some(Guardrail::RateLimitExceeded);
        }
        let is_key_limit = matches!(self, Self::PaymentRequired { denial, .. } if denial.source == LimitSource::KeyLimit);
        is_key_limit.then_some(Guardrail::CreditLimitExceeded)
    }

    /// Returns the faulty field.
    fn param(&self) -> Option<&str> {
        if let Self::BadRequest { param, .. } = self {
            return param.as_deref();
        }
        if let Self::Exhausted { last, .. } = self {
            return last.param();
        }
        if let Self::UpstreamRefused { error, .. } | Self::UpstreamOverloaded { error, .. } = self { error.param.as_deref() } else { None }
    }

    fn metadata(&self) -> Value {
        match self {
            Self::PaymentRequired { denial, needed } => json!({
                "limit_source": denial.source.as_str(),
                "limit_usd": denial.limit_nanos.to_json(),
                "spend_usd": denial.spent_nanos.to_json(),
                "held_usd": denial.held_nanos.to_json(),
                "needed_usd": needed.to_json(),
                "resets_at": denial.resets_at_us.map(rfc3339),
            }),
            Self::Repeated { generation, cost } => json!({
                "generation_id": generation,
                "state": if cost.is_some() { "finished" } else { "running" },
                "cost": cost.map(Nanos::to_json),
            }),
            Self::UpstreamRefused { provider, error, .. } | Self::UpstreamOverloaded { provider, error, .. } => {
                json!({"provider_name": provider, "raw": error.raw})
            }
            Self::NoEndpoint { skipped, .. } => {
                let reason = |skipped: &Skipped| {
                    let (endpoint, reason) = (&skipped.endpoint, skipped.reason.as_str());
                    json!({"provider": endpoint.provider.slug, "model": endpoint.model.id, "reason": reason})
                };
                json!({"skipped": skipped.iter().map(reason).collect::<Vec<_>>()})
            }
            Self::Exhausted { last, attempts } => {
                let mut metadata = last.metadata();
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("attempts".to_owned(), json!(attempts));
                }
                metadata
            }
            Self::Unauthenticated
            | Self::Forbidden(_)
            | Self::NotAllowed { .. }
            | Self::BadRequest { .. }
            | Self::UnknownModel { .. }
            | Self::BodyTooLarge(_)
            | Self::BodyTimeout
            | Self::LedgerUnavailable
            | Self::ProjectorUnavailable
            | Self::SpoolFull
            | Self::Upstream(_)
            | Self::UpstreamTimeout
            | Self::Busy { .. }
            | Self::RateLimited { .. }
            | Self::TooManyKeys(_)
            | Self::TooLong(_)
            | Self::Suspended
            | Self::Coding(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::MethodNotAllowed
            | Self::Internal => json!({}),
        }
    }

    /// Passes the error to `show` as a client reads it on a route of that form.
    pub fn shown_to_client<T>(&self, form: ErrorForm, show: impl FnOnce(&ClientError<'_>) -> T) -> T {
        let Shown { status, kind, code, retry_after } = self.shown();
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let (message, metadata) = (self.to_string(), self.metadata());
        let param = self.param();
        show(&ClientError {
            status: status.as_u16(),
            message: &message,
            kind: &kind,
            code: &code,
            has_status_code: form.has_status_code,
            retry_after_s,
            param,
            metadata: &metadata,
        })
    }

    /// Returns the response on a route of that format or form.
    #[must_use]
    pub fn into_response_of(self, form: impl Into<ErrorForm>, request: Option<&RequestId>) -> Response {
        let (form, Shown { status, retry_after, .. }) = (form.into(), self.shown());
        let body = self.shown_to_client(form, |error| error.body(form.format, request.map(RequestId::as_str)));
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        let headers = response.headers_mut();
        if let Some(retry_after) = retry_after {
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        if matches!(self, Self::Repeated { .. } | Self::Conflict(_)) {
            // SDKs retry a 409 unless they are told otherwise.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if let Self::Repeated { generation, .. } = &self
            && let Ok(id) = HeaderValue::from_str(generation.as_str())
        {
            headers.insert("x-generation-id", id);
            return response;
        }
        if let Some(Ok(id)) = request.map(|request| HeaderValue::from_str(request.as_str())) {
            headers.insert("x-generation-id", id);
        }
        response
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        self.into_response_of(Format::Chat, None)
    }
}
