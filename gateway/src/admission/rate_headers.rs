//! The headers that tell a client of its rate limit, whatever becomes of the request.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limit::Standing;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The standing of one request: of the limits that apply to it, the one with the fewest requests left, or the one that it exceeds.
#[derive(Debug, Default)]
pub struct RateHeaders(Mutex<Option<Standing>>);

impl RateHeaders {
    /// Notes the standing of a limit; the one with the fewest requests left counts.
    pub fn note(&self, standing: Option<Standing>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Standing::tighter(*noted, standing);
    }

    /// Notes the standing of a limit that the request exceeds.
    pub fn exceeded(&self, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    /// Adds the headers; none if nothing limits the caller. `X-RateLimit-Reset` is a time in milliseconds since 1970.
    pub fn write(&self, headers: &mut HeaderMap, now_us: i64) {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Standing { limit, remaining, resets_in_ms }) = noted else { return };
        let since_1970_ms = u64::try_from(now_us / 1_000).unwrap_or_default();
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(since_1970_ms.saturating_add(resets_in_ms)));
    }
}
