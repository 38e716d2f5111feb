//! Signatures of the ledger's facts: a reader can verify that a ledger wrote them, whatever else was written to the log.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::{Ids, hex};

/// The JSON member that contains an event's signature; always the last one.
const MEMBER: &str = ",\"mac\":\"";
/// The length of a key's id in characters.
const ID: usize = 8;
/// The length of a signature in characters: HMAC-SHA-256 in hex.
const MAC: usize = 64;
/// The number of characters from the member to the event's end.
const TAIL: usize = MEMBER.len() + ID + 1 + MAC + 2;

/// The keys that sign and verify facts. The first one signs; all of them verify.
#[derive(Clone)]
pub struct SigningKeys {
    keys: Vec<(String, Vec<u8>)>,
    /// The sequence up to which facts may be unsigned, because they were written before facts were signed.
    unsigned_until: u64,
}

impl SigningKeys {
    /// Generates a new key. Facts up to `unsigned_until` are accepted without a signature.
    #[must_use]
    pub fn generate(ids: &dyn Ids, unsigned_until: u64) -> Self {
        let mut random = [0; 36];
        ids.fill(&mut random);
        Self { keys: vec![(hex(&random[32..]), random[..32].to_vec())], unsigned_until }
    }

    /// Parses a key file: `unsigned-until N` and lines of `ID SECRET`, both in hex, the newest first.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut keys = Self { keys: Vec::new(), unsigned_until: 0 };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, value) = line.split_once(' ')?;
            if word == "unsigned-until" {
                keys.unsigned_until = value.trim().parse().ok()?;
            } else {
                let secret = unhex(value.trim()).filter(|secret| secret.len() >= 32)?;
                keys.keys.push((Some(word.to_owned()).filter(|id| id.len() == ID && unhex(id).is_some())?, secret));
            }
        }
        (!keys.keys.is_empty()).then_some(keys)
    }

    /// Returns the text of a key file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text =
            "# Signs the ledger's facts in the log. Keep it secret, and keep it: without it books cannot be made again from the log.\n\
                        # To rotate, put a new line first; the old ones still check what they signed.\n"
                .to_owned();
        if self.unsigned_until > 0 {
            let _infallible = writeln!(text, "unsigned-until {}", self.unsigned_until);
        }
        for (id, secret) in &self.keys {
            let _infallible = writeln!(text, "{id} {}", hex(secret));
        }
        text
    }

    /// Returns the id of the key that signs.
    #[must_use]
    pub fn id(&self) -> &str {
        self.keys.first().map_or("", |(id, _)| id)
    }

    /// Returns whether there is a key with this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|(known, _)| known == id)
    }

    /// Signs an event: all of its bytes except the closing brace.
    pub fn sign(&self, event: &mut Vec<u8>) {
        let Some((id, secret)) = self.keys.first() else { return };
        event.pop();
        let mac = mac(secret, event);
        event.extend_from_slice(format!("{MEMBER}{id}.{mac}\"}}").as_bytes());
    }

    /// Returns whether an event has a valid signature, or is unsigned and from before facts were signed.
    #[must_use]
    pub fn accepts(&self, event: &[u8], sequence: u64) -> bool {
        self.verifies(event).unwrap_or(sequence > 0 && sequence <= self.unsigned_until)
    }

    /// Returns whether the signature is valid; `None` if there is none.
    fn verifies(&self, event: &[u8]) -> Option<bool> {
        let (body, tail) = event.split_at_checked(event.len().checked_sub(TAIL)?)?;
        let tail = std::str::from_utf8(tail).ok()?.strip_prefix(MEMBER)?.strip_suffix("\"}")?;
        let (id, given) = tail.split_once('.')?;
        let secret = self.keys.iter().find(|(known, _)| known == id).map(|(_, secret)| secret);
        // `verify_slice` compares in constant time.
        Some(secret.is_some_and(|secret| Some(()) == unhex(given).and_then(|given| keyed(secret, body)?.verify_slice(&given).ok())))
    }
}

fn keyed(secret: &[u8], body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(body);
    Some(mac)
}

fn mac(secret: &[u8], body: &[u8]) -> String {
    keyed(secret, body).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SystemIds;

    #[test]
    fn only_what_a_known_key_signed_is_accepted() {
        let keys = SigningKeys::generate(&SystemIds, 0);
        let plain = br#"{"id":"e","data":{"a":1},"sequence":"7"}"#.to_vec();
        let mut event = plain.clone();
        keys.sign(&mut event);
        assert!(serde_json::from_slice::<serde_json::Value>(&event).is_ok(), "it is still JSON");
        assert!(keys.accepts(&event, 7));
        assert!(!keys.accepts(&plain, 7), "not signed");
        assert!(!SigningKeys::generate(&SystemIds, 0).accepts(&event, 7), "another's");
        for at in 0..event.len() {
            let mut changed = event.clone();
            changed[at] ^= 1;
            assert!(!keys.accepts(&changed, 7), "byte {at} changed");
        }
        let reloaded = SigningKeys::parse(&keys.to_text()).unwrap();
        assert!(reloaded.accepts(&event, 7));
    }

    #[test]
    fn keys_are_rotated_and_old_facts_are_taken_up_to_a_sequence() {
        let (old, new) = (SigningKeys::generate(&SystemIds, 5), SigningKeys::generate(&SystemIds, 0));
        let both = SigningKeys::parse(&format!("{}{}", new.to_text(), old.to_text())).unwrap();
        let (mut event, mut older) = (b"{\"a\":1}".to_vec(), b"{\"a\":1}".to_vec());
        both.sign(&mut event);
        old.sign(&mut older);
        assert!(new.accepts(&event, 9) && both.accepts(&older, 9) && !new.accepts(&older, 9));
        assert!(both.accepts(b"{\"a\":1}", 5) && !both.accepts(b"{\"a\":1}", 6));
        for bad in
            ["", "unsigned-until x", "short 00", "0123abcd 00", "0123abcx 0000000000000000000000000000000000000000000000000000000000000000"]
        {
            assert!(SigningKeys::parse(bad).is_none(), "{bad}");
        }
    }
}
