//! Error bodies of Google's routes. Source: `google.rpc.Status` and its codes.

use serde::Serialize;

use crate::client_error::ClientError;

#[derive(Debug, Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Vec<RetryInfo>>,
}

/// The wait before a retry; Google's SDKs read it here, not in a header.
#[derive(Debug, Serialize)]
struct RetryInfo {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(rename = "retryDelay")]
    retry_delay: String,
}

/// Returns the word for an HTTP status.
const fn word(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

fn text(error: &ClientError<'_>, details: Option<Vec<RetryInfo>>) -> String {
    let ClientError { status: code, message, .. } = *error;
    serde_json::to_string(&Body { error: Inner { code, message, status: word(code), details } }).unwrap_or_default()
}

/// Returns the body of a response as JSON text.
#[must_use]
pub fn body(error: &ClientError<'_>) -> String {
    let info = |seconds| RetryInfo { kind: "type.googleapis.com/google.rpc.RetryInfo", retry_delay: format!("{seconds}s") };
    text(error, Some(error.retry_after_s.map(info).into_iter().collect()))
}

/// Returns the data of a frame as JSON text: the error is its only member, as Google's SDK wants it.
#[must_use]
pub fn frame(error: &ClientError<'_>) -> String {
    text(error, None)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_wait_stands_in_the_details() {
        let error = ClientError {
            status: 429,
            message: "m",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: Some(7),
            param: None,
            metadata: &Value::Null,
        };
        let details = serde_json::from_str::<Value>(&body(&error)).unwrap()["error"]["details"].clone();
        assert_eq!(details, serde_json::json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]));
    }

    #[test]
    fn every_status_has_its_word() {
        for (status, expected) in [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (402, "RESOURCE_EXHAUSTED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (409, "ABORTED"),
            (413, "INVALID_ARGUMENT"),
            (422, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (500, "INTERNAL"),
            (502, "INTERNAL"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ] {
            assert_eq!(word(status), expected, "{status}");
        }
    }

    #[test]
    fn bodies_have_googles_members() {
        let error = ClientError {
            status: 502,
            message: "no \"x\"",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &Value::Null,
        };
        assert_eq!(body(&error), r#"{"error":{"code":502,"message":"no \"x\"","status":"INTERNAL","details":[]}}"#);
        assert_eq!(frame(&error), r#"{"error":{"code":502,"message":"no \"x\"","status":"INTERNAL"}}"#);
    }
}
