//! The documents: OpenAPI with a page that shows it, AsyncAPI, and the schemas of the events. The page is one file in the binary, so it works without any other host.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::{asyncapi, schema};
use http::header;

use crate::error::GatewayError;

const PAGE: &str = include_str!("page.html");
/// The page runs its own script and asks this host alone.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Handles `GET /openapi.json`.
pub async fn document(State(document): State<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Handles `GET /asyncapi.json`.
pub async fn asyncapi() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(asyncapi::document().to_string()));
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

/// Handles `GET /schemas/{name}.json`, the `dataschema` of an event.
pub async fn event_schema(Path(file): Path<String>) -> Response {
    static ALL: LazyLock<Vec<schema::EventSchema>> = LazyLock::new(schema::all);
    match ALL.iter().find(|event| event.file == file) {
        Some(event) => ([(header::CONTENT_TYPE, "application/schema+json")], event.schema.to_string()).into_response(),
        None => GatewayError::NotFound(format!("There is no schema {file}; GET /asyncapi.json names the events.")).into_response(),
    }
}

/// Handles `GET /docs`.
pub async fn docs() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE).into_response()
}
