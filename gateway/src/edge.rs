//! The edge: bodies read within their bounds, and the request id on every answer.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::ServerConfig;
use crate::error::GatewayError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Reads a body.
///
/// # Errors
/// 413 when it is too large, 408 when it comes too slowly, 400 when it breaks off.
pub async fn read_body(headers: &HeaderMap, body: Body, config: &ServerConfig) -> Result<Bytes, GatewayError> {
    let most = config.body_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(GatewayError::BodyTooLarge(most));
    }
    let read = tokio::time::timeout(Duration::from_millis(config.read_timeout_ms), to_bytes(body, most)).await;
    let bytes = read.map_err(|_| GatewayError::BodyTimeout)?;
    bytes.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("length limit")) {
            GatewayError::BodyTooLarge(most)
        } else {
            GatewayError::BadRequest { message: "The request body broke off.".to_owned(), param: None }
        }
    })
}

/// Every answer carries `X-Request-Id`: the caller's when it is 1 to 128 visible ASCII characters, else a new one.
pub async fn request_id(
    ids: std::sync::Arc<dyn events::ids::Ids>,
    clock: std::sync::Arc<dyn events::Clock>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    let id = given.cloned().or_else(|| HeaderValue::from_str(&ids.uuid(&*clock).to_string()).ok());
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
