//! Who calls, as the gateway tells the ledger and the projector: a signed header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::ids::{AccountId, KeyHash, KeyKind};

/// The header that carries a signed [`Caller`].
pub const CALLER_HEADER: &str = "x-arouter-caller";

/// How long a signed caller is good for, microseconds.
const VALID_US: i64 = 30_000_000;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Whose data it may read.
    pub account: AccountId,
    /// The credential it used.
    pub key: KeyHash,
    /// What the credential may do.
    pub kind: KeyKind,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    caller: Caller,
    signed_at_us: i64,
}

/// The secret that gateway, ledger and projector share; at least 32 characters when configured.
#[derive(Clone)]
pub struct InternalSecret(pub Vec<u8>);

impl InternalSecret {
    /// The header's value for a caller.
    #[must_use]
    pub fn sign(&self, caller: Caller, now_us: i64) -> String {
        let signed = Signed { caller, signed_at_us: now_us };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&signed).unwrap_or_default());
        let signature = self.mac(&body).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        format!("{body}.{}", signature.unwrap_or_default())
    }

    /// The caller, when the signature holds and is fresh.
    #[must_use]
    pub fn verify(&self, header: &str, now_us: i64) -> Option<Caller> {
        let (body, signature) = header.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(body)?.verify_slice(&signature).ok()?;
        let signed: Signed = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        ((now_us - signed.signed_at_us).abs() <= VALID_US).then_some(signed.caller)
    }

    fn mac(&self, body: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(body.as_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_and_true_signature_is_believed() {
        let caller = Caller { account: "acc_1".into(), key: "k".into(), kind: KeyKind::Regular };
        let secret = InternalSecret(b"0123456789".to_vec());
        let header = secret.sign(caller.clone(), 1_000);
        assert_eq!(secret.verify(&header, 2_000), Some(caller));
        assert_eq!(secret.verify(&header, 1_000 + VALID_US + 1), None);
        assert_eq!(InternalSecret(b"other".to_vec()).verify(&header, 2_000), None);
        assert_eq!(secret.verify("a.b", 2_000), None);
    }
}
