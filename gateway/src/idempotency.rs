//! `Idempotency-Key`: a repeated POST has no second effect.
//!
//! * **Model requests.** The ledger's table of keys decides, in one row per account and key: of all requests with one key, on all gateways,
//!   before and after any restart, at most one is sent within 24 hours. The others get 409 with its generation id. A request that is refused
//!   before it is admitted returns the key. If the gateway dies between claim and admission, the key stays used although nothing was sent.
//!   Without the ledger, requests with a key are refused; those without one are not affected.
//! * **Management calls.** The secret of a new key is derived from the idempotency key with a secret of the installation. A repeat derives
//!   the same secret, finds the key under its hash in the directory, and gives the first answer again. No secret is stored for that.

use eventlog::rpc;
use events::caller::InternalSecret;
use events::ids::{KeyKind, hex, secret_of};
use events::rpc::{ClaimIdempotencyKey, IdempotencyClaim, ReleaseIdempotencyKey};
use events::{AccountId, RequestId};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use crate::admin::RPC_TIMEOUT;
use crate::error::GatewayError;

const HEADER: &str = "idempotency-key";
const LENGTH_MAX: usize = 255;

/// A call with an idempotency key.
#[derive(Debug, Clone)]
pub struct IdempotentCall {
    /// The account, or `operator`, and the key.
    scope: (String, String),
    /// The SHA-256 of route and body, in lower-case hex.
    pub content: String,
}

impl IdempotentCall {
    /// Reads the header of a call; `None` if it has none. `owner` is the account, or `operator`.
    ///
    /// # Errors
    /// Returns 400 unless the key has 1 to 255 visible ASCII characters, or if there are several.
    pub fn read(headers: &HeaderMap, owner: &str, route: &str, body: &[u8]) -> Result<Option<Self>, GatewayError> {
        let mut given = headers.get_all(HEADER).iter();
        let Some(first) = given.next() else { return Ok(None) };
        let key = first.to_str().ok().filter(|key| (1..=LENGTH_MAX).contains(&key.len()) && given.next().is_none());
        let key = key.ok_or_else(|| GatewayError::BadRequest {
            message: "Invalid header 'Idempotency-Key': it must have 1 to 255 ASCII characters, and be there once.".to_owned(),
            param: Some(HEADER.into()),
        })?;
        let content = digest(&[route.as_bytes(), body]);
        Ok(Some(Self { scope: (owner.to_owned(), key.to_owned()), content }))
    }

    /// Returns the id of the key within its scope.
    #[must_use]
    pub fn id(&self) -> String {
        digest(&[self.scope.0.as_bytes(), self.scope.1.as_bytes()])
    }

    /// Returns the secret of the key that this call creates. `round` counts the calls with the same idempotency key, one a day at most.
    #[must_use]
    pub fn secret(&self, seed: &InternalSecret, kind: KeyKind, round: u32) -> String {
        secret_of(kind, seed.derive(&["key secret", &self.scope.0, &self.scope.1, &round.to_string()]))
    }

    /// Returns the id of the account that this call creates.
    #[must_use]
    pub fn account(&self, seed: &InternalSecret, round: u32) -> AccountId {
        let bits = seed.derive(&["account", &self.scope.0, &self.scope.1, &round.to_string()]);
        format!("acc_{}", &hex(&bits)[..32]).into()
    }

    /// Claims the key for a model request.
    ///
    /// # Errors
    /// Returns 409 if another request has it, and 503 if the ledger does not reply.
    pub async fn claim(&self, request: &RequestId, ledger: &rpc::Client, tasks: &TaskTracker) -> Result<Claim, GatewayError> {
        let claim = ClaimIdempotencyKey { id: self.id(), content: self.content.clone(), request: request.clone() };
        // The key is returned if this future is dropped, too: the ledger may have granted it.
        let claimed =
            Claim { id: claim.id.clone(), request: request.clone(), ledger: ledger.clone(), tasks: tasks.clone(), is_kept: false };
        match ledger.call(&claim, RPC_TIMEOUT).await? {
            IdempotencyClaim::Granted => Ok(claimed),
            IdempotencyClaim::Taken { request, is_same, cost_nanos } => {
                Claim::keep(Some(claimed));
                Err(if is_same { GatewayError::Repeated { generation: request, cost: cost_nanos } } else { GatewayError::reused() })
            }
        }
    }
}

impl GatewayError {
    /// Returns the error for a key that was used with another content.
    #[must_use]
    pub fn reused() -> Self {
        Self::Conflict("This Idempotency-Key was used before for another call or body: use a new one.".to_owned())
    }
}

/// A claimed key. It is returned on drop, unless its request was admitted.
#[must_use]
pub struct Claim {
    id: String,
    request: RequestId,
    ledger: rpc::Client,
    tasks: TaskTracker,
    is_kept: bool,
}

impl Claim {
    /// Keeps a key, if there is one, because its request is admitted.
    pub fn keep(claim: Option<Self>) {
        if let Some(mut claim) = claim {
            claim.is_kept = true;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let release = ReleaseIdempotencyKey { id: std::mem::take(&mut self.id), request: self.request.clone() };
        let ledger = self.ledger.clone();
        self.tasks.spawn(async move {
            if let Err(error) = ledger.call(&release, RPC_TIMEOUT).await {
                tracing::warn!(%error, "an idempotency key stays used, though its request was not sent: {error}");
            }
        });
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        sha.update(part);
    }
    hex(&sha.finalize())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(key: &str, owner: &str, route: &str, body: &str) -> IdempotentCall {
        let headers = [(http::HeaderName::from_static(HEADER), HeaderValue::from_str(key).unwrap())].into_iter().collect();
        IdempotentCall::read(&headers, owner, route, body.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_key_means_one_thing_for_one_owner() {
        let (seed, other) = (InternalSecret(b"one".to_vec()), InternalSecret(b"two".to_vec()));
        let call = read("k", "a", "keys", "{}");
        let secret = |call: &IdempotentCall, seed| call.secret(seed, KeyKind::Regular, 0);
        assert_eq!((call.id(), secret(&call, &seed)), (read("k", "a", "rotate", "[]").id(), secret(&read("k", "a", "x", ""), &seed)));
        assert_ne!(call.content, read("k", "a", "rotate", "{}").content);
        assert_ne!(call.content, read("k", "a", "keys", "[]").content);
        for (one, two) in [(read("k", "b", "keys", "{}"), &seed), (read("l", "a", "keys", "{}"), &seed), (call.clone(), &other)] {
            assert_ne!(secret(&call, &seed), secret(&one, two));
        }
        assert_ne!(call.secret(&seed, KeyKind::Regular, 0), call.secret(&seed, KeyKind::Regular, 1));
    }

    #[test]
    fn keys_have_a_length() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.extend(values.iter().map(|value| (http::HeaderName::from_static(HEADER), HeaderValue::from_str(value).unwrap())));
            IdempotentCall::read(&headers, "a", "r", b"").map(|call| call.is_some()).ok()
        };
        assert_eq!((of(&[]), of(&["k"]), of(&["k".repeat(255).as_str()])), (Some(false), Some(true), Some(true)));
        assert_eq!((of(&[""]), of(&["k".repeat(256).as_str()]), of(&["a", "b"])), (None, None, None));
    }
}
