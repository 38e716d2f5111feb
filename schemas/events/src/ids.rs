//! Identifiers and the one source of randomness behind them.

use std::fmt;

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Clock;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub std::sync::Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

text_id! {
    /// An account: whose money. `acc_` and 32 lower-case hex digits of a UUIDv7.
    AccountId
}
text_id! {
    /// A key's public id: the lower-case hex SHA-256 of its secret (64 digits).
    KeyHash
}
text_id! {
    /// A lease: the slice of an account's credit lent to one gateway. A UUIDv7.
    LeaseId
}
text_id! {
    /// One client request: `gen-{unix seconds}-{24 lower-case hex}`.
    RequestId
}

impl KeyHash {
    /// The id of the key with this secret.
    #[must_use]
    pub fn of_secret(secret: &str) -> Self {
        hex(&Sha256::digest(secret.as_bytes())).into()
    }
}

/// Lower-case hex of some bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// `lr_live_`: inference.
    Regular,
    /// `lr_mgmt_`: management, never a model.
    Management,
}

impl KeyKind {
    /// How every secret of this kind begins.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Regular => "lr_live_",
            Self::Management => "lr_mgmt_",
        }
    }
}

/// Makes ids from a clock and a source of random bytes.
pub trait Ids: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// A UUID version 7 (RFC 9562) of now.
    fn uuid(&self, clock: &dyn Clock) -> Uuid {
        let mut random = [0_u8; 10];
        self.fill(&mut random);
        let millis = u64::try_from(clock.now_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A new account's id.
    fn account(&self, clock: &dyn Clock) -> AccountId {
        format!("acc_{}", self.uuid(clock).simple()).into()
    }

    /// A new lease's id.
    fn lease(&self, clock: &dyn Clock) -> LeaseId {
        self.uuid(clock).to_string().into()
    }

    /// A new request's id.
    fn request(&self, clock: &dyn Clock) -> RequestId {
        let mut random = [0_u8; 12];
        self.fill(&mut random);
        format!("gen-{}-{}", clock.now_us() / 1_000_000, hex(&random)).into()
    }

    /// A new key's secret: the kind's prefix and 43 base62 characters of 256 random bits.
    fn secret(&self, kind: KeyKind) -> String {
        let mut random = [0_u8; 32];
        self.fill(&mut random);
        format!("{}{}", kind.prefix(), base62(random))
    }
}

/// Each thread's cryptographic generator, seeded and reseeded by the operating system: a request makes five ids, and a system call
/// for each of them was 2 % of its time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn fill(&self, buffer: &mut [u8]) {
        // Panics without randomness from the system: better to stop than to go on with a guessable secret.
        rand::rng().fill_bytes(buffer);
    }
}

/// What is shown of a secret: its first 12 and last 4 characters around `...`.
#[must_use]
pub fn label(secret: &str) -> String {
    let head: String = secret.chars().take(12).collect();
    let tail: String = secret.chars().skip(secret.chars().count().saturating_sub(4)).collect();
    format!("{head}...{tail}")
}

/// 256 bits as 43 base62 digits, most significant first.
fn base62(mut bytes: [u8; 32]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 43];
    for place in text.iter_mut().rev() {
        let mut remainder: u32 = 0;
        for byte in &mut bytes {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *place = DIGITS[usize::try_from(remainder).unwrap_or_default()];
    }
    text.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[test]
    fn secrets_have_the_documented_shape() {
        let secret = SystemIds.secret(KeyKind::Regular);
        assert_eq!(secret.len(), "lr_live_".len() + 43);
        assert_eq!(label(&secret).len(), 12 + 3 + 4);
        assert_ne!(secret, SystemIds.secret(KeyKind::Regular));
    }

    #[test]
    fn base62_of_the_largest_value_keeps_all_bits() {
        assert_eq!(base62([0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 62;
        assert!(base62(one).ends_with("10"));
        assert_ne!(base62([255; 32]), base62([254; 32]));
    }

    #[test]
    fn request_ids_have_the_documented_shape() {
        let id = SystemIds.request(&SystemClock);
        let parts: Vec<&str> = id.as_str().split('-').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!((parts[0], parts[2].len()), ("gen", 24));
    }
}
