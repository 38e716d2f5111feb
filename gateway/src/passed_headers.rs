//! The headers of a call that is passed to a provider untouched.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of a connection, which are not passed on. Source: RFC 9110, section 7.6.1.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers of a client that do not concern the provider: its credential for the gateway, and those that the gateway sets itself.
const CLIENT_ONLY: [&str; 8] =
    ["authorization", "x-api-key", "x-goog-api-key", "host", "content-length", "accept-encoding", "cookie", "content-encoding"];

/// Returns the client's headers for the provider, with the provider's credential in place of the client's.
#[must_use]
pub fn upstream_headers(client: &HeaderMap, credential: Option<&(HeaderName, HeaderValue)>) -> HeaderMap {
    let is_passed = |name: &HeaderName| !HOP_BY_HOP.contains(&name.as_str()) && !CLIENT_ONLY.contains(&name.as_str());
    let mut headers: HeaderMap =
        client.iter().filter(|(name, _)| is_passed(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.extend(credential.cloned());
    headers
}
