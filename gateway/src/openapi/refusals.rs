//! The refusals of calls, by group of routes: each names the shared responses of its statuses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};
use wire::openapi::refused;

/// The statuses of inference routes. Another 4XX is the provider's own refusal of the request.
const INFERENCE: [&str; 14] = ["400", "401", "402", "403", "404", "408", "409", "413", "415", "429", "500", "502", "503", "504"];
const OTHER: &str = "4XX";
/// The schemas of errors.
const SCHEMAS: [&str; 6] = ["Error", "InferenceError", "AnthropicError", "GoogleError", "GoogleStreamError", "ModelsError"];

/// The refusals of OpenAI-like inference routes.
pub struct OpenAi;
/// The refusals of Anthropic's routes.
pub struct Anthropic;
/// The refusals of Google's routes.
pub struct Google;
/// The refusals of Google's streams.
pub struct GoogleStream;
/// The refusals of the list of models.
pub struct Models;
/// The refusals of reads that any key may make.
pub struct Read;
/// The refusals of management without a body.
pub struct Management;
/// The refusals of changes by management.
pub struct Change;
/// The refusals of a public page by its name.
pub struct Named;
/// The refusals of the operator's calls.
pub struct Operator;

fn inference(schema: &str) -> BTreeMap<String, RefOr<Response>> {
    let mut all = refused(schema, &INFERENCE);
    all.extend(refused(schema, &[OTHER]));
    all
}

impl IntoResponses for OpenAi {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        inference("InferenceError")
    }
}

impl IntoResponses for Anthropic {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        inference("AnthropicError")
    }
}

impl IntoResponses for Google {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        inference("GoogleError")
    }
}

impl IntoResponses for GoogleStream {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        inference("GoogleStreamError")
    }
}

impl IntoResponses for Models {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("ModelsError", &["400", "401", "404"])
    }
}

impl IntoResponses for Named {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("Error", &["400", "404"])
    }
}

impl IntoResponses for Read {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("InferenceError", &["400", "401", "404", "500"])
    }
}

impl IntoResponses for Management {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("Error", &["400", "401", "403", "404", "500", "503"])
    }
}

impl IntoResponses for Change {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("Error", &["400", "401", "403", "404", "408", "409", "413", "415", "429", "500", "503"])
    }
}

impl IntoResponses for Operator {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refused("Error", &["400", "401", "404", "408", "409", "413", "415", "429", "500", "503"])
    }
}

fn description(status: &str) -> &'static str {
    match status {
        "400" => "The request is not valid; the message says what to correct.",
        "401" => "The credential is missing, unknown, expired or disabled.",
        "402" => "The credit, or the key's limit, does not cover the request.",
        "403" => "The credential may not make this call.",
        "404" => "There is no such object, or it belongs to another account.",
        "408" => "The body did not arrive in time.",
        "409" => "The call contradicts an earlier one.",
        "413" => "The body is too large.",
        "415" => "The body has an unknown content coding.",
        "429" => "Too many requests at a time; retry later.",
        "500" => "The gateway made a mistake.",
        "502" => "The provider failed.",
        "503" => "Nothing can take the request now; retry later.",
        "504" => "The provider did not answer in time.",
        _ => "The provider refused the request itself.",
    }
}

/// Returns the headers of answers to requests that a rate limit counts.
#[must_use]
pub fn rate_headers() -> Value {
    json!({
        "X-RateLimit-Limit": {"$ref": "#/components/headers/RateLimitLimit"},
        "X-RateLimit-Remaining": {"$ref": "#/components/headers/RateLimitRemaining"},
        "X-RateLimit-Reset": {"$ref": "#/components/headers/RateLimitReset"},
    })
}

/// Returns the shared responses of all refusals.
#[must_use]
pub fn components() -> Value {
    let mut all = Map::new();
    for schema in SCHEMAS {
        for status in INFERENCE.into_iter().chain([OTHER]) {
            let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
            if let (Value::Object(headers), "402" | "429" | "503") = (&mut headers, status) {
                headers.insert("Retry-After".to_owned(), json!({"$ref": "#/components/headers/RetryAfter"}));
            }
            let is_counted = !matches!(schema, "Error" | "ModelsError");
            if let (Value::Object(headers), Value::Object(rate)) = (&mut headers, rate_headers())
                && is_counted
            {
                headers.extend(rate);
            }
            let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
            let response = json!({"description": description(status), "headers": headers, "content": content});
            all.insert(format!("{schema}{status}"), response);
        }
    }
    all.into()
}
