//! Authentication of callers: finds the credential in any of the places that SDKs put it, and looks it up in memory.

pub mod catalogs;
pub mod provider_keys;
pub mod directory;
pub mod change_log;
pub mod follow;
pub mod announcements;

use std::sync::Arc;

use events::ids::KeyKind;
use http::HeaderMap;

use crate::error::GatewayError;
pub use directory::{Directory, KeyEntry};

/// Headers whose whole value is a credential.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "x-goog-api-key"];

/// Returns the credential of a call.
///
/// # Errors
/// Returns 401 if there is none, or if there are several different ones.
pub fn credential<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Result<&'a str, GatewayError> {
    // An authorization header without a bearer token counts as a credential too, one that matches no key.
    let bearer = headers.get_all(http::header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().unwrap_or("?");
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.map_or(text, |(_, token)| token.trim())
    });
    let named = KEY_HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(|value| value.to_str().unwrap_or("?"));
    let in_query = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("key="));
    let mut given = bearer.chain(named).chain(in_query).filter(|credential| !credential.is_empty());
    let first = given.next().ok_or(GatewayError::Unauthenticated)?;
    if given.any(|other| other != first) {
        return Err(GatewayError::Unauthenticated);
    }
    Ok(first)
}

impl Directory {
    /// Returns the key of a call if it may be used now.
    ///
    /// # Errors
    /// Returns 401, with one message for missing, unknown, deleted, expired and disabled keys. Returns 403 if the account is suspended.
    pub fn identify(&self, headers: &HeaderMap, query: Option<&str>, now_us: i64) -> Result<Arc<KeyEntry>, GatewayError> {
        let secret = credential(headers, query)?;
        let entry = self.find_secret(secret).ok_or(GatewayError::Unauthenticated)?;
        let expired = entry.key.expires_at_us.is_some_and(|expires| expires <= now_us);
        if entry.key.disabled || expired {
            return Err(GatewayError::Unauthenticated);
        }
        if self.is_suspended(&entry.key.account) { Err(GatewayError::Suspended) } else { Ok(entry) }
    }

    /// Returns the key of a call if it may call models.
    ///
    /// # Errors
    /// Fails like [`Self::identify`]; returns 403 for a management key.
    pub fn identify_inference(&self, headers: &HeaderMap, query: Option<&str>, now_us: i64) -> Result<Arc<KeyEntry>, GatewayError> {
        let entry = self.identify(headers, query, now_us)?;
        match entry.key.kind {
            KeyKind::Regular => Ok(entry),
            KeyKind::Management => {
                Err(GatewayError::Forbidden("a management key cannot call models; use an API key (lr_live_...)".to_owned()))
            }
        }
    }

    /// Returns the key of a call if it may manage keys.
    ///
    /// # Errors
    /// Fails like [`Self::identify`]; returns 403 for a regular key.
    pub fn identify_management(&self, headers: &HeaderMap, query: Option<&str>, now_us: i64) -> Result<Arc<KeyEntry>, GatewayError> {
        let entry = self.identify(headers, query, now_us)?;
        match entry.key.kind {
            KeyKind::Management => Ok(entry),
            KeyKind::Regular => {
                Err(GatewayError::Forbidden("an API key cannot manage keys; use a management key (lr_mgmt_...)".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn each_place_works_and_differing_ones_are_refused() {
        assert_eq!(credential(&headers(&[("authorization", "Bearer k")]), None).unwrap(), "k");
        assert_eq!(credential(&headers(&[("x-api-key", "k")]), Some("alt=sse&key=k")).unwrap(), "k");
        assert!(credential(&headers(&[("authorization", "Bearer k"), ("x-api-key", "other")]), None).is_err());
        assert!(credential(&headers(&[("authorization", "Bearer k")]), Some("key=other")).is_err());
        assert_eq!(credential(&headers(&[("authorization", "Basic k")]), None).unwrap(), "Basic k", "nobody's key");
        assert!(credential(&headers(&[("authorization", "Basic k"), ("x-api-key", "k")]), None).is_err());
        assert_eq!(credential(&headers(&[("x-goog-api-key", "k")]), Some("key=k")).unwrap(), "k");
        assert!(credential(&headers(&[]), Some("key=k&key=other")).is_err());
        let mut twice = headers(&[("authorization", "Bearer k")]);
        twice.append("authorization", http::HeaderValue::from_static("Bearer other"));
        assert!(credential(&twice, None).is_err());
    }
}
