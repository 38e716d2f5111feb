//! What read routes of the ledger and the projector share: who calls, how a read fails, what a number is true for, CSV.

pub mod table;

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
use wire::call::Format;
use wire::client_error::ClientError;

/// What read handlers are given.
#[derive(Clone)]
pub struct Http {
    /// The process's database.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How the gateway proves who calls.
    pub secret: InternalSecret,
    /// How far the reader behind the numbers is.
    pub progress: watch::Receiver<Progress>,
}

/// The state that a number is true for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AsOf {
    /// The last event applied; null before the first.
    pub event: Option<String>,
    /// RFC 3339.
    pub time: String,
    /// How old that is, milliseconds; 0 when everything in the log is applied.
    pub lag_ms: i64,
}

impl AsOf {
    /// For the header `X-As-Of` of a table.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{}; event={}; lag_ms={}", self.time, self.event.as_deref().unwrap_or("none"), self.lag_ms)
    }
}

impl Http {
    /// What is read now is at least as new as this.
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

/// Why a read fails.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A query field has a wrong value.
    #[error("Invalid '{field}': {message}.")]
    Bad {
        /// The field.
        field: &'static str,
        /// What would be right.
        message: &'static str,
    },
    /// The query is malformed or has an unknown field.
    #[error("Invalid query: {0}.")]
    Query(String),
    /// Not called by the gateway, or with another secret.
    #[error("This address is for the gateway only; its [internal] secret must be the same here.")]
    Unsigned,
    /// Called by a gateway whose clock differs.
    #[error("The clocks of the gateway's machine and this one differ; the operator must set both by NTP.")]
    Clock,
    /// There is no such thing, or it is another account's.
    #[error("{0}")]
    NotFound(&'static str),
    /// The database failed.
    #[error("The database is not available; try again.")]
    Database(#[from] sqlx::Error),
    /// A mistake of ours.
    #[error("The answer could not be written.")]
    Internal,
}

impl ReadError {
    /// A query field has a wrong value.
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
            Self::Clock => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found_error"),
            Self::Database(error) => {
                tracing::error!(%error, "a read failed: {error}");
                (StatusCode::SERVICE_UNAVAILABLE, "server_error")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let param = match &self {
            Self::Bad { field, .. } => Some(*field),
            Self::Query(_) | Self::Unsigned | Self::Clock | Self::NotFound(_) | Self::Database(_) | Self::Internal => None,
        };
        let (message, metadata) = (self.to_string(), serde_json::json!({}));
        let body = ClientError { message: &message, kind, code: kind, param, metadata: &metadata }.body(Format::Chat);
        (status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// A query string read into `T`, with our error when it is malformed or names an unknown field.
pub struct Query<T>(pub T);

impl<S: Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ReadError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ReadError> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| ReadError::Query(error.body_text()))
    }
}
