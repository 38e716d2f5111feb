//! The gateway's error bodies on OpenAI-like routes and management routes.

use serde::Serialize;
use serde_json::Value;

use crate::client_error::ClientError;

/// The object `{"error": {…}}`, with all fields that clients of OpenAI and OpenRouter read.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    param: Option<&'a str>,
    metadata: &'a Value,
}

impl<'a> ErrorBody<'a> {
    #[must_use]
    pub const fn new(error: &ClientError<'a>) -> Self {
        let ClientError { message, kind, code, param, metadata } = *error;
        Self { error: Inner { message, kind, code, param, metadata } }
    }

    /// Returns the body as JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the inner object as JSON text, for a frame of a stream.
    #[must_use]
    pub fn inner_text(&self) -> String {
        serde_json::to_string(&self.error).unwrap_or_default()
    }
}
