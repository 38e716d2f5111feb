//! Requests about keys: their spending, and the order of changes of one key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Request;
use crate::ids::{AccountId, KeyHash};
use crate::money::Nanos;

/// A request for the spending of keys of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetKeySpend {
    pub account: AccountId,
    pub keys: Vec<KeyHash>,
}

/// Spending of one key in the running windows, nano-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpend {
    /// Spending since the key exists.
    pub total: Nanos,
    /// Spending since 00:00 UTC.
    pub daily: Nanos,
    /// Spending since Monday 00:00 UTC.
    pub weekly: Nanos,
    /// Spending since the 1st 00:00 UTC.
    pub monthly: Nanos,
    /// The list price of requests with own provider keys.
    #[serde(default)]
    pub byok: PeriodSums,
    /// The part of the spending that does not count towards the key's limit.
    #[serde(default)]
    pub exempt: PeriodSums,
}

/// Amounts in the running windows, nano-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodSums {
    /// The amount since the key exists.
    pub total: Nanos,
    /// The amount since 00:00 UTC.
    pub daily: Nanos,
    /// The amount since Monday 00:00 UTC.
    pub weekly: Nanos,
    /// The amount since the 1st 00:00 UTC.
    pub monthly: Nanos,
}

impl Request for GetKeySpend {
    const NAME: &'static str = "key_spend";
    type Reply = BTreeMap<KeyHash, KeySpend>;
}

/// A claim of the next revision of a key: of two changes to the same state, only one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRevision {
    pub key: KeyHash,
    /// The revision of the state that was changed.
    pub known: u64,
    /// Whether the claim always gets the next revision, because the change does not depend on other changes.
    pub wins: bool,
}

/// The reply to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "claim")]
pub enum RevisionClaim {
    /// The change may be recorded under this revision, within [`CLAIM_LASTS`].
    Granted { revision: u64 },
    /// Another change came first: the caller must read the key again.
    Behind,
}

/// The time within which a claimed revision must be recorded.
pub const CLAIM_LASTS: Duration = Duration::from_secs(5);

impl Request for ClaimRevision {
    const NAME: &'static str = "claim_revision";
    type Reply = RevisionClaim;
}
