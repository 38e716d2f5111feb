//! The gateway's error bodies on routes of Anthropic's format.

use serde::Serialize;

use crate::client_error::ClientError;

/// Anthropic's `type` of each status. Source: Anthropic's table of errors.
const TYPES: [(u16, &str); 13] = [
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (402, "billing_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (408, "timeout_error"),
    (409, "conflict_error"),
    (413, "request_too_large"),
    (429, "rate_limit_error"),
    (502, "api_error"),
    (503, "overloaded_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
];

#[derive(Debug, Serialize)]
struct Body<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    request_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// The part of an error that Anthropic's SDKs act on.
#[derive(Debug, Serialize)]
struct Details {
    error_code: &'static str,
}

/// The code on which Anthropic's SDKs send the whole conversation again, without `thread`.
const THREAD_UNSUPPORTED: Details = Details { error_code: "thread_unsupported_request" };

/// Returns the body of a response, or the data of an error frame, as JSON text.
#[must_use]
pub fn body(error: &ClientError<'_>, request_id: Option<&str>) -> String {
    let details = (error.status == 400 && error.param == Some("thread")).then_some(THREAD_UNSUPPORTED);
    text(Inner { r#type: kind(error.status), message: error.message, details }, request_id)
}

/// Returns an error of the provider as JSON text, for a frame of a stream.
pub(super) fn broken(message: &str, request_id: &str) -> String {
    text(Inner { r#type: "api_error", message, details: None }, Some(request_id))
}

fn text(error: Inner<'_>, request_id: Option<&str>) -> String {
    serde_json::to_string(&Body { r#type: "error", error, request_id }).unwrap_or_default()
}

fn kind(status: u16) -> &'static str {
    let other = if status < 500 { "invalid_request_error" } else { "api_error" };
    TYPES.iter().find(|(known, _)| *known == status).map_or(other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_status_has_anthropics_type() {
        let of = |status, param| {
            let error = ClientError {
                status,
                message: "m\n",
                kind: "k",
                code: "c",
                has_status_code: false,
                retry_after_s: None,
                param: Some(param),
                metadata: &Value::Null,
            };
            serde_json::from_str::<Value>(&body(&error, Some("gen-1"))).unwrap()
        };
        assert_eq!(of(402, "p"), json!({"type": "error", "error": {"type": "billing_error", "message": "m\n"}, "request_id": "gen-1"}));
        for (status, kind) in [(422, "invalid_request_error"), (500, "api_error"), (503, "overloaded_error"), (504, "timeout_error")] {
            assert_eq!(of(status, "thread")["error"]["type"], kind);
        }
        assert_eq!(of(400, "thread")["error"]["details"], json!({"error_code": "thread_unsupported_request"}));
        assert!(of(400, "p")["error"].get("details").is_none() && of(404, "thread")["error"].get("details").is_none());
    }
}
