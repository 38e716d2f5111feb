//! The address of a provider's operation, parsed once.

use http::{HeaderValue, Uri};

/// Where a provider is asked: what stands in every request to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The whole address.
    pub address: Uri,
    /// Path and query, as the request line has them.
    pub path: Uri,
    /// The `Host` header.
    pub host: HeaderValue,
    /// Scheme and authority: connections to it are alike.
    pub origin: String,
}

impl Endpoint {
    /// The endpoint at an http or https address; `None` for anything else.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let address: Uri = address.parse().ok()?;
        let scheme = address.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let authority = address.authority().filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))?;
        Some(Self {
            path: address.path_and_query().map_or("/", |path| path.as_str()).parse().ok()?,
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            origin: format!("{scheme}://{authority}"),
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_http_addresses_without_credentials() {
        let endpoint = Endpoint::parse("https://api.example.com:8443/v1/chat/completions").unwrap();
        assert_eq!((endpoint.path.path(), endpoint.host.to_str().unwrap()), ("/v1/chat/completions", "api.example.com:8443"));
        assert_eq!(endpoint.origin, "https://api.example.com:8443");
        for bad in ["ftp://x/y", "/v1", "http://", "x", "http://user:secret@x/v1"] {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }
}
