//! The gateway's error bodies on OpenAI-like routes and management routes.

use serde::Serialize;
use serde_json::Value;

use crate::client_error::ClientError;

/// The object `{"error": {…}}`, with all fields that clients of OpenAI and OpenRouter read.
#[derive(Debug, Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: Code<'a>,
    param: Option<&'a str>,
    metadata: &'a Value,
}

/// The code: a word as at OpenAI, or the status as at OpenRouter.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Code<'a> {
    Word(&'a str),
    Status(u16),
}

fn inner<'a>(error: &ClientError<'a>) -> Inner<'a> {
    let ClientError { message, kind, param, metadata, .. } = *error;
    let code = if error.has_status_code { Code::Status(error.status) } else { Code::Word(error.code) };
    Inner { message, kind, code, param, metadata }
}

/// Returns the body of a response as JSON text.
#[must_use]
pub fn body(error: &ClientError<'_>) -> String {
    serde_json::to_string(&Body { error: inner(error) }).unwrap_or_default()
}

/// Returns the inner object as JSON text, for a frame of a stream.
#[must_use]
pub fn inner_text(error: &ClientError<'_>) -> String {
    serde_json::to_string(&inner(error)).unwrap_or_default()
}
