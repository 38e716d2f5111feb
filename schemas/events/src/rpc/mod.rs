//! Requests between processes and their answers: leases, credit, spending, watermarks.

pub mod key;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId};
use crate::money::Nanos;
use crate::subject::Stream;
pub use key::{CLAIM_LASTS, ClaimRevision, GetKeySpend, KeySpend, RevisionClaim};

/// A request: by which name it is asked, and what the answer is.
pub trait Request: Serialize + DeserializeOwned + Send {
    /// The last part of the subject it is asked on.
    const NAME: &'static str;
    /// The answer.
    type Reply: Serialize + DeserializeOwned + Send;
}

/// Who answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The ledger process.
    Ledger,
    /// The projector process.
    Projector,
}

impl Peer {
    /// The word in subjects.
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

/// Opens, extends, renews, shrinks or closes a lease. States totals, so that a repeated or late request does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The lease; made by the gateway.
    pub lease: LeaseId,
    /// Whose credit.
    pub account: AccountId,
    /// The key whose limit it counts against; absent for keys without a limit.
    pub key: Option<KeyHash>,
    /// The newest revision of that key the gateway knows; the ledger waits until it knows it too.
    pub key_revision: u64,
    /// The gateway: its source.
    pub holder: String,
    /// What is free in this lease already, nano-USD; the next three count it in.
    pub free_nanos: Nanos,
    /// The least that helps now, nano-USD; 0 when nobody waits.
    pub needed_nanos: Nanos,
    /// What those who wait asked for in full, nano-USD; when less is left they get that.
    pub preferred_nanos: Nanos,
    /// What would last for a few seconds, nano-USD.
    pub wanted_nanos: Nanos,
    /// What the gateway gave back of this lease so far, nano-USD, in total.
    pub returned_nanos: Nanos,
    /// What requests that ended have cost of this lease so far, nano-USD, in total, posted or not.
    pub spent_nanos: Nanos,
    /// Nothing more will be taken from it.
    pub closing: bool,
}

/// The state of a lease after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReply {
    /// All that was ever granted to this lease, nano-USD.
    pub granted_nanos: Nanos,
    /// How long it may be used, counted from the moment the request was sent.
    pub ttl_ms: u64,
    /// When the key's window ends, microseconds since 1970; no hold is taken from this lease after it.
    pub window_ends_at_us: Option<i64>,
    /// What the account has left to lend, nano-USD.
    pub available_nanos: Nanos,
    /// Whether it is of use.
    pub standing: LeaseStanding,
}

/// Whether a lease is of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum LeaseStanding {
    /// It has what was needed.
    Open,
    /// It lives, but what was needed could not be added.
    Denied(Denial),
    /// It is closed, frozen or unknown: open another one.
    Gone,
    /// The ledger has not read the key's or account's newest revision yet: ask again.
    Behind,
}

/// Why there is no money for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Which bound is hit.
    pub source: LimitSource,
    /// The bound, nano-USD: the account's credit, or the key's limit.
    pub limit_nanos: Nanos,
    /// Spent against it, nano-USD.
    pub spent_nanos: Nanos,
    /// Held by requests in flight and by leases, nano-USD.
    pub held_nanos: Nanos,
    /// When the bound starts over, microseconds since 1970.
    pub resets_at_us: Option<i64>,
}

impl Denial {
    /// Whether something is left: free, lent to a gateway, or held by a request.
    #[must_use]
    pub const fn has_money(&self) -> bool {
        self.limit_nanos.0 > self.spent_nanos.0
    }
}

/// Which bound a denial is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// The account's credit.
    Credits,
    /// The key's limit.
    KeyLimit,
    /// The money exists, but requests in flight hold it.
    InFlightBudget,
}

impl LimitSource {
    /// The word in error bodies.
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

/// Says that a source will never record usage again beyond a sequence: what its leases still hold after that goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSource {
    /// The source, whose boot is over.
    pub source: String,
    /// Its last sequence in the stream `USAGE`; 0 when it recorded none.
    pub last_usage: u64,
}

impl Request for CloseSource {
    const NAME: &'static str = "close_source";
    /// Whether everything is posted and given back; ask again when not.
    type Reply = bool;
}

/// Posts credit once per id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostCredit {
    /// The command's id; the same id is applied once.
    pub id: String,
    /// Whose credit.
    pub account: AccountId,
    /// What to do.
    pub command: CreditCommand,
    /// For people.
    pub description: String,
}

/// How credit comes or goes; amounts in nano-USD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CreditCommand {
    /// The operator gives.
    Grant {
        /// How much.
        amount_nanos: Nanos,
        /// Lower ones burn first; 100 when absent.
        priority: Option<i64>,
        /// When what is left of it goes, microseconds since 1970; absent = never.
        expires_at_us: Option<i64>,
    },
    /// The operator corrects, up or down; what is lent to requests in flight cannot be taken.
    Adjust {
        /// How much.
        amount_nanos: Nanos,
    },
    /// Credit was paid for.
    Purchase {
        /// How much credit.
        amount_nanos: Nanos,
        /// What was paid on top of it.
        fee_nanos: Nanos,
        /// When what is left of it goes, microseconds since 1970; absent = never.
        expires_at_us: Option<i64>,
        /// Whether that was asked for: if not, it follows from when the command came.
        #[serde(default)]
        is_expiry_given: bool,
    },
    /// The unspent part of a purchase goes back, within 24 hours.
    Refund {
        /// The purchase's id.
        purchase: String,
    },
}

/// What became of a credit command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum CreditReply {
    /// Applied, now or before.
    Posted {
        /// The transaction's id.
        transaction: String,
        /// How it changed the account's credit, nano-USD.
        amount_nanos: Nanos,
        /// The account's balance after it, nano-USD.
        balance_nanos: Nanos,
    },
    /// The ledger has not read that account's creation.
    UnknownAccount,
    /// A negative adjustment is larger than what is available.
    Insufficient,
    /// There is no such purchase of that account, or it is older than 24 hours, or nothing of it is left that no request holds.
    NotRefundable,
    /// That id was used before with other content.
    Conflict,
}

impl Request for PostCredit {
    const NAME: &'static str = "credit";
    type Reply = CreditReply;
}

/// Asks whether a reader's database takes writes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeWrite {}

impl Request for ProbeWrite {
    const NAME: &'static str = "probe_write";
    /// True; a database that takes none gives no answer.
    type Reply = bool;
}

/// How many accounts there are; zero means a first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountAccounts {}

impl Request for CountAccounts {
    const NAME: &'static str = "count_accounts";
    type Reply = u64;
}

/// Up to where a reader has everything of one source.
pub type Watermarks = BTreeMap<Stream, u64>;

/// Asks a reader for its watermarks of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetWatermarks {
    /// The source.
    pub source: String,
}

impl Request for GetWatermarks {
    const NAME: &'static str = "watermarks";
    type Reply = Watermarks;
}

/// An event that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its id.
    pub event_id: String,
    /// The name of the reader that set it aside.
    pub projection: String,
    /// The stream that it came in.
    pub stream: String,
    /// Its place there.
    pub sequence: u64,
    /// Why it could not be applied.
    pub reason: String,
    /// The account that gets no new leases until somebody has decided.
    pub freezes_account: Option<String>,
    /// RFC 3339.
    pub quarantined_at: String,
    /// As it came; only when one event is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
}

/// Asks a reader for the events that it could not apply and nobody has decided about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuarantine {
    /// One of them, with its payload.
    pub event_id: Option<String>,
}

impl Request for ListQuarantine {
    const NAME: &'static str = "quarantine";
    type Reply = Vec<Quarantined>;
}

/// What to do with an event that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Apply it again.
    Release,
    /// Give it up.
    Discard,
}

impl Decision {
    /// The word in tables and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Discard => "discard",
        }
    }
}

/// Decides about an event that a reader set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecideQuarantine {
    /// The event.
    pub event_id: String,
    /// What to do.
    pub decision: Decision,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum DecideReply {
    /// Applied, or given up.
    Done,
    /// No such event waits.
    Unknown,
    /// It still cannot be applied.
    Rejected {
        /// One sentence.
        reason: String,
    },
}

impl Request for DecideQuarantine {
    const NAME: &'static str = "decide_quarantine";
    type Reply = DecideReply;
}
