//! CORS: pages of any origin may call the inference routes, without cookies; management routes stay closed to browsers.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// The response headers that a page may read in addition to the default ones.
const EXPOSED: &str = "x-request-id, x-generation-id, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset";
/// The time in seconds for which a browser may cache a preflight: one day.
const MAX_AGE_S: &str = "86400";

/// The paths that pages may call, also below `/api`.
const INFERENCE: [&str; 6] = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/models", "/v1beta/models"];

fn is_inference(path: &str) -> bool {
    let path = path.strip_prefix("/api").unwrap_or(path);
    INFERENCE.iter().any(|route| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Answers preflights of inference routes, and lets pages read the responses and errors of these routes.
pub async fn open(request: Request, next: Next) -> Response {
    if !is_inference(request.uri().path()) {
        return next.run(request).await;
    }
    readable(if request.method() == Method::OPTIONS { preflight(request.headers()) } else { next.run(request).await })
}

/// Makes a response readable for pages if its path is an inference route.
#[must_use]
pub fn opened(path: &str, response: Response) -> Response {
    if is_inference(path) { readable(response) } else { response }
}

fn readable(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    response
}

/// Answers a preflight request.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    // A star does not cover `Authorization`, so the requested headers are named.
    let allowed =
        asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or_else(|| HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    response
}
