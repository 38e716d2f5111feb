//! The edge: reads bodies within their limits, and sets the request id on every response.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use wire::call::Format;

use crate::admission::in_flight_quota::Slot;
use crate::config::ServerConfig;
use crate::content_encoding::{CodingError, Decoder};
use crate::cors;
use crate::error::{ErrorForm, GatewayError};

/// The maximum number of characters kept of an application's name.
const APP_CHARS_MAX: usize = 256;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header from which Anthropic's SDKs read the id.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The longest time for which an unwanted body is read.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);
/// The multiple of the body limit up to which a body that is too large is read.
const DRAINED_TIMES: usize = 4;

/// Reads and decodes a body.
///
/// A body that is too large is read further and discarded, so that its sender can read the response. With a slot, the quota for the bytes
/// is taken before they are kept.
///
/// # Errors
/// Returns 413 if the body is too large, 408 if it arrives too slowly, 400 if it breaks off, 415 for an unknown content coding. Returns 429
/// or 503 if a quota is exhausted.
pub async fn read_body(headers: &HeaderMap, body: Body, config: &ServerConfig, slot: Option<&mut Slot>) -> Result<Bytes, GatewayError> {
    let most = config.body_bytes_max;
    let decoder = Decoder::new(headers, most).map_err(|error| coding_error(&error))?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut reading = Reading { most, expected: announced.unwrap_or_default().min(most), decoder, slot, taken: 0 };
    let mut pieces = body.into_data_stream();
    let read = tokio::time::timeout(Duration::from_millis(config.read_timeout_ms), reading.read(&mut pieces)).await;
    let read = read.map_err(|_| GatewayError::BodyTimeout)?;
    if matches!(read, Err(GatewayError::Busy { .. })) {
        discard(Body::from_stream(pieces), config).await;
    }
    read
}

fn coding_error(error: &CodingError) -> GatewayError {
    match error {
        CodingError::Unknown(_) => GatewayError::Coding(format!("The request body cannot be read: {error}.")),
        CodingError::TooLarge(most) => GatewayError::BodyTooLarge(*most),
        CodingError::Malformed(_) => GatewayError::BadRequest { message: format!("The request body is {error}."), param: None },
    }
}

/// Reads an unwanted body and keeps none of it. A sender whose connection is closed before it has sent everything may never read the
/// response.
pub async fn discard(body: Body, config: &ServerConfig) {
    let most = config.body_bytes_max.saturating_mul(DRAINED_TIMES);
    let mut pieces = body.into_data_stream();
    let read = async {
        let mut total = 0_usize;
        while let Some(Ok(piece)) = pieces.next().await {
            total = total.saturating_add(piece.len());
            if total > most {
                return;
            }
        }
    };
    let _read = tokio::time::timeout(DISCARD_PATIENCE, read).await;
}

struct Reading<'a> {
    most: usize,
    expected: usize,
    decoder: Decoder,
    slot: Option<&'a mut Slot>,
    /// The bytes for which quota is taken.
    taken: usize,
}

impl Reading<'_> {
    async fn read(&mut self, pieces: &mut BodyDataStream) -> Result<Bytes, GatewayError> {
        self.take(self.expected)?;
        let broken = |_| GatewayError::BadRequest { message: "The request body broke off.".to_owned(), param: None };
        let first = match pieces.next().await.transpose().map_err(broken)? {
            // Most bodies arrive in one piece.
            Some(first) if first.len() == self.expected && self.decoder.is_identity() => return Ok(first),
            Some(first) => first,
            None => return Ok(Bytes::new()),
        };
        let (mut all, mut total, mut piece) = (BytesMut::new(), 0_usize, Some(first));
        while let Some(next) = piece {
            total = total.saturating_add(next.len());
            if total > self.most.saturating_mul(DRAINED_TIMES) {
                break;
            }
            if total <= self.most {
                let decoded = self.decoder.push(next, self.most).map_err(|error| coding_error(&error))?;
                self.take(all.len() + decoded.len())?;
                if all.is_empty() && self.decoder.is_identity() {
                    all.reserve(self.expected);
                }
                all.extend_from_slice(&decoded);
            }
            piece = pieces.next().await.transpose().map_err(broken)?;
        }
        if total > self.most { Err(GatewayError::BodyTooLarge(self.most)) } else { Ok(all.freeze()) }
    }

    /// Raises the taken quota to that many bytes in total.
    fn take(&mut self, bytes: usize) -> Result<(), GatewayError> {
        let more = bytes.saturating_sub(self.taken);
        if let Some(slot) = self.slot.as_mut().filter(|_| more > 0) {
            slot.take_bytes(more)?;
            self.taken += more;
        }
        Ok(())
    }
}

/// Sets `X-Request-Id` on every response: the caller's if it has 1 to 128 visible ASCII characters, otherwise a new one.
pub async fn enter(
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
    let is_anthropic = ErrorForm::of_path(request.uri().path()).format == Format::Messages;
    let mut response = match unclean(request.uri()) {
        None => cors::open(request, next).await,
        Some(place) => {
            let message = format!("Invalid {place}: it must be UTF-8 without control characters.");
            let path = request.uri().path();
            let error = GatewayError::BadRequest { message, param: None };
            cors::opened(path, error.into_response_of(ErrorForm::of_path(path), None))
        }
    };
    if let Some(id) = id {
        if is_anthropic {
            response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Returns the first part of an address that is not clean text after decoding.
fn unclean(uri: &Uri) -> Option<String> {
    if !is_clean(uri.path()) {
        return Some("path".to_owned());
    }
    let mut pairs = uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (name, _) = pairs.find(|(name, value)| !is_clean(name) || !is_clean(value))?;
    let shown: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(64).collect();
    Some(format!("'{shown}'"))
}

fn is_clean(encoded: &str) -> bool {
    if !encoded.contains('%') {
        return true;
    }
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8();
    decoded.is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Returns the calling application: its title, else its address.
#[must_use]
pub fn app(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    text("x-title")
        .or_else(|| text("http-referer"))
        .or_else(|| text("referer"))
        .map(|app| app.chars().filter(|letter| !letter.is_control()).take(APP_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_clean_text() {
        let of = |text: &str| unclean(&text.parse().unwrap());
        assert_eq!(of("/v1/models/fake%2Fm?user=a%20b&x"), None);
        assert_eq!(of("/api/v1/keys/%00"), Some("path".to_owned()));
        assert_eq!(of("/api/v1/keys/%ff"), Some("path".to_owned()));
        assert_eq!(of("/v1/activity?period=1d&user=a%00b"), Some("'user'".to_owned()));
        assert_eq!(of("/v1/activity?key_hash=%7F"), Some("'key_hash'".to_owned()));
    }
}
