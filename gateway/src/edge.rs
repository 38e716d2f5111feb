//! The edge: bodies read within their bounds, and the request id on every answer.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::ServerConfig;
use crate::error::GatewayError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How many times the limit is read of a body that is too large.
const DRAINED_TIMES: usize = 4;

/// Reads a body. One that is too large is read a while longer and thrown away, so that its sender gets to read the answer.
///
/// # Errors
/// 413 when it is too large, 408 when it comes too slowly, 400 when it breaks off.
pub async fn read_body(headers: &HeaderMap, body: Body, config: &ServerConfig) -> Result<Bytes, GatewayError> {
    let most = config.body_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let read = read(body, announced.unwrap_or_default().min(most), most);
    tokio::time::timeout(Duration::from_millis(config.read_timeout_ms), read).await.map_err(|_| GatewayError::BodyTimeout)?
}

async fn read(body: Body, expected: usize, most: usize) -> Result<Bytes, GatewayError> {
    let mut pieces = body.into_data_stream();
    let broken = |_| GatewayError::BadRequest { message: "The request body broke off.".to_owned(), param: None };
    let first = match pieces.next().await.transpose().map_err(broken)? {
        // Most bodies come in one piece.
        Some(first) if first.len() == expected => return Ok(first),
        Some(first) => first,
        None => return Ok(Bytes::new()),
    };
    let mut all = BytesMut::with_capacity(expected);
    all.extend_from_slice(&first);
    let mut total = first.len();
    while let Some(piece) = pieces.next().await.transpose().map_err(broken)? {
        total = total.saturating_add(piece.len());
        if total > most.saturating_mul(DRAINED_TIMES) {
            break;
        }
        if total <= most {
            all.extend_from_slice(&piece);
        }
    }
    if total > most { Err(GatewayError::BodyTooLarge(most)) } else { Ok(all.freeze()) }
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
