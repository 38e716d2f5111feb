//! Additions of keys: with a random secret, or with one that a repeat of the call finds again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::KeyHash;
use events::control::{CreatingCall, Key, KeyCreated};
use events::ids::label;
use events::rpc::idempotency::REMEMBERED_US;
use events::rpc::{CLAIM_LASTS, ClaimRevision, KeySpend, RevisionClaim};

use super::create::CreatedBody;
use super::object::KeyBody;
use crate::admin::{Admin, RPC_TIMEOUT};
use crate::auth::KeyEntry;
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;

/// The time for which a key is awaited that another gateway is creating by the same call.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);

impl Admin {
    /// Records a new key, which has no hash and label yet, or returns the first answer of a repeated call.
    ///
    /// # Errors
    /// Returns 503 if nothing can be recorded, 409 if the call's idempotency key was used for another one.
    pub async fn add_key(&self, key: Key, call: Option<&IdempotentCall>) -> Result<CreatedBody, GatewayError> {
        let Some(call) = call else {
            let secret = self.ids.secret(key.kind);
            let key = with_secret(key, &secret);
            self.record_created(&key).await?;
            return Ok(CreatedBody { data: KeyBody::new(&key, &KeySpend::default()), key: secret });
        };
        let _alone = self.lock_keys(&key.account).await;
        let since = Instant::now();
        loop {
            let (secret, known) = self.derived(&key, call);
            let key = with_secret(key.clone(), &secret);
            if let Some(known) = known {
                return first_answer(key, &known, call, secret);
            }
            // Of two gateways that get the same call at once, the ledger lets one create the key; the other one waits for it.
            let (claim, claimed) = (ClaimRevision { key: key.hash.clone(), known: 0, wins: false }, Instant::now());
            match self.ledger.call(&claim, RPC_TIMEOUT).await? {
                RevisionClaim::Granted { revision } if claimed.elapsed() < CLAIM_LASTS => {
                    let creating_call = Some(CreatingCall { body_sha256: call.content.clone() });
                    let key = Key { revision, creating_call, ..key };
                    self.record_created(&key).await?;
                    return Ok(CreatedBody { data: KeyBody::new(&key, &KeySpend::default()), key: secret });
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind if since.elapsed() > PATIENCE => {
                    return Err(GatewayError::Conflict("A call with this Idempotency-Key is in progress: try again shortly.".to_owned()));
                }
                RevisionClaim::Granted { .. } | RevisionClaim::Behind => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Returns whether a call has created a key like this one within 24 hours.
    #[must_use]
    pub fn is_repeated(&self, key: &Key, call: Option<&IdempotentCall>) -> bool {
        call.is_some_and(|call| self.derived(key, call).1.is_some())
    }

    /// Returns the secret that a call gives its key, and the key that it has created within 24 hours.
    fn derived(&self, key: &Key, call: &IdempotentCall) -> (String, Option<Arc<KeyEntry>>) {
        let mut round = 0;
        loop {
            let secret = call.secret(&self.seed, key.kind, round);
            match self.directory.find_any(&KeyHash::of_secret(&secret)) {
                Some(known) if known.key.created_at_us + REMEMBERED_US <= self.clock.now_us() => round += 1,
                known => return (secret, known),
            }
        }
    }

    async fn record_created(&self, key: &Key) -> Result<(), GatewayError> {
        self.record(key.account.as_str(), key.hash.as_str(), &KeyCreated { key: key.clone() }).await
    }
}

fn with_secret(key: Key, secret: &str) -> Key {
    Key { hash: KeyHash::of_secret(secret), label: label(secret), ..key }
}

/// Returns the answer of the call that created a key: the settings of the call, and the times and the creator of the key.
fn first_answer(key: Key, known: &KeyEntry, call: &IdempotentCall, secret: String) -> Result<CreatedBody, GatewayError> {
    let content = known.key.creating_call.as_ref().map(|call| call.body_sha256.as_str());
    if content != Some(&call.content) || known.key.account != key.account {
        return Err(GatewayError::reused());
    }
    let Key { created_at_us, expires_at_us, created_by, .. } = known.key.clone();
    let key = Key { created_at_us, expires_at_us, created_by, ..key };
    Ok(CreatedBody { data: KeyBody::new(&key, &KeySpend::default()), key: secret })
}
