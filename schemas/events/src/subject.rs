//! Streams, and the subject of every event.

use serde::{Deserialize, Serialize};

use crate::payload::Payload;

/// Accounts are spread over this many partitions, fixed for ever.
pub const PARTITIONS: u32 = 64;

/// The four streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stream {
    /// The life of requests.
    Requests,
    /// Usage and cost.
    Usage,
    /// Keys and accounts.
    Control,
    /// The ledger's own facts.
    Ledger,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Usage, Self::Control, Self::Ledger];

    /// The stream's name in NATS.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "REQUESTS",
            Self::Usage => "USAGE",
            Self::Control => "CONTROL",
            Self::Ledger => "LEDGER",
        }
    }

    /// The subjects it stores.
    #[must_use]
    pub const fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["arouter.v1.request.>"],
            Self::Usage => &["arouter.v1.usage.>"],
            Self::Control => &["arouter.v1.key.>", "arouter.v1.account.>"],
            Self::Ledger => &["arouter.v1.ledger.>"],
        }
    }

    /// Whether events may leave it once the archive has them. Keys and accounts stay: every gateway reads them from the start, and has
    /// no archive.
    #[must_use]
    pub const fn may_age(self) -> bool {
        !matches!(self, Self::Control)
    }

    /// The place in [`Self::ALL`].
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

/// The partition of an account: FNV-1a (64 bit) of its id, modulo [`PARTITIONS`].
#[must_use]
pub fn partition(account: &str) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in account.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    u32::try_from(hash % u64::from(PARTITIONS)).unwrap_or_default()
}

/// The subject of an event of this payload.
#[must_use]
pub fn subject<P: Payload>(account: &str, about: &str) -> String {
    let verb = P::VERB;
    match P::STREAM {
        Stream::Requests => format!("arouter.v1.request.{}.{account}.{verb}", partition(account)),
        Stream::Usage => format!("arouter.v1.usage.{}.{account}", partition(account)),
        Stream::Control => {
            let family = P::SCHEMA.split('.').next().unwrap_or_default();
            format!("arouter.v1.{family}.{account}.{about}.{verb}")
        }
        Stream::Ledger => format!("arouter.v1.ledger.{}.{account}.{verb}", partition(account)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are part of the public contract: a change would move accounts between partitions.
    #[test]
    fn partitions_are_fixed_for_ever() {
        assert_eq!(partition(""), 37);
        assert_eq!(partition("acc_00000000000000000000000000000001"), 12);
    }
}
