//! The ledger's own facts, as events of the internal stream `LEDGER`: what it did, for archives and rebuilds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId};
use crate::money::Nanos;
use crate::payload::payload;

/// Why credit came or went other than by usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Given by the operator.
    Grant,
    /// Corrected by the operator; may be negative.
    Adjustment,
    /// Paid for.
    #[serde(rename = "credit")]
    Purchase,
    /// The platform's fee for a purchase.
    Fee,
    /// The unspent part of a purchase, given back.
    Refund,
    /// What was left of a grant at its expiry.
    Expiry,
}

impl CreditKind {
    /// The word that events, tables and answers use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
            Self::Purchase => "credit",
            Self::Fee => "fee",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
        }
    }
}

/// Credit came or went other than by usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditPosted {
    /// The command's id; the same id is applied once.
    pub id: String,
    /// Whose credit.
    pub account: AccountId,
    /// Why.
    pub kind: CreditKind,
    /// How much, nano-USD.
    pub amount_nanos: Nanos,
    /// For people.
    pub description: String,
}

/// A lease's slice grew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseGranted {
    /// The lease.
    pub lease: LeaseId,
    /// Whose credit.
    pub account: AccountId,
    /// The key whose limit it counts against.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<KeyHash>,
    /// What was added, nano-USD.
    pub amount_nanos: Nanos,
    /// All that was ever granted to this lease, nano-USD.
    pub granted_nanos: Nanos,
}

/// A lease ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseClosed {
    /// The lease.
    pub lease: LeaseId,
    /// Whose credit.
    pub account: AccountId,
    /// All that was ever granted, nano-USD.
    pub granted_nanos: Nanos,
    /// What usage consumed, nano-USD.
    pub consumed_nanos: Nanos,
    /// What went back to the account, nano-USD.
    pub returned_nanos: Nanos,
}

payload!(CreditPosted, Ledger, "ledger", "credit_posted", "v1");
payload!(LeaseGranted, Ledger, "ledger", "lease_granted", "v1");
payload!(LeaseClosed, Ledger, "ledger", "lease_closed", "v1");
