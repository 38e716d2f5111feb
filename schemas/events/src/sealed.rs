//! Secrets at rest: AES-256-GCM under a master key of the operator. A sealed text opens only for the account, purpose and id it was sealed
//! for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::ids::{Ids, hex};

/// The format of sealed texts.
const FORMAT: &str = "v1";
/// The minimum number of characters of a master key's text.
pub const TEXT_CHARS_MIN: usize = 32;

/// The reason why a text cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A text of a master key that is too short.
    #[error("a master key needs at least {TEXT_CHARS_MIN} characters")]
    Short,
    /// A text that was sealed with a master key that is not here.
    #[error("it is sealed with master key {0}, which is not here: add that key's text to secrets.master_key")]
    Unknown(String),
    /// A damaged text, or one of another account, purpose or id.
    #[error("it is damaged, or belongs elsewhere")]
    Damaged,
}

/// The owner and the use of a secret.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub account: &'a str,
    /// The kind of secret, such as `webhook.secret`.
    pub purpose: &'a str,
    /// The id of the object that has the secret.
    pub id: &'a str,
}

impl Place<'_> {
    /// Returns the associated data. Each word follows its length, so that no two places have the same bytes.
    fn associated(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [self.account, self.purpose, self.id] {
            bytes.extend_from_slice(&u64::try_from(word.len()).unwrap_or(u64::MAX).to_le_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes
    }
}

/// The master keys: the first one seals, every one opens.
pub struct MasterKeys(Vec<(String, LessSafeKey)>);

impl MasterKeys {
    /// Reads keys from a text: one key, or several separated by white space, newest first.
    ///
    /// # Errors
    /// Fails if there is none, or if one is too short.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let mut keys = Vec::new();
        for text in text.split_whitespace() {
            if text.len() < TEXT_CHARS_MIN {
                return Err(SealError::Short);
            }
            let bytes = Sha256::new().chain_update(b"arouter master key\0").chain_update(text.as_bytes()).finalize();
            let id = hex(Sha256::digest(bytes).get(..4).unwrap_or_default());
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Short)?;
            keys.push((id, LessSafeKey::new(key)));
        }
        if keys.is_empty() { Err(SealError::Short) } else { Ok(Self(keys)) }
    }

    /// Encrypts a text: `v1.{key id}.{base64url of nonce, ciphertext and tag}`.
    ///
    /// # Errors
    /// Fails if the text is too long for the cipher.
    pub fn seal(&self, place: &Place<'_>, plain: &str, ids: &dyn Ids) -> Result<String, SealError> {
        let (id, key) = self.0.first().ok_or(SealError::Short)?;
        let mut nonce = [0_u8; NONCE_LEN];
        ids.fill(&mut nonce);
        let mut text = plain.as_bytes().to_vec();
        let associated = Aad::from(place.associated());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut text).map_err(|_| SealError::Damaged)?;
        let bytes = [nonce.as_slice(), &text].concat();
        Ok(format!("{FORMAT}.{id}.{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Decrypts a text that was sealed for the same place.
    ///
    /// # Errors
    /// Fails if the key is missing, or if the text is damaged or was sealed for another place.
    pub fn open(&self, place: &Place<'_>, sealed: &str) -> Result<String, SealError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(FORMAT), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return Err(SealError::Damaged) };
        let (_, key) = self.0.iter().find(|(own, _)| own == id).ok_or_else(|| SealError::Unknown(id.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Damaged)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut text = text.to_vec();
        let plain = key.open_in_place(nonce, Aad::from(place.associated()), &mut text).map_err(|_| SealError::Damaged)?;
        String::from_utf8(plain.to_vec()).map_err(|_| SealError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SystemIds;

    const OLD: &str = "old-0123456789abcdef0123456789abcdef";
    const NEW: &str = "new-0123456789abcdef0123456789abcdef";

    fn place<'a>(account: &'a str, id: &'a str) -> Place<'a> {
        Place { account, purpose: "webhook.secret", id }
    }

    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let keys = MasterKeys::parse(OLD).unwrap();
        let sealed = keys.seal(&place("a", "1"), "whsec_x", &SystemIds).unwrap();
        assert_eq!(keys.open(&place("a", "1"), &sealed).unwrap(), "whsec_x");
        assert_ne!(sealed, keys.seal(&place("a", "1"), "whsec_x", &SystemIds).unwrap(), "every nonce is new");
        for elsewhere in [place("b", "1"), place("a", "2"), place("a1", ""), Place { purpose: "other", ..place("a", "1") }] {
            assert_eq!(keys.open(&elsewhere, &sealed), Err(SealError::Damaged));
        }
        let last = sealed.char_indices().next_back().unwrap();
        let damaged = format!("{}{}", &sealed[..last.0 - 1], if sealed[last.0 - 1..].starts_with('A') { "BB" } else { "AA" });
        assert_eq!(keys.open(&place("a", "1"), &damaged), Err(SealError::Damaged));
    }

    #[test]
    fn a_new_master_key_opens_what_the_old_one_sealed_while_both_are_here() {
        let old = MasterKeys::parse(OLD).unwrap();
        let sealed = old.seal(&place("a", "1"), "x", &SystemIds).unwrap();
        let both = MasterKeys::parse(&format!("{NEW}\n{OLD}")).unwrap();
        assert_eq!(both.open(&place("a", "1"), &sealed).unwrap(), "x");
        let resealed = both.seal(&place("a", "1"), "x", &SystemIds).unwrap();
        assert!(matches!(old.open(&place("a", "1"), &resealed), Err(SealError::Unknown(_))));
        assert!(MasterKeys::parse("short").is_err() && MasterKeys::parse(" ").is_err());
    }
}
