//! The subject of every event, and the partition of every account.

use crate::payload::Payload;
pub use crate::stream::Stream;

/// The number of partitions that accounts are spread over; it never changes.
pub const PARTITIONS: u32 = 64;

/// Returns the partition of an account: FNV-1a (64 bit) of its id, modulo [`PARTITIONS`].
#[must_use]
pub fn partition(account: &str) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in account.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    u32::try_from(hash % u64::from(PARTITIONS)).unwrap_or_default()
}

/// Returns the subject of an event with this payload.
#[must_use]
pub fn subject<P: Payload>(account: &str, about: &str) -> String {
    let verb = P::VERB;
    match P::STREAM {
        Stream::Requests => format!("arouter.v1.request.{}.{account}.{verb}", partition(account)),
        Stream::Usage => format!("arouter.v1.usage.{}.{account}", partition(account)),
        Stream::Control => {
            // Keys are public. Everything else of an account is private and has a subject below `account`, which subscribers may not read.
            match P::SCHEMA.split('.').next().unwrap_or_default() {
                // The catalogue belongs to no account.
                "catalog" => format!("arouter.v1.account.{account}.catalog.{verb}"),
                family @ ("key" | "account") => format!("arouter.v1.{family}.{account}.{about}.{verb}"),
                family => format!("arouter.v1.account.{account}.{about}.{family}.{verb}"),
            }
        }
        Stream::Ledger => format!("arouter.v1.ledger.{}.{account}.{verb}", partition(account)),
    }
}

/// Returns the filter that all events of one account in a stream match, and no others. Of `CONTROL` it takes only the public ones, about
/// keys.
#[must_use]
pub fn account_filter(stream: Stream, account: &str) -> String {
    match stream {
        Stream::Requests => format!("arouter.v1.request.{}.{account}.*", partition(account)),
        Stream::Usage => format!("arouter.v1.usage.{}.{account}", partition(account)),
        Stream::Control => format!("arouter.v1.key.{account}.>"),
        Stream::Ledger => format!("arouter.v1.ledger.{}.{account}.*", partition(account)),
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
