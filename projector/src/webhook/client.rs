//! One HTTP request to an address that an account chose: to public addresses only, and without redirects.

use std::collections::BTreeMap;
use std::time::Duration;

use events::webhook::WebhookMethod;
use outbound::{is_public_host, public_only};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};

/// The longest wait for a response.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// The time for which an idle connection is kept.
const IDLE: Duration = Duration::from_secs(20);

/// The client of deliveries.
#[derive(Clone)]
pub struct WebhookClient {
    http: Client,
    allows_private: bool,
}

/// The reason why a request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("its address is no http or https address of a public host")]
    Address,
    #[error("a header cannot be sent")]
    Header,
    #[error("it does not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("it cannot be connected to, or has no public address")]
    Connect,
    #[error("the connection broke")]
    Broken,
}

impl WebhookClient {
    /// Creates a client. `allows_private` is for operators whose accounts may reach private networks.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn try_new(allows_private: bool) -> Result<Self, reqwest::Error> {
        let agent = concat!("arouter-webhooks/", env!("CARGO_PKG_VERSION"));
        let builder =
            Client::builder().redirect(Policy::none()).timeout(TIMEOUT).pool_idle_timeout(IDLE).pool_max_idle_per_host(8).user_agent(agent);
        let builder = if allows_private { builder.no_proxy() } else { public_only(builder) };
        Ok(Self { http: builder.build()?, allows_private })
    }

    /// Sends a JSON body and returns the status of the response.
    ///
    /// # Errors
    /// Fails if there is no response.
    pub async fn send(
        &self,
        (method, url): (WebhookMethod, &str),
        own: &BTreeMap<String, String>,
        signed: &[(&'static str, String)],
        body: String,
    ) -> Result<u16, SendError> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or(SendError::Address)?;
        if !self.allows_private && !is_public_host(&url) {
            return Err(SendError::Address);
        }
        let mut headers = HeaderMap::new();
        let all = own.iter().map(|(name, value)| (name.as_str(), value)).chain(signed.iter().map(|(name, value)| (*name, value)));
        for (name, value) in all {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| SendError::Header)?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| SendError::Header)?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let method = match method {
            WebhookMethod::Post => Method::POST,
            WebhookMethod::Put => Method::PUT,
        };
        let sent = self.http.request(method, url).headers(headers).body(body).send().await;
        sent.map(|response| response.status().as_u16()).map_err(|error| match (error.is_timeout(), error.is_connect()) {
            (true, _) => SendError::Timeout,
            (false, true) => SendError::Connect,
            (false, false) => SendError::Broken,
        })
    }
}
