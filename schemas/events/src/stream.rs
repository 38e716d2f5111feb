//! The streams of events.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stream {
    /// The life cycle of requests.
    Requests,
    /// Usage and cost.
    Usage,
    /// Keys and accounts.
    Control,
    /// The ledger's own facts.
    Ledger,
}

impl Stream {
    pub const ALL: [Self; 4] = [Self::Requests, Self::Usage, Self::Control, Self::Ledger];

    /// Returns the stream's name in NATS.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "REQUESTS",
            Self::Usage => "USAGE",
            Self::Control => "CONTROL",
            Self::Ledger => "LEDGER",
        }
    }

    /// Returns the subjects that the stream stores.
    #[must_use]
    pub const fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["arouter.v1.request.>"],
            Self::Usage => &["arouter.v1.usage.>"],
            Self::Control => &["arouter.v1.key.>", "arouter.v1.account.>"],
            Self::Ledger => &["arouter.v1.ledger.>"],
        }
    }

    /// Returns whether events may leave the stream once the archive has them. Keys and accounts stay: every gateway reads them from the
    /// start, and has no archive.
    #[must_use]
    pub const fn may_age(self) -> bool {
        !matches!(self, Self::Control)
    }

    /// Returns the index in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Usage => 1,
            Self::Control => 2,
            Self::Ledger => 3,
        }
    }
}
