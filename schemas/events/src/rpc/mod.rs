//! Requests between processes and their replies: leases, credit, spending, watermarks.

pub mod key;
pub mod idempotency;
pub mod rate;
pub mod webhook;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId};
use crate::money::Nanos;
use crate::subject::Stream;
pub use idempotency::{ClaimIdempotencyKey, IdempotencyClaim, ReleaseIdempotencyKey};
pub use key::{CLAIM_LASTS, ClaimRevision, GetKeySpend, KeySpend, PeriodSums, RevisionClaim};
pub use rate::{RenewShares, SHARES_LAST_MS, ShareAsk, SharedLimit, SharesRenewed};

/// A request with its name and the type of its reply.
pub trait Request: Serialize + DeserializeOwned + Send {
    /// The last part of the NATS subject of the request.
    const NAME: &'static str;
    type Reply: Serialize + DeserializeOwned + Send;
}

/// A process that answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Ledger,
    Projector,
}

impl Peer {
    /// Returns the word in subjects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Projector => "projector",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A request to open, extend, renew, shrink or close a lease. It contains totals, so that a repeated or late request does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The id of the lease, created by the gateway.
    pub lease: LeaseId,
    /// The account whose credit is lent.
    pub account: AccountId,
    /// The key whose limit the lease counts against; absent for keys without a limit.
    pub key: Option<KeyHash>,
    /// The newest revision of that key that the gateway knows. The ledger replies [`LeaseStanding::Behind`] until it has read this
    /// revision.
    pub key_revision: u64,
    /// The gateway that holds the lease: its event source.
    pub holder: String,
    /// The amount that is free in this lease already, nano-USD. The next three amounts include it.
    pub free_nanos: Nanos,
    /// The least amount that helps now, nano-USD; 0 if no request waits.
    pub needed_nanos: Nanos,
    /// The amount that waiting requests asked for in full, nano-USD. If less is left, they get the rest.
    pub preferred_nanos: Nanos,
    /// The amount that would last for a few seconds, nano-USD.
    pub wanted_nanos: Nanos,
    /// The total of this lease that the gateway has returned so far, nano-USD.
    pub returned_nanos: Nanos,
    /// The total cost so far of ended requests on this lease, nano-USD, posted or not.
    pub spent_nanos: Nanos,
    /// Whether nothing more will be taken from the lease.
    pub closing: bool,
}

/// The state of a lease after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReply {
    /// The total ever granted to this lease, nano-USD.
    pub granted_nanos: Nanos,
    /// The time for which the lease may be used, in milliseconds from the moment at which the request was sent.
    pub ttl_ms: u64,
    /// The end of the key's window, microseconds since 1970. No hold is taken from this lease after it.
    pub window_ends_at_us: Option<i64>,
    /// The amount that the account can still lend, nano-USD.
    pub available_nanos: Nanos,
    /// The account's posted requests with own provider keys in the running month; absent if the lease is not open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub byok: Option<ByokMonth>,
    pub standing: LeaseStanding,
}

/// The requests of an account with own provider keys in one UTC month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByokMonth {
    /// The start of the month, microseconds since 1970.
    pub starts_at_us: i64,
    /// The end of the month, microseconds since 1970.
    pub ends_at_us: i64,
    /// The number of its requests that are posted.
    pub requests: u64,
}

/// The usability of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum LeaseStanding {
    /// The lease has what was needed.
    Open,
    /// The lease lives, but what was needed could not be added.
    Denied(Denial),
    /// The lease is closed, frozen or unknown: the gateway must open another one.
    Gone,
    /// The ledger has not read the newest revision of the key or account yet: the gateway must retry.
    Behind,
}

/// The reason why there is no money for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The bound that is hit.
    pub source: LimitSource,
    /// The bound, nano-USD: the account's credit, or the key's limit.
    pub limit_nanos: Nanos,
    /// The amount spent against it, nano-USD.
    pub spent_nanos: Nanos,
    /// The amount held by requests in flight and by leases, nano-USD.
    pub held_nanos: Nanos,
    /// The time at which the bound starts over, microseconds since 1970.
    pub resets_at_us: Option<i64>,
}

impl Denial {
    /// Returns whether something is left: free, lent to a gateway, or held by a request.
    #[must_use]
    pub const fn has_money(&self) -> bool {
        self.limit_nanos.0 > self.spent_nanos.0
    }
}

/// The bound that a denial is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    Credits,
    KeyLimit,
    /// The money exists, but requests in flight hold it.
    InFlightBudget,
}

impl LimitSource {
    /// Returns the word in error bodies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::KeyLimit => "key_limit",
            Self::InFlightBudget => "in_flight_budget",
        }
    }
}

impl Request for LeaseRequest {
    const NAME: &'static str = "lease";
    type Reply = LeaseReply;
}

/// A statement that a source will never record usage beyond a sequence. The amount that its leases still hold after that usage goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSource {
    /// The source, whose boot is over.
    pub source: String,
    /// The last sequence of the source in the stream `USAGE`; 0 if it recorded none.
    pub last_usage: u64,
}

impl Request for CloseSource {
    const NAME: &'static str = "close_source";
    /// Whether everything is posted and returned; if not, the caller must retry.
    type Reply = bool;
}

/// A command that changes credit; it is applied once per id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostCredit {
    /// The command's id.
    pub id: String,
    pub account: AccountId,
    pub command: CreditCommand,
    /// A description for people.
    pub description: String,
}

/// A change of credit; amounts are in nano-USD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CreditCommand {
    /// Credit given by the operator.
    Grant {
        amount_nanos: Nanos,
        /// The priority: grants with lower values are spent first; 100 if absent.
        priority: Option<i64>,
        /// The time at which the unspent part expires, microseconds since 1970; never if absent.
        expires_at_us: Option<i64>,
    },
    /// A correction by the operator, up or down. Credit that is lent to requests in flight cannot be taken.
    Adjust { amount_nanos: Nanos },
    /// Credit that was paid for.
    Purchase {
        /// The credit; the ledger adds its fee to the payment.
        amount_nanos: Nanos,
        /// The time at which the unspent rest expires, microseconds since 1970; absent = by the ledger's terms.
        expires_at_us: Option<i64>,
    },
    /// The return of the unspent part of a purchase, within 24 hours.
    Refund {
        /// The purchase's id.
        purchase: String,
    },
}

/// The result of a credit command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum CreditReply {
    /// The command is applied, now or by an earlier request.
    Posted {
        /// The transaction's id.
        transaction: String,
        /// The change of the account's credit, nano-USD.
        amount_nanos: Nanos,
        /// The account's balance after it, nano-USD.
        balance_nanos: Nanos,
    },
    /// The ledger has not read the account's creation.
    UnknownAccount,
    /// The amount of a negative adjustment is larger than the available credit.
    Insufficient,
    /// The account has no such purchase, it is older than 24 hours, or nothing of it is left that no request holds.
    NotRefundable,
    /// The amount and its fee are out of range.
    TooLarge,
    /// The id was used before with other content.
    Conflict,
}

impl Request for PostCredit {
    const NAME: &'static str = "credit";
    type Reply = CreditReply;
}

/// A request for the sum of the credit that an account has ever bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetPurchased {
    pub account: AccountId,
}

impl Request for GetPurchased {
    const NAME: &'static str = "purchased";
    type Reply = Nanos;
}

/// A test of whether a reader's database accepts writes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeWrite {}

impl Request for ProbeWrite {
    const NAME: &'static str = "probe_write";
    /// Always true; a database that accepts no writes gives no reply.
    type Reply = bool;
}

/// A request for the number of accounts; zero means a first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountAccounts {}

impl Request for CountAccounts {
    const NAME: &'static str = "count_accounts";
    type Reply = u64;
}

/// The sequence in each stream up to which a reader has everything of one source.
pub type Watermarks = BTreeMap<Stream, u64>;

/// A request for a reader's watermarks of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetWatermarks {
    pub source: String,
}

impl Request for GetWatermarks {
    const NAME: &'static str = "watermarks";
    type Reply = Watermarks;
}

/// An event that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub event_id: String,
    /// The name of the reader that set it aside.
    #[serde(default)]
    pub projection: String,
    pub stream: String,
    /// The sequence in that stream.
    pub sequence: u64,
    /// The reason why it could not be applied.
    pub reason: String,
    /// The account that gets no new leases until an operator has decided.
    pub freezes_account: Option<String>,
    /// The time at which it was set aside, RFC 3339.
    pub quarantined_at: String,
    /// The event as it was read; only if one event is requested.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
}

/// A request for the events that a reader could not apply and that are undecided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuarantine {
    /// The id of one event to return, with its payload.
    pub event_id: Option<String>,
}

impl Request for ListQuarantine {
    const NAME: &'static str = "quarantine";
    type Reply = Vec<Quarantined>;
}

/// The decision about an event that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The event is applied again.
    Release,
    /// The event is given up.
    Discard,
}

impl Decision {
    /// Returns the word in tables and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Discard => "discard",
        }
    }
}

/// A decision about an event that a reader set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideQuarantine {
    pub event_id: String,
    pub decision: Decision,
}

/// The result of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum DecideReply {
    /// The event is applied or given up.
    Done,
    /// No such event waits.
    Unknown,
    /// The event still cannot be applied.
    Rejected {
        /// The reason as one sentence.
        reason: String,
    },
}

impl Request for DecideQuarantine {
    const NAME: &'static str = "decide_quarantine";
    type Reply = DecideReply;
}
