//! Requests about keys: what they have spent, and whose change of one comes next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Request;
use crate::ids::{AccountId, KeyHash};
use crate::money::Nanos;

/// What keys of one account have spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetKeySpend {
    /// The account.
    pub account: AccountId,
    /// Its keys.
    pub keys: Vec<KeyHash>,
}

/// Spending of one key, nano-USD, in the running windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpend {
    /// Ever.
    pub total: Nanos,
    /// Since 00:00 UTC.
    pub daily: Nanos,
    /// Since Monday 00:00 UTC.
    pub weekly: Nanos,
    /// Since the 1st 00:00 UTC.
    pub monthly: Nanos,
}

impl Request for GetKeySpend {
    const NAME: &'static str = "key_spend";
    type Reply = BTreeMap<KeyHash, KeySpend>;
}

/// Claims the next revision of a key, so that of two changes that were made of the same state only one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRevision {
    /// The key.
    pub key: KeyHash,
    /// The revision that the change was made of.
    pub known: u64,
    /// Takes the next one in any case: the change does not depend on what others changed.
    pub wins: bool,
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "claim")]
pub enum RevisionClaim {
    /// The change may be recorded under this revision, within [`CLAIM_LASTS`].
    Granted {
        /// The revision.
        revision: u64,
    },
    /// Another change came first: read the key again.
    Behind,
}

/// How long a claimed revision may wait to be recorded.
pub const CLAIM_LASTS: Duration = Duration::from_secs(5);

impl Request for ClaimRevision {
    const NAME: &'static str = "claim_revision";
    type Reply = RevisionClaim;
}
