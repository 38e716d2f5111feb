//! The failures of one call to a provider.

use http::{HeaderValue, StatusCode};
use wire::answer::AnswerError;
use wire::reported::Reported;

use super::blame;
use super::connections::SendError;
use crate::content_encoding::CodingError;

/// The reason why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// A refusal of the request itself; no other provider is tried.
    #[error("it refused the request with status {status}")]
    Refused { status: StatusCode, error: Box<Reported> },
    /// A refusal of the gateway, not of the request: its credential, its account or its configuration is at fault. It alarms the operator.
    #[error("it refused the gateway{}: correct its credential, quota, base_url or upstream_model", with_status(*status))]
    Operator {
        /// The status; `None` for an error inside a response of status 200.
        status: Option<StatusCode>,
        error: Box<Reported>,
    },
    /// A failure or overload of the provider.
    #[error("it failed or is overloaded{}", with_status(*status))]
    Overloaded {
        /// The status. `None` for an error inside a response of status 200, unless it reports a rate limit.
        status: Option<StatusCode>,
        error: Box<Reported>,
        /// The provider's `Retry-After`.
        retry_after: Option<HeaderValue>,
    },
    /// A connection that could not be established.
    #[error("no connection to it")]
    Connect,
    /// A connection that ended before the answer did.
    #[error("the connection ended before its answer did")]
    Cut,
    /// A provider that sent nothing in time.
    #[error("it did not answer in time")]
    Timeout,
    /// A response that is not an answer of the provider's format.
    #[error("its answer is not of the format that it is configured with")]
    Malformed,
    /// A response in a content coding that is unknown, or that cannot be decoded. The gateway requested none.
    #[error("its answer cannot be decoded: {0}")]
    Coding(CodingError),
    /// A response that is too large.
    #[error("its answer is too large")]
    TooLarge,
}

fn with_status(status: Option<StatusCode>) -> String {
    status.map(|status| format!(" with status {}", status.as_u16())).unwrap_or_default()
}

impl AttemptError {
    /// Returns the failure without a credential that the provider may have repeated.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if let Self::Refused { error, .. } | Self::Operator { error, .. } | Self::Overloaded { error, .. } = &mut self {
            error.remove(secret);
        }
        self
    }

    /// Returns the code of the failure for the attempt's record.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Operator { .. } => "operator",
            Self::Overloaded { status: Some(_), .. } => "status",
            Self::Overloaded { status: None, .. } => "reported",
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Coding(_) => "coding",
            Self::TooLarge => "too_large",
        }
    }

    /// Returns the provider's status, if it sent one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } | Self::Overloaded { status: Some(status), .. } => Some(*status),
            Self::Operator { status, .. } => *status,
            Self::Overloaded { status: None, .. } | Self::Malformed | Self::Coding(_) | Self::TooLarge => Some(StatusCode::OK),
            Self::Connect | Self::Cut | Self::Timeout => None,
        }
    }
}

impl From<SendError> for AttemptError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect => Self::Connect,
            SendError::Broken(_) => Self::Cut,
        }
    }
}

impl From<CodingError> for AttemptError {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::TooLarge(_) => Self::TooLarge,
            error @ (CodingError::Unknown(_) | CodingError::Malformed(_)) => Self::Coding(error),
        }
    }
}

impl From<AnswerError> for AttemptError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Malformed => Self::Malformed,
            AnswerError::Reported(error) => blame::of_report(*error),
        }
    }
}
