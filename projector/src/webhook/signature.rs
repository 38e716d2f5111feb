//! Signatures of deliveries. Source: Standard Webhooks 1.0.0, "Signature scheme".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The beginning of every secret; base64 follows.
pub const PREFIX: &str = "whsec_";

/// Returns the value of `webhook-signature`: for each secret `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, separated by spaces.
/// `None` if a secret is malformed.
#[must_use]
pub fn sign<'a>(secrets: impl IntoIterator<Item = &'a str>, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signatures: Option<Vec<String>> = secrets.into_iter().map(|secret| tag(secret, id, timestamp, body)).collect();
    signatures.map(|signatures| signatures.join(" "))
}

fn tag(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The test vector of the specification's reference libraries.
    #[test]
    fn the_vector_of_the_specification() {
        let signed = sign([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let both = sign([SECRET, other], "m", 1, b"{}").unwrap();
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.starts_with(&sign([SECRET], "m", 1, b"{}").unwrap()));
        assert_eq!(sign([SECRET, "no secret"], "m", 1, b"{}"), None);
    }
}
