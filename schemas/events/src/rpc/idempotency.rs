//! Claims of idempotency keys for model requests: of all requests with one key, a single one may reach a provider.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::ids::RequestId;
use crate::money::Nanos;

/// The time for which a claim is remembered, in microseconds: 24 hours.
pub const REMEMBERED_US: i64 = 24 * 3_600 * 1_000_000;

/// A claim of an idempotency key for one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimIdempotencyKey {
    /// The SHA-256 of the account and the key, in lower-case hex.
    pub id: String,
    /// The SHA-256 of the route and the body, in lower-case hex.
    pub content: String,
    pub request: RequestId,
}

/// The reply to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "claim")]
pub enum IdempotencyClaim {
    /// The request may be sent.
    Granted,
    /// An earlier request has the key.
    Taken {
        request: RequestId,
        /// Whether it had the same content.
        is_same: bool,
        /// Its cost, once its end is posted.
        cost_nanos: Option<Nanos>,
    },
}

impl Request for ClaimIdempotencyKey {
    const NAME: &'static str = "claim_idempotency_key";
    type Reply = IdempotencyClaim;
}

/// The return of a key whose request was refused before it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseIdempotencyKey {
    pub id: String,
    pub request: RequestId,
}

impl Request for ReleaseIdempotencyKey {
    const NAME: &'static str = "release_idempotency_key";
    /// Always true.
    type Reply = bool;
}
