//! Shared parts of the read routes of ledger and projector: the caller, errors, the state a number is true for, CSV.

pub mod csv;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use eventlog::{Progress, Store};
use events::Clock;
use events::caller::{CALLER_HEADER, Caller, Distrust, InternalSecret};
use events::clock::rfc3339;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::openapi::{RefOr, Response as OpenApiResponse};
use wire::call::Format;
use wire::client_error::ClientError;
use wire::openapi::refused;

pub use wire::openapi::Usd;

/// The context of the read handlers.
#[derive(Clone)]
pub struct Http {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    /// The secret with which the gateway proves the caller.
    pub secret: InternalSecret,
    /// The progress of the reader that produces the numbers.
    pub progress: watch::Receiver<Progress>,
}

/// The state of the log for which a number is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AsOf {
    /// The id of the last event applied; null before the first.
    pub event: Option<String>,
    /// The time in RFC 3339.
    pub time: String,
    /// The age of that time in milliseconds; 0 if everything in the log is applied.
    pub lag_ms: i64,
}

impl AsOf {
    /// Formats the value of the header `X-As-Of` of a table.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{}; event={}; lag_ms={}", self.time, self.event.as_deref().unwrap_or("none"), self.lag_ms)
    }
}

impl Http {
    /// Returns the current progress; all data read afterwards is at least as new.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        let progress = self.progress.borrow().clone();
        let now_us = self.clock.now_us();
        let time_us = if progress.is_waiting { now_us } else { progress.applied_at_us };
        AsOf { event: Some(progress.event_id).filter(|id| !id.is_empty()), time: rfc3339(time_us), lag_ms: (now_us - time_us) / 1_000 }
    }
}

/// The caller that the gateway vouches for.
pub struct Signed(pub Caller);

impl FromRequestParts<Http> for Signed {
    type Rejection = ReadError;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, ReadError> {
        let header = parts.headers.get(CALLER_HEADER).and_then(|value| value.to_str().ok()).ok_or(ReadError::Unsigned)?;
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        http.secret.verify(header, parts.method.as_str(), target, http.clock.now_us()).map(Self).map_err(|distrust| {
            tracing::error!(%distrust, "a read is refused, since {distrust}");
            match distrust {
                Distrust::Forged => ReadError::Unsigned,
                Distrust::Time => ReadError::Clock,
            }
        })
    }
}

/// An error of a read route.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A query field has a wrong value.
    #[error("Invalid '{field}': {message}.")]
    Bad {
        field: &'static str,
        /// The expected value.
        message: &'static str,
    },
    /// The query is malformed or has an unknown field.
    #[error("Invalid query: {0}.")]
    Query(String),
    /// The request does not come from the gateway, or the gateway has another secret.
    #[error("This address is for the gateway only; its [internal] secret must be the same here.")]
    Unsigned,
    /// The clock of the calling gateway differs too much.
    #[error("The clocks of the gateway's machine and this one differ; the operator must set both by NTP.")]
    Clock,
    /// The caller's key has no right to make the call.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The caller has used up a bound.
    #[error("{0}")]
    TooMany(&'static str),
    /// NATS does not answer.
    #[error("The log of events does not answer; try again.")]
    Log,
    /// The object does not exist or belongs to another account.
    #[error("{0}")]
    NotFound(&'static str),
    #[error("The database is not available; try again.")]
    Database(#[from] sqlx::Error),
    /// A bug in this program.
    #[error("The answer could not be written.")]
    Internal,
}

impl ReadError {
    /// Builds the error for a query field with a wrong value.
    #[must_use]
    pub const fn bad(field: &'static str, message: &'static str) -> Self {
        Self::Bad { field, message }
    }
}

impl IntoResponse for ReadError {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::Bad { .. } | Self::Query(_) => (StatusCode::BAD_REQUEST, "invalid_request_error"),
            Self::Unsigned => (StatusCode::UNAUTHORIZED, "authentication_error"),
            Self::Clock | Self::Log => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "permission_error"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found_error"),
            Self::Database(error) => {
                tracing::error!(%error, "a read failed: {error}");
                (StatusCode::SERVICE_UNAVAILABLE, "server_error")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let param = match &self {
            Self::Bad { field, .. } => Some(*field),
            Self::Query(_)
            | Self::Unsigned
            | Self::Clock
            | Self::TooMany(_)
            | Self::Log
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::Database(_)
            | Self::Internal => None,
        };
        let (message, metadata) = (self.to_string(), serde_json::json!({}));
        let body = ClientError {
            status: status.as_u16(),
            message: &message,
            kind,
            code: kind,
            has_status_code: false,
            retry_after_s: None,
            param,
            metadata: &metadata,
        }
        .body(Format::Chat, None);
        (status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The refusals of a read, for OpenAPI.
pub struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<OpenApiResponse>> {
        refused("Error", &["400", "401", "500", "503"])
    }
}

/// The refusals of a read of one object, for OpenAPI.
pub struct RefusalsOfOne;

impl utoipa::IntoResponses for RefusalsOfOne {
    fn responses() -> BTreeMap<String, RefOr<OpenApiResponse>> {
        refused("Error", &["400", "401", "404", "500", "503"])
    }
}

/// The refusals of a read that only management keys may make, for OpenAPI.
pub struct RefusalsOfManagement;

impl utoipa::IntoResponses for RefusalsOfManagement {
    fn responses() -> BTreeMap<String, RefOr<OpenApiResponse>> {
        refused("Error", &["400", "401", "403", "404", "500", "503"])
    }
}

/// The refusals of a feed, for OpenAPI.
pub struct RefusalsOfFeed;

impl utoipa::IntoResponses for RefusalsOfFeed {
    fn responses() -> BTreeMap<String, RefOr<OpenApiResponse>> {
        refused("Error", &["400", "401", "403", "429", "500", "503"])
    }
}

/// A query string parsed into `T`; [`ReadError::Query`] if it is malformed or has a field that `T` refuses.
pub struct Query<T>(pub T);

impl<S: Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ReadError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ReadError> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| ReadError::Query(error.body_text()))
    }
}
