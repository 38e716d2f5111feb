//! Shares of rate limits: the parts of a limit that gateways may pass, and that the ledger moves between them.

use serde::{Deserialize, Serialize};

use super::Request;

/// The time after its last renewal for which a gateway may use its shares, in milliseconds.
pub const SHARES_LAST_MS: u64 = 30_000;

/// A call that renews all shares of a gateway, and changes some of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewShares {
    /// The gateway that holds the shares: its event source.
    pub holder: String,
    /// The number of the call. The ledger ignores a call that arrives after a later one.
    pub sequence: u64,
    pub asks: Vec<ShareAsk>,
}

/// A change of one share. Amounts are requests or tokens in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareAsk {
    /// The limit: its owner, and which one.
    pub limit: String,
    /// The most that all gateways together may pass in one window.
    pub most: u64,
    pub window_ms: u64,
    /// The share that the gateway keeps; it is lowered to this already, and is at least what was passed in the window.
    pub keeps: u64,
    /// The amount that was passed in the window.
    pub used: u64,
    /// The share with which nothing that was asked for would be refused.
    pub needs: u64,
    /// The share that spares calls, if nobody else needs it; at least `needs`.
    pub wants: u64,
    /// The smallest amount that helps.
    pub least: u64,
}

/// The reply to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharesRenewed {
    /// True if the call was applied; an ignored one changes nothing.
    pub is_applied: bool,
    /// The changed shares, in the order of the asks.
    pub shares: Vec<SharedLimit>,
    /// The other limits of this gateway of which another one needs more than it has.
    pub contended: Vec<String>,
}

/// The state of one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedLimit {
    /// The amount that this gateway may pass in one window.
    pub share: u64,
    /// The fair part of the limit that the gateway must shrink to while another one lacks something; absent if nobody does.
    pub target: Option<u64>,
    /// The sum of the other gateways' shares.
    pub others: u64,
}

impl Request for RenewShares {
    const NAME: &'static str = "renew_shares";
    type Reply = SharesRenewed;
}
