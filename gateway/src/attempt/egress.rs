//! The ways to providers: directly, to public addresses only, or through a provider's own proxy and with its own certificates.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower::{BoxError, ServiceExt};

use crate::config::ProviderConfig;

/// The interval of keep-alive probes on a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The number of unanswered probes after which a connection is closed.
const KEEP_ALIVE_TRIES: u32 = 4;

/// A stream to a provider, with or without TLS.
pub type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The opener of connections.
#[derive(Clone)]
pub struct Connector {
    way: Way,
    pub is_public_only: bool,
}

#[derive(Clone)]
enum Way {
    Direct(HttpsConnector<HttpConnector<Resolver>>),
    /// Through a proxy, by `CONNECT`.
    Tunnel(HttpsConnector<Tunnel<HttpConnector<Resolver>>>),
}

/// A way to a provider that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("TLS to providers: {0}")]
    Tls(#[from] rustls::Error),
    #[error("provider {slug}: ca_file {}: {cause}; name a file with certificates in PEM", path.display())]
    Certificates { slug: String, path: PathBuf, cause: pem::Error },
    #[error("provider {slug}: proxy_url is no http://HOST:PORT, with or without USER:PASSWORD@ before the host")]
    Proxy { slug: String },
}

impl Connector {
    /// Returns a connector without a proxy. `is_public_only` keeps it from connecting to private addresses.
    ///
    /// # Errors
    /// Fails if the system's certificates cannot be used.
    pub fn direct(is_public_only: bool) -> Result<Self, rustls::Error> {
        let way = Way::Direct(with_tls(tls(Vec::new())?, tcp(is_public_only)));
        Ok(Self { way, is_public_only })
    }

    /// Returns the connector of a provider with a proxy or certificates of its own; `None` if it has neither.
    ///
    /// # Errors
    /// Fails if they cannot be used.
    pub fn of_provider(config: &ProviderConfig) -> Result<Option<Self>, EgressError> {
        if config.proxy_url.is_none() && config.ca_file.is_none() {
            return Ok(None);
        }
        let tls = tls(config.ca_file.as_deref().map(|path| certificates(&config.slug, path)).transpose()?.unwrap_or_default())?;
        let way = match &config.proxy_url {
            None => Way::Direct(with_tls(tls, tcp(false))),
            Some(url) => {
                let tunnel = tunnel(url).ok_or_else(|| EgressError::Proxy { slug: config.slug.clone() })?;
                Way::Tunnel(with_tls(tls, tunnel))
            }
        };
        Ok(Some(Self { way, is_public_only: false }))
    }

    /// Opens a connection to the origin of an address.
    ///
    /// # Errors
    /// Fails if there is no connection, or if the certificate of the other side is not trusted.
    pub async fn connect(&self, to: &Uri) -> Result<Stream, BoxError> {
        match &self.way {
            Way::Direct(connector) => connector.clone().oneshot(to.clone()).await,
            Way::Tunnel(connector) => connector.clone().oneshot(with_port(to)?).await,
        }
    }
}

fn tcp(is_public_only: bool) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver { is_public_only });
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // The probes detect a provider that disappeared silently while a model thinks.
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_TRIES));
    tcp
}

/// Returns settings that trust the system's certificates, and these.
fn tls(further: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier::new_with_extra_roots(further, Arc::clone(&provider))?);
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn with_tls<C>(tls: ClientConfig, connector: C) -> HttpsConnector<C> {
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector)
}

fn certificates(slug: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let of = |cause| EgressError::Certificates { slug: slug.to_owned(), path: path.to_owned(), cause };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(of)?;
    if found.is_empty() { Err(of(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Returns the connector to a proxy; `None` if the address is not one.
fn tunnel(proxy_url: &str) -> Option<Tunnel<HttpConnector<Resolver>>> {
    let url = Url::parse(proxy_url).ok().filter(|url| url.scheme() == "http")?;
    let proxy: Uri = format!("http://{}:{}", url.host_str()?, url.port_or_known_default()?).parse().ok()?;
    let tunnel = Tunnel::new(proxy, tcp(false));
    let Some(password) = url.password() else { return Some(tunnel) };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
    let credentials = STANDARD.encode(format!("{}:{}", decoded(url.username())?, decoded(password)?));
    Some(tunnel.with_auth(HeaderValue::from_str(&format!("Basic {credentials}")).ok()?))
}

/// Returns the address with its port, which a tunnel would take for 443.
fn with_port(to: &Uri) -> Result<Uri, BoxError> {
    if to.port().is_some() || to.scheme_str() != Some("http") {
        return Ok(to.clone());
    }
    Ok(format!("http://{}:80{}", to.host().unwrap_or_default(), to.path()).parse()?)
}

/// The resolution of names, of which private addresses may be left out.
#[derive(Clone, Copy)]
struct Resolver {
    is_public_only: bool,
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_public_only = self.is_public_only;
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable: Vec<SocketAddr> = all.filter(|address| !is_public_only || outbound::is_public(address.ip())).collect();
            Ok(usable.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_http_addresses() {
        for good in ["http://10.0.0.1:3128", "http://user:p%40ss@proxy", "http://proxy/"] {
            assert!(tunnel(good).is_some(), "{good}");
        }
        for bad in ["https://proxy:3128", "socks5://proxy", "proxy:3128", "http://", ""] {
            assert!(tunnel(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_tunnel_gets_the_port_of_the_scheme() {
        let port = |address: &str| with_port(&address.parse().unwrap()).unwrap().port_u16();
        assert_eq!((port("http://a/v1"), port("http://a:8080/v1"), port("https://a/v1")), (Some(80), Some(8_080), None));
    }
}
