//! The address of a provider's operation, parsed once.

use http::{HeaderValue, Uri};

/// The address of one operation, with the parts that stand in every request to it.
#[derive(Debug, Clone)]
pub struct Address {
    /// The whole address.
    pub uri: Uri,
    /// Path and query, as the request line has them.
    pub path: Uri,
    /// The `Host` header.
    pub host: HeaderValue,
    /// Scheme and authority: connections to it are alike.
    pub origin: String,
}

impl Address {
    /// Parses an http or https address; returns `None` for anything else.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let address: Uri = address.parse().ok()?;
        let scheme = address.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let authority = address.authority().filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))?;
        Some(Self {
            path: address.path_and_query().map_or("/", |path| path.as_str()).parse().ok()?,
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            origin: format!("{scheme}://{authority}"),
            uri: address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_addresses_without_credentials() {
        let address = Address::parse("https://api.example.com:8443/v1/chat/completions").unwrap();
        assert_eq!((address.path.path(), address.host.to_str().unwrap()), ("/v1/chat/completions", "api.example.com:8443"));
        assert_eq!(address.origin, "https://api.example.com:8443");
        for bad in ["ftp://x/y", "/v1", "http://", "x", "http://user:secret@x/v1"] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }
}
