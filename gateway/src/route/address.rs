//! The address of a provider's operation, parsed once at the start.

use http::{HeaderValue, Uri};

/// The address of one operation, with the parts that every request to it carries.
#[derive(Debug, Clone)]
pub struct Address {
    /// The full address, used to open a connection.
    pub uri: Uri,
    /// The path and query, as in the request line.
    pub path: Uri,
    /// The value of the `Host` header.
    pub host: HeaderValue,
    /// The scheme and authority. Connections to the same origin are interchangeable.
    pub origin: String,
}

impl Address {
    /// Parses an http or https address. Returns `None` for any other text, and for an address with credentials.
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
