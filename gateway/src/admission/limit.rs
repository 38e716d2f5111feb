//! The rate limits by name, and the standing of a request against one of them.

use events::{AccountId, KeyHash};

use super::rate_headers::RateHeaders;
use crate::error::GatewayError;

/// A limit, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    AccountPerMinute,
    KeyPerMinute,
    KeyPerDay,
    KeyTokens,
    FreePerMinute,
    FreePerDay,
}

/// The state of the limit on requests that is nearest to its end, for the headers of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// The milliseconds after which the oldest counted request leaves the window.
    pub resets_in_ms: u64,
}

/// A limit that a request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    pub standing: Standing,
    /// The milliseconds after which the request passes if no other one does.
    pub passes_in_ms: u64,
    /// True if the ledger may have a larger share of the limit for this gateway.
    pub is_open: bool,
    /// True if the ledger has not renewed the shares of this gateway.
    pub is_lapsed: bool,
}

/// The place of one limit's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub account: AccountId,
    pub key: KeyHash,
    pub limit: Limit,
}

impl Limit {
    /// Returns what is limited, as messages say it.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::AccountPerMinute => "requests a minute of this account",
            Self::KeyPerMinute => "requests a minute of this API key",
            Self::KeyPerDay => "requests a day of this API key",
            Self::KeyTokens => "tokens a minute of this API key",
            Self::FreePerMinute => "requests a minute for free models",
            Self::FreePerDay => "requests a day for free models",
        }
    }
}

impl Place {
    /// Returns the name of the limit at the ledger.
    #[must_use]
    pub fn name(&self) -> String {
        let (account, key) = (&self.account, &self.key);
        match self.limit {
            Limit::AccountPerMinute => format!("{account}/minute"),
            Limit::KeyPerMinute => format!("{key}/minute"),
            Limit::KeyPerDay => format!("{key}/day"),
            Limit::KeyTokens => format!("{key}/tokens"),
            Limit::FreePerMinute => format!("{account}/free/minute"),
            Limit::FreePerDay => format!("{account}/free/day"),
        }
    }
}

impl Standing {
    /// Returns the standing with fewer requests left.
    #[must_use]
    pub fn tighter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if one.remaining <= other.remaining { one } else { other }),
            (one, other) => one.or(other),
        }
    }
}

impl Exceeded {
    /// Returns the error for the client, whose headers tell of this limit.
    #[must_use]
    pub fn into_error(self, headers: &RateHeaders) -> GatewayError {
        if self.is_lapsed {
            return GatewayError::LedgerUnavailable;
        }
        headers.exceeded(self.standing);
        GatewayError::RateLimited { what: self.limit.what(), most: self.standing.limit, passes_in_ms: self.passes_in_ms }
    }
}
