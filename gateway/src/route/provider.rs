//! A provider: its API, address and credential.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pricing::known_providers::{self, ProviderFormat};
use routing::pool::Pool;
use wire::call::{Embeddings, Format};
use wire::dialect::Dialect;

use super::address::Address;
use super::names;
use super::table::RouteError;
use super::tokens::Tokenizer;
use crate::config::{OnDisconnect, ProviderConfig, ResponsesUse, Unmetered};

/// The user agent in requests to providers.
const AGENT: &str = concat!("arouter/", env!("CARGO_PKG_VERSION"));
/// The version of Anthropic's API in which translated requests are written: the newest one that takes sampling parameters.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Headers of Anthropic's clients that are passed on to Anthropic.
const ANTHROPIC_HEADERS: [&str; 2] = ["anthropic-version", "anthropic-beta"];
/// Paths that operators may already have at the end of a base URL, and that the gateway adds itself.
const NATIVE_ROOTS: [&str; 2] = ["/v1beta", "/v1"];
/// The characters of a model's name that are escaped in a path.
const MODEL_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/').remove(b'~');

/// The characters that are escaped in a path at a provider.
pub const PATH_ESCAPES: &AsciiSet = &MODEL_ESCAPES.remove(b':').remove(b'@').remove(b',').remove(b'=').remove(b'+').remove(b'$');

/// The treatment of requests by a provider.
#[derive(Debug, Clone)]
pub struct DataPolicy {
    /// Whether nothing of a request is retained.
    pub is_zdr: bool,
    /// Whether requests may be kept, or trained on.
    pub collects_data: bool,
    /// The region where requests are processed.
    pub region: Option<String>,
}

/// The text before a credential in `Authorization`.
const BEARER: &str = "Bearer ";

/// The header that carries a credential.
pub type Credential = (HeaderName, HeaderValue);

/// A provider that can be called.
#[derive(Debug)]
pub struct Provider {
    /// The provider's name in model ids.
    pub slug: String,
    /// The name that lists show.
    pub name: String,
    pub policy: DataPolicy,
    /// The API that it speaks.
    pub format: ProviderFormat,
    /// The use of Responses at a provider of OpenAI's format.
    responses: ResponsesUse,
    /// The base URL without a slash at its end.
    base: String,
    /// The addresses of the operations that do not depend on the model.
    operations: Operations,
    /// The scheme and authority of the base URL.
    origin: String,
    /// Whether callers may use operations that the gateway cannot meter.
    pub is_unmetered_allowed: bool,
    /// The headers of every request to the provider, without the credential.
    headers: HeaderMap,
    /// The headers that carry the credentials; none if the provider needs none.
    credentials: Vec<Credential>,
    /// The choice among several credentials.
    pub pool: Pool,
    /// Whether the provider is called at the known address of its slug, not at a configured one.
    pub is_original: bool,
    /// Whether accounts without a provider key of their own can use it.
    pub has_platform: bool,
    /// The way to its addresses.
    pub egress: Egress,
    /// Its deviations from the format.
    pub dialect: Dialect,
    /// The treatment of a call after its client has disconnected.
    pub on_disconnect: OnDisconnect,
    /// The maximum time for which such a call is read further.
    pub drain_timeout: Duration,
}

/// The way of connections to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    Direct,
    /// To public addresses only, because an account has chosen the address.
    Public,
    /// Through the proxy and with the certificates of the provider at this place in the configuration.
    Own(usize),
}

#[derive(Debug)]
struct Operations {
    chat: Address,
    responses: Address,
    embeddings: Address,
    messages: Address,
}

impl Provider {
    /// Creates a provider from its configuration.
    ///
    /// # Errors
    /// Fails if the base URL is missing or invalid, or if the credential cannot be sent in a header.
    pub fn try_new(config: &ProviderConfig) -> Result<Self, RouteError> {
        let slug = names::author_of(&config.slug);
        let known = known_providers::find(&slug);
        let format = config.format.or_else(|| known.map(|known| known.format)).unwrap_or(ProviderFormat::OpenAi);
        let given =
            config.base_url.as_deref().or_else(|| known.map(|known| known.base_url)).ok_or_else(|| RouteError::NoBaseUrl(slug.clone()))?;
        let base = base_of(format, given);
        let operations = Operations::at(base).ok_or_else(|| RouteError::BadBaseUrl { slug: slug.clone(), url: given.to_owned() })?;
        let keys = config.keys.iter().filter_map(|key| Some((key.api_key.as_deref()?, key.weight)));
        let (keys, weights): (Vec<&str>, Vec<u32>) = config.api_key.as_deref().map(|key| (key, 1)).into_iter().chain(keys).unzip();
        let credentials = keys.into_iter().map(|key| credential(format, key)).collect::<Result<_, _>>();
        let credentials: Vec<Credential> = credentials.map_err(|_| RouteError::BadCredential(slug.clone()))?;
        let cap_field = config.max_tokens_field.as_deref().or_else(|| known.map(|known| known.max_tokens_field)).unwrap_or("max_tokens");
        let is_original = config.base_url.is_none();
        Ok(Self {
            format,
            responses: config.responses.unwrap_or(if is_original && slug == "openai" {
                ResponsesUse::Preferred
            } else {
                ResponsesUse::Never
            }),
            base: base.to_owned(),
            origin: operations.chat.origin.clone(),
            operations,
            is_unmetered_allowed: config.proxy_unmetered == Unmetered::Allow,
            headers: headers(),
            has_platform: !config.byok_only && (!credentials.is_empty() || !is_original || known.is_none()),
            egress: Egress::Direct,
            credentials,
            pool: Pool::new(&weights),
            name: config.name.clone().or_else(|| Some(known?.name.to_owned())).unwrap_or_else(|| slug.clone()),
            policy: DataPolicy {
                is_zdr: config.zdr,
                collects_data: config.collects_data.or_else(|| Some(known?.collects_data)).unwrap_or(true),
                region: config.region.clone(),
            },
            is_original,
            dialect: Dialect::of_provider(&slug, cap_field),
            on_disconnect: config.on_disconnect,
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
            slug,
        })
    }

    /// Returns the same provider at another address and without credentials; `None` if it is no address.
    #[must_use]
    pub fn elsewhere(&self, base_url: &str, is_public_only: bool) -> Option<Self> {
        let base = base_of(self.format, base_url);
        let operations = Operations::at(base)?;
        Some(Self {
            slug: self.slug.clone(),
            name: self.name.clone(),
            policy: self.policy.clone(),
            format: self.format,
            responses: self.responses,
            base: base.to_owned(),
            origin: operations.chat.origin.clone(),
            operations,
            is_unmetered_allowed: false,
            headers: self.headers.clone(),
            credentials: Vec::new(),
            pool: Pool::new(&[]),
            is_original: false,
            has_platform: false,
            egress: if is_public_only { Egress::Public } else { Egress::Direct },
            dialect: self.dialect.clone(),
            on_disconnect: self.on_disconnect,
            drain_timeout: self.drain_timeout,
        })
    }

    /// Returns the address of the list of models, which costs nothing.
    #[must_use]
    pub fn models_address(&self) -> Option<Address> {
        Address::parse(&match self.format {
            ProviderFormat::OpenAi => format!("{}/models", self.base),
            ProviderFormat::Anthropic => format!("{}/v1/models", self.base),
            ProviderFormat::Gemini => format!("{}/v1beta/models", self.base),
        })
    }

    /// Returns the tokenizer of a model, if known. Only OpenAI at its own address has one: another service under that name may serve any
    /// model.
    pub(super) fn tokenizer(&self, upstream_model: &str) -> Option<Tokenizer> {
        Tokenizer::of_openai(upstream_model).filter(|_| self.is_original && self.slug == "openai")
    }

    /// Returns the most tokens of an image for a model, if known. Only a vendor at its own address has a published maximum.
    pub(super) fn image_tokens_max(&self, upstream_model: &str) -> Option<u64> {
        pricing::images::tokens_max(self.format, upstream_model).filter(|_| self.is_original)
    }

    /// Returns the format in which the provider is asked on behalf of a client of a format; `None` if it has no such operation.
    /// `needs_responses` tells that Chat refuses the request.
    #[must_use]
    pub const fn format_for(&self, client: Format, needs_responses: bool) -> Option<Format> {
        match (self.format, client) {
            (ProviderFormat::OpenAi, Format::Embeddings(_)) => Some(Format::Embeddings(Embeddings::OpenAi)),
            (ProviderFormat::OpenAi, _) => Some(match (self.responses, client) {
                (ResponsesUse::Never, _) => Format::Chat,
                (ResponsesUse::Preferred, Format::Chat) if !needs_responses => Format::Chat,
                (ResponsesUse::Preferred | ResponsesUse::Always, _) => Format::Responses,
            }),
            (ProviderFormat::Gemini, Format::Embeddings(Embeddings::OpenAi)) => Some(Format::Embeddings(Embeddings::BatchEmbedContents)),
            (ProviderFormat::Gemini, Format::Embeddings(_)) => Some(client),
            (ProviderFormat::Anthropic, Format::Embeddings(_)) => None,
            (ProviderFormat::Anthropic, _) => Some(Format::Messages),
            (ProviderFormat::Gemini, _) => Some(Format::Generate),
        }
    }

    /// Returns the address of an operation; `None` if the model's name cannot stand in an address.
    #[must_use]
    pub fn address(&self, format: Format, upstream_model: &str, stream: bool) -> Option<Cow<'_, Address>> {
        Some(match format {
            Format::Chat => Cow::Borrowed(&self.operations.chat),
            Format::Responses => Cow::Borrowed(&self.operations.responses),
            Format::Embeddings(Embeddings::OpenAi) => Cow::Borrowed(&self.operations.embeddings),
            Format::Embeddings(Embeddings::EmbedContent) => Cow::Owned(self.model_address(upstream_model, "embedContent")?),
            Format::Embeddings(Embeddings::BatchEmbedContents) => Cow::Owned(self.model_address(upstream_model, "batchEmbedContents")?),
            Format::Messages => Cow::Borrowed(&self.operations.messages),
            Format::Generate => {
                let operation = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                Cow::Owned(self.model_address(upstream_model, operation)?)
            }
        })
    }

    /// Returns the address at which a provider counts the tokens of a prompt; `None` if it does not.
    #[must_use]
    pub fn count_address(&self, format: Format, upstream_model: &str) -> Option<Address> {
        match format {
            Format::Messages => Address::parse(&format!("{}/v1/messages/count_tokens", self.base)),
            Format::Generate => self.model_address(upstream_model, "countTokens"),
            Format::Responses => Address::parse(&format!("{}/responses/input_tokens", self.base)),
            Format::Chat | Format::Embeddings(_) => None,
        }
    }

    /// Returns the address of one of Google's operations on a model.
    fn model_address(&self, upstream_model: &str, operation: &str) -> Option<Address> {
        let model = utf8_percent_encode(upstream_model, MODEL_ESCAPES);
        Address::parse(&format!("{}/v1beta/models/{model}:{operation}", self.base))
    }

    /// Returns the address of any path at the provider; `None` if it is not a path.
    #[must_use]
    pub fn address_of_path(&self, path_and_query: &str) -> Option<Address> {
        Address::parse(&format!("{}/{path_and_query}", self.origin)).filter(|address| address.origin == self.origin)
    }

    /// Returns the place of the credential for the next request, by weight and without those of `tried`. If all others rest, one of them is
    /// used nevertheless. `None` if there is none.
    #[must_use]
    pub fn choose_credential(&self, now_us: i64, seed: u64, tried: &[usize]) -> Option<usize> {
        if self.credentials.len() <= 1 {
            return (!self.credentials.is_empty() && tried.is_empty()).then_some(0);
        }
        let chosen = self.pool.choose(now_us, seed, tried);
        chosen.or_else(|| tried.is_empty().then_some(0))
    }

    /// Returns the header with the credential of a request that is tried once.
    #[must_use]
    pub fn one_credential(&self, now_us: i64, seed: u64) -> Option<&Credential> {
        self.credential(self.choose_credential(now_us, seed, &[])?)
    }

    /// Returns the header that carries a credential.
    #[must_use]
    pub fn credential(&self, place: usize) -> Option<&Credential> {
        self.credentials.get(place)
    }

    /// Returns the texts of the operator's credentials, to remove them from messages.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let texts = self.credentials.iter().filter_map(|(_, value)| value.to_str().ok());
        texts.map(|text| text.strip_prefix(BEARER).unwrap_or(text))
    }

    /// Returns the headers of a request to the provider with a credential. `client` holds the client's headers if the client speaks the
    /// provider's format.
    #[must_use]
    pub fn request_headers(&self, client: Option<&HeaderMap>, credential: Option<&Credential>) -> HeaderMap {
        let mut headers = self.headers.clone();
        if self.format == ProviderFormat::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
            for name in ANTHROPIC_HEADERS {
                if let Some(value) = client.and_then(|client| client.get(name)) {
                    headers.insert(name, value.clone());
                }
            }
        }
        headers.extend(credential.cloned());
        headers
    }
}

/// Returns whether OpenAI's Chat Completions refuse tools for a model, because it always reasons: from gpt-5.4 on. Source: OpenAI's guide
/// "Migrate to the Responses API".
#[must_use]
pub fn refuses_tools_in_chat(upstream_model: &str) -> bool {
    let version = upstream_model.strip_prefix("gpt-").map(|rest| rest.split('-').next().unwrap_or_default());
    let numbers = version.map(|version| version.split_once('.').unwrap_or((version, "0")));
    numbers
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)))
        .is_some_and(|version| version >= (5, 4))
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    // A response that is compressed nevertheless is decoded.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers
}

impl Operations {
    fn at(base: &str) -> Option<Self> {
        let at = |path: &str| Address::parse(&format!("{base}{path}"));
        Some(Self {
            chat: at("/chat/completions")?,
            responses: at("/responses")?,
            embeddings: at("/embeddings")?,
            messages: at("/v1/messages")?,
        })
    }
}

fn base_of(format: ProviderFormat, given: &str) -> &str {
    match format {
        ProviderFormat::OpenAi => given.trim_end_matches('/'),
        ProviderFormat::Anthropic | ProviderFormat::Gemini => without_root(given.trim_end_matches('/')),
    }
}

fn without_root(base: &str) -> &str {
    NATIVE_ROOTS.iter().find_map(|root| base.strip_suffix(root)).unwrap_or(base)
}

/// Returns the header that carries a credential.
///
/// # Errors
/// Fails if it has characters that no header can have.
pub fn credential(format: ProviderFormat, key: &str) -> Result<Credential, InvalidHeaderValue> {
    let (name, mut value) = match format {
        ProviderFormat::OpenAi => (AUTHORIZATION, HeaderValue::from_str(&format!("{BEARER}{key}"))?),
        ProviderFormat::Anthropic => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key)?),
        ProviderFormat::Gemini => (HeaderName::from_static("x-goog-api-key"), HeaderValue::from_str(key)?),
    };
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(format: ProviderFormat, base: &str) -> Provider {
        let config = ProviderConfig { format: Some(format), api_key: Some("k".into()), ..ProviderConfig::openai("x", base.into()) };
        Provider::try_new(&config).unwrap()
    }

    #[test]
    fn each_format_has_its_path_and_credential() {
        let anthropic = provider(ProviderFormat::Anthropic, "https://a.example/v1/");
        let address = anthropic.address(Format::Messages, "m", true).unwrap();
        assert_eq!(address.uri.to_string(), "https://a.example/v1/messages");
        let gemini = provider(ProviderFormat::Gemini, "https://g.example");
        let address = gemini.address(Format::Generate, "gemini 2.5", true).unwrap();
        assert_eq!(address.path.to_string(), "/v1beta/models/gemini%202.5:streamGenerateContent?alt=sse");
        assert_eq!(gemini.request_headers(None, gemini.credential(0)).get("x-goog-api-key").unwrap(), "k");
        let mut client = HeaderMap::new();
        client.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        client.insert("authorization", HeaderValue::from_static("Bearer client"));
        let headers = anthropic.request_headers(Some(&client), anthropic.credential(0));
        assert_eq!(headers.get("anthropic-version").unwrap(), "2026-10-21");
        assert!(headers.get("authorization").is_none() && headers.get("x-api-key").unwrap() == "k");
        assert_eq!(anthropic.request_headers(None, None).get("anthropic-version").unwrap(), ANTHROPIC_VERSION);
    }

    #[test]
    fn models_that_always_reason_take_tools_only_by_responses() {
        for (model, refuses) in
            [("gpt-5.4", true), ("gpt-5.4-mini", true), ("gpt-6", true), ("gpt-5.1", false), ("gpt-4o", false), ("m", false)]
        {
            assert_eq!(refuses_tools_in_chat(model), refuses, "{model}");
        }
    }

    #[test]
    fn a_provider_is_asked_in_a_format_that_it_has() {
        let openai = provider(ProviderFormat::OpenAi, "https://o.example/v1");
        assert_eq!(openai.format_for(Format::Responses, false), Some(Format::Chat), "not every compatible server has Responses");
        let embeddings = |format| provider(format, "https://x.example").format_for(Format::Embeddings(Embeddings::OpenAi), false);
        assert_eq!(embeddings(ProviderFormat::Gemini), Some(Format::Embeddings(Embeddings::BatchEmbedContents)));
        assert_eq!(embeddings(ProviderFormat::Anthropic), None);
        assert_eq!(provider(ProviderFormat::Anthropic, "https://a.example").format_for(Format::Generate, false), Some(Format::Messages));
        let config =
            ProviderConfig { responses: Some(ResponsesUse::Preferred), ..ProviderConfig::openai("x", "https://o.example/v1".into()) };
        let both = Provider::try_new(&config).unwrap();
        for (client, needs_responses, format) in
            [(Format::Chat, false, Format::Chat), (Format::Chat, true, Format::Responses), (Format::Messages, false, Format::Responses)]
        {
            assert_eq!(both.format_for(client, needs_responses), Some(format), "{client:?}");
        }
    }
}
