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
    /// The id of an account: `acc_` and 32 lower-case hex digits of a UUIDv7.
    AccountId
}
text_id! {
    /// The public id of a key: the lower-case hex SHA-256 of its secret (64 digits).
    KeyHash
}
text_id! {
    /// The id of a lease, the part of an account's credit that is lent to one gateway. It is a UUIDv7.
    LeaseId
}
text_id! {
    /// The id of one client request: `gen-{unix seconds}-{24 lower-case hex}`.
    RequestId
}

impl KeyHash {
    /// Returns the id of the key with this secret.
    #[must_use]
    pub fn of_secret(secret: &str) -> Self {
        hex(&Sha256::digest(secret.as_bytes())).into()
    }
}

/// Returns bytes as lower-case hex.
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

/// The purpose of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Inference; secrets begin with `lr_live_`.
    Regular,
    /// Management, never a model; secrets begin with `lr_mgmt_`.
    Management,
}

impl KeyKind {
    /// Returns the prefix of every secret of this kind.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Regular => "lr_live_",
            Self::Management => "lr_mgmt_",
        }
    }
}

/// A source of ids, made from a clock and random bytes.
pub trait Ids: Send + Sync {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// Returns an unpredictable number.
    fn seed(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Returns a UUID version 7 (RFC 9562) of now.
    fn uuid(&self, clock: &dyn Clock) -> Uuid {
        let mut random = [0_u8; 10];
        self.fill(&mut random);
        let millis = u64::try_from(clock.now_us() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn account(&self, clock: &dyn Clock) -> AccountId {
        format!("acc_{}", self.uuid(clock).simple()).into()
    }

    fn lease(&self, clock: &dyn Clock) -> LeaseId {
        self.uuid(clock).to_string().into()
    }

    fn request(&self, clock: &dyn Clock) -> RequestId {
        let mut random = [0_u8; 12];
        self.fill(&mut random);
        format!("gen-{}-{}", clock.now_us() / 1_000_000, hex(&random)).into()
    }

    /// Returns a new key's secret: the kind's prefix and 43 base62 characters of 256 random bits.
    fn secret(&self, kind: KeyKind) -> String {
        let mut random = [0_u8; 32];
        self.fill(&mut random);
        secret_of(kind, random)
    }
}

/// Returns the secret of a key that is made from 256 unpredictable bits.
#[must_use]
pub fn secret_of(kind: KeyKind, bits: [u8; 32]) -> String {
    format!("{}{}", kind.prefix(), base62(bits))
}

/// The cryptographic generator of each thread, seeded and reseeded by the operating system. A request needs five ids, and a system call for
/// each of them took 2 % of its time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn fill(&self, buffer: &mut [u8]) {
        // Panics if the system has no randomness: it is better to stop than to continue with a guessable secret.
        rand::rng().fill_bytes(buffer);
    }
}

/// Returns the part of a secret that is shown: its first 12 and last 4 characters around `...`.
#[must_use]
pub fn label(secret: &str) -> String {
    let head: String = secret.chars().take(12).collect();
    let tail: String = secret.chars().skip(secret.chars().count().saturating_sub(4)).collect();
    format!("{head}...{tail}")
}

/// Returns 256 bits as 43 base62 digits, most significant first.
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
