//! Quotas by name: what callers share, and what a refusal says about it.

/// A quota that all callers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Requests in flight.
    Requests,
    /// Bytes of the bodies of requests in flight.
    BodyBytes,
    /// Prompts being counted in tokens.
    TokenCounts,
    /// Changes of keys per second.
    KeyChanges,
}

impl Quota {
    /// Returns the code in the body, which is also the label in metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Requests => "requests_in_flight",
            Self::BodyBytes => "body_bytes_in_flight",
            Self::TokenCounts => "token_counts",
            Self::KeyChanges => "key_changes",
        }
    }

    /// Returns the message of a refusal; `is_own` says whether the account's own share is used up.
    #[must_use]
    pub fn message(self, is_own: bool) -> String {
        let what = match self {
            Self::Requests => "requests in flight",
            Self::BodyBytes => "bytes of request bodies in flight",
            Self::TokenCounts => "prompts being counted",
            Self::KeyChanges => "changes of keys a second",
        };
        let whose = if is_own { "This account" } else { "This gateway" };
        format!("{whose} has as many {what} as it may have (budget {}): retry when some have ended.", self.code())
    }
}
