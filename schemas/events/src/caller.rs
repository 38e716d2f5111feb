//! Authentication between the processes with their shared secret: the caller of a read route, and the sender of a request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::ids::{AccountId, KeyHash, KeyKind};

/// The header that carries a signed [`Caller`].
pub const CALLER_HEADER: &str = "x-arouter-caller";

/// The time for which a signed caller is valid, in microseconds.
const VALID_US: i64 = 30_000_000;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The account whose data it may read.
    pub account: AccountId,
    pub key: KeyHash,
    pub kind: KeyKind,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    caller: Caller,
    signed_at_us: i64,
}

/// The reason why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A signature made with another secret, or for another message.
    #[error("it is not signed with the same internal.secret")]
    Forged,
    /// A valid signature made at another time: the clocks of the two machines differ, or the message was sent again.
    #[error("it was signed more than 30 s before or after this machine's time: set the clocks of both machines by NTP")]
    Time,
}

/// The secret that gateway, ledger and projector share; at least 32 characters if it is configured.
#[derive(Clone)]
pub struct InternalSecret(pub Vec<u8>);

impl InternalSecret {
    /// Returns the header's value for a caller of one method and target, which is path and query.
    #[must_use]
    pub fn sign(&self, caller: Caller, method: &str, target: &str, now_us: i64) -> String {
        let signed = Signed { caller, signed_at_us: now_us };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&signed).unwrap_or_default());
        let signature = self.tag(&["caller", method, target, &body], &[]);
        format!("{body}.{signature}")
    }

    /// Returns the caller if the signature belongs to this method and target, and is fresh.
    pub fn verify(&self, header: &str, method: &str, target: &str, now_us: i64) -> Result<Caller, Distrust> {
        let (body, signature) = header.split_once('.').ok_or(Distrust::Forged)?;
        self.check(&["caller", method, target, body], &[], signature)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| Distrust::Forged)?;
        let signed: Signed = serde_json::from_slice(&bytes).map_err(|_| Distrust::Forged)?;
        if is_fresh(signed.signed_at_us, now_us) { Ok(signed.caller) } else { Err(Distrust::Time) }
    }

    /// Returns the tag of a message: of some words that describe it, and of its bytes.
    #[must_use]
    pub fn tag(&self, words: &[&str], bytes: &[u8]) -> String {
        self.mac(words, bytes).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// Returns 32 bytes that only holders of the secret can derive from these words.
    #[must_use]
    pub fn derive(&self, words: &[&str]) -> [u8; 32] {
        self.mac(words, &[]).map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
    }

    /// Checks the tag of a message in constant time.
    pub fn check(&self, words: &[&str], bytes: &[u8], tag: &str) -> Result<(), Distrust> {
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| Distrust::Forged)?;
        let mac = self.mac(words, bytes).ok_or(Distrust::Forged)?;
        mac.verify_slice(&tag).map_err(|_| Distrust::Forged)
    }

    fn mac(&self, words: &[&str], bytes: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for word in words {
            // The word's length comes first, so that no two messages give the same bytes.
            mac.update(&u64::try_from(word.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(word.as_bytes());
        }
        mac.update(bytes);
        Some(mac)
    }
}

/// Returns whether a signing time is near enough to now.
#[must_use]
pub const fn is_fresh(signed_at_us: i64, now_us: i64) -> bool {
    now_us.saturating_sub(signed_at_us).saturating_abs() <= VALID_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_and_true_signature_of_this_address_is_believed() {
        let caller = Caller { account: "acc_1".into(), key: "k".into(), kind: KeyKind::Regular };
        let secret = InternalSecret(b"0123456789".to_vec());
        let header = secret.sign(caller.clone(), "GET", "/a?b", 1_000);
        let verify = |secret: &InternalSecret, method: &str, target: &str, now_us| secret.verify(&header, method, target, now_us);
        assert_eq!(verify(&secret, "GET", "/a?b", 2_000), Ok(caller));
        assert_eq!(verify(&secret, "GET", "/a?b", 1_000 + VALID_US + 1), Err(Distrust::Time));
        assert_eq!(verify(&secret, "GET", "/a?b", 1_000 - VALID_US - 1), Err(Distrust::Time));
        assert_eq!(verify(&secret, "POST", "/a?b", 2_000), Err(Distrust::Forged));
        assert_eq!(verify(&secret, "GET", "/a", 2_000), Err(Distrust::Forged));
        assert_eq!(verify(&InternalSecret(b"other".to_vec()), "GET", "/a?b", 2_000), Err(Distrust::Forged));
        assert_eq!(secret.verify("a.b", "GET", "/a?b", 2_000), Err(Distrust::Forged));
    }

    #[test]
    fn words_do_not_run_into_each_other() {
        let secret = InternalSecret(b"0123456789".to_vec());
        assert_ne!(secret.tag(&["a", "bc"], b""), secret.tag(&["ab", "c"], b""));
        assert_ne!(secret.tag(&["a"], b"b"), secret.tag(&["ab"], b""));
    }
}
