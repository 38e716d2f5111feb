//! A provider: its format, its address, its credential.

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

/// How we name ourselves to providers.
const AGENT: &str = concat!("arouter/", env!("CARGO_PKG_VERSION"));

/// A provider that can be called.
#[derive(Debug)]
pub struct Provider {
    /// Its name in model ids.
    pub slug: String,
    /// What it speaks.
    pub format: Format,
    /// The address of its completions.
    pub completions: Address,
    /// The headers of every request to it, without the credential.
    headers: HeaderMap,
    /// The credential in the header that its format takes it in; `None` if it needs none.
    credential: Option<(HeaderName, HeaderValue)>,
    /// Whether it is called at the address that is known for its slug.
    pub is_original: bool,
    /// The field by which it takes a bound on completion tokens.
    pub cap_field: String,
    /// The call after its client has left.
    pub on_disconnect: OnDisconnect,
    /// How long such a call is read on.
    pub drain_timeout: Duration,
}

impl Provider {
    /// A provider as configured.
    ///
    /// # Errors
    /// When its address or credential cannot be used.
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
        // An answer that comes compressed all the same is decoded.
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

    /// How a model of its own counts prompts, where that is known: another service under the same name may serve anything.
    pub(super) fn tokenizer(&self, upstream_model: &str) -> Option<Tokenizer> {
        Tokenizer::of_openai(upstream_model).filter(|_| self.is_original && self.slug == "openai")
    }

    /// Returns the headers of a request to it, with its credential.
    #[must_use]
    pub fn request_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.extend(self.credential.clone());
        headers
    }
}

/// Returns the header in which a format takes a credential.
fn credential(format: Format, key: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
    let (name, mut value) = match format {
        Format::Chat => (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?),
    };
    value.set_sensitive(true);
    Ok((name, value))
}
