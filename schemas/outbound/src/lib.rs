//! HTTP to addresses that callers choose: only the public internet is connected to. Each address is checked when a name is resolved for the
//! connection itself, so the address that is checked is the one that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{ClientBuilder, Url};

/// A name of which no address is public.
#[derive(Debug, thiserror::Error)]
#[error("the host has no public address")]
struct Private;

/// A resolver that yields public addresses only.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = all.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Private.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Restricts a client to names with public addresses, without a proxy. The caller must check the text of each address by [`is_public_host`],
/// that of redirects too, because literal addresses are not resolved.
pub fn public_only(builder: ClientBuilder) -> ClientBuilder {
    builder.no_proxy().dns_resolver(Arc::new(PublicOnly))
}

/// Returns whether an address may be connected to as far as its text says. A name is checked when it is resolved.
#[must_use]
pub fn is_public_host(url: &Url) -> bool {
    url.host_str().is_some_and(is_public_name)
}

/// Returns whether a host may be connected to as far as its text says.
#[must_use]
pub fn is_public_name(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().map_or_else(|_| !host.is_empty(), is_public)
}

/// Returns whether an address is of the public internet. Source: IANA's special-purpose address registries.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

/// Only global unicast addresses are public; of those, addresses that wrap an IPv4 address or that are reserved are not.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_global = first & 0xe000 == 0x2000;
    let is_reserved = first == 0x2002 || (first == 0x2001 && second < 0x0200) || (first == 0x2001 && second == 0x0db8);
    is_global && !is_reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached() {
        for private in [
            "http://127.0.0.1/x",
            "http://10.1.2.3/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[2002:7f00:1::]/",
            "http://[64:ff9b::7f00:1]/",
            "http://0.0.0.0/",
            "http://100.64.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
        ] {
            assert!(!is_public_host(&Url::parse(private).unwrap()), "{private}");
        }
        for public in ["http://93.184.216.34/", "https://example.com/a.png", "http://[2606:2800:220:1::1]/"] {
            assert!(is_public_host(&Url::parse(public).unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused_at_the_connection() {
        let _provider = rustls::crypto::ring::default_provider().install_default();
        let client = public_only(reqwest::Client::builder()).build().unwrap();
        let error = client.get("http://localhost:1/").send().await.unwrap_err();
        let text = format!("{error:?}");
        assert!(error.is_connect() && text.contains("Private"), "{text}");
    }
}
