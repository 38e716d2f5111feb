//! A provider: its format, address and credential.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use pricing::known_providers;
use wire::call::Format;

use super::address::Address;
use super::names;
use super::table::RouteError;
use super::tokens::Tokenizer;
use crate::config::{OnDisconnect, ProviderConfig};

/// The user agent in requests to providers.
const AGENT: &str = concat!("arouter/", env!("CARGO_PKG_VERSION"));

/// A provider that can be called.
#[derive(Debug)]
pub struct Provider {
    /// The provider's name in model ids.
    pub slug: String,
    /// The API format of the provider.
    pub format: Format,
    /// The address of the chat completions operation.
    pub completions: Address,
    /// The headers of every request to the provider, without the credential.
    headers: HeaderMap,
    /// The header that carries the credential; `None` if the provider needs none.
    credential: Option<(HeaderName, HeaderValue)>,
    /// Whether the provider is called at the known address of its slug, not at a configured one.
    pub is_original: bool,
    /// The field by which the provider accepts a bound on completion tokens.
    pub cap_field: String,
    /// The treatment of a call after its client has disconnected.
    pub on_disconnect: OnDisconnect,
    /// The maximum time for which such a call is read further.
    pub drain_timeout: Duration,
}

impl Provider {
    /// Creates a provider from its configuration.
    ///
    /// # Errors
    /// Fails if the base URL is missing or invalid, or if the credential cannot be sent in a header.
    pub fn try_new(config: &ProviderConfig) -> Result<Self, RouteError> {
        let slug = names::author_of(&config.slug);
        let known = known_providers::find(&slug);
        let base =
            config.base_url.as_deref().or_else(|| known.map(|known| known.base_url)).ok_or_else(|| RouteError::NoBaseUrl(slug.clone()))?;
        let completions = Address::parse(&format!("{}/chat/completions", base.trim_end_matches('/')))
            .ok_or_else(|| RouteError::BadBaseUrl { slug: slug.clone(), url: base.to_owned() })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // A response that is compressed nevertheless is decoded.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let credential = config.api_key.as_deref().map(|key| credential(config.format, key));
        let credential = credential.transpose().map_err(|_| RouteError::BadCredential(slug.clone()))?;
        let is_original = config.base_url.is_none();
        let cap_field =
            config.max_tokens_field.clone().unwrap_or_else(|| known.map_or("max_tokens", |known| known.max_tokens_field).to_owned());
        let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
        Ok(Self {
            format: config.format,
            completions,
            headers,
            credential,
            is_original,
            cap_field,
            on_disconnect: config.on_disconnect,
            drain_timeout,
            slug,
        })
    }

    /// Returns the tokenizer of a model, if known. Only OpenAI at its own address has one: another service under that name may serve any
    /// model.
    pub(super) fn tokenizer(&self, upstream_model: &str) -> Option<Tokenizer> {
        Tokenizer::of_openai(upstream_model).filter(|_| self.is_original && self.slug == "openai")
    }

    /// Returns the headers of a request to the provider, including its credential.
    #[must_use]
    pub fn request_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.extend(self.credential.clone());
        headers
    }
}

/// Returns the header that carries a credential in a format.
fn credential(format: Format, key: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
    let (name, mut value) = match format {
        Format::Chat => (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?),
    };
    value.set_sensitive(true);
    Ok((name, value))
}
