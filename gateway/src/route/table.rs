//! The table of models and providers, built once from configuration and catalogue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use pricing::price::PriceRow;
use pricing::{Catalog, ModelPrices, PriceError};
use wire::call::Format;

use super::endpoint::Endpoint;
use super::tokens::Tokenizer;
use super::{known_providers, names};
use crate::config::{Decimal, ModelConfig, OnDisconnect, ProviderConfig};

/// How we name ourselves to providers.
const AGENT: &str = concat!("arouter/", env!("CARGO_PKG_VERSION"));

/// A provider that can be called.
#[derive(Debug)]
pub struct Provider {
    /// Its name in model ids.
    pub slug: String,
    /// What it speaks.
    pub format: Format,
    /// Where chat completions are asked for.
    pub chat: Endpoint,
    /// What every request to it has: content type, codings, our name, and `Authorization` unless it needs none.
    pub headers: HeaderMap,
    /// Whether it is called at the address that is known for its slug.
    pub is_original: bool,
    /// The field by which it takes a bound on completion tokens.
    pub cap_field: String,
    /// The call after its client has left.
    pub on_disconnect: OnDisconnect,
    /// How long such a call is read on.
    pub drain_timeout: Duration,
}

/// A model that can be asked for.
#[derive(Debug)]
pub struct Model {
    /// Its public id.
    pub id: String,
    /// The same as a JSON string.
    pub id_json: String,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// The provider's name for it.
    pub upstream_model: String,
    /// How it counts prompts, where that is known.
    pub tokenizer: Option<Tokenizer>,
    /// Prompt and completion tokens together.
    pub context_length: u64,
    /// Completion tokens at the most.
    pub max_output_tokens: u64,
    /// Optional parameters and inputs that it takes.
    pub capabilities: Vec<String>,
    /// What it costs.
    pub prices: ModelPrices,
    /// The base prices as decimal strings in USD per token, for the model list.
    pub shown_prices: PriceRow,
    /// The list that priced it.
    pub price_version: String,
    /// Costs nothing, on purpose.
    pub free: bool,
}

/// All models.
#[derive(Debug, Default)]
pub struct Routes {
    by_name: HashMap<String, Arc<Model>>,
    listed: BTreeMap<String, Arc<Model>>,
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// A provider without an address.
    #[error("provider {0}: base_url is missing and this provider is not a known one")]
    NoBaseUrl(String),
    /// An address that is none.
    #[error("provider {slug}: base_url {url:?} is not an http or https address")]
    BadBaseUrl {
        /// The provider.
        slug: String,
        /// What stands there.
        url: String,
    },
    /// A credential that cannot be sent.
    #[error("provider {0}: its credential has characters that cannot be sent in a header")]
    BadCredential(String),
    /// The same slug twice.
    #[error("provider {0} is configured twice")]
    Twice(String),
    /// A model of nobody.
    #[error("model {model}: there is no provider {provider:?}; add it to [[providers]]")]
    NoProvider {
        /// The model.
        model: String,
        /// What stands there.
        provider: String,
    },
    /// A model without a price that is not marked free.
    #[error("model {0}: give prompt_usd_per_mtok and completion_usd_per_mtok, or free = true")]
    NoPrice(String),
    /// Two models of the configuration that requests cannot tell apart.
    #[error("models {0} and {1} are one name for requests: remove one, or rename it")]
    SameName(String, String),
    /// A price that is none.
    #[error("model {model}: {cause}")]
    Price {
        /// The model.
        model: String,
        /// What is wrong.
        cause: PriceError,
    },
}

impl Provider {
    /// A provider as configured.
    ///
    /// # Errors
    /// When its address or credential cannot be used.
    pub fn try_new(config: &ProviderConfig) -> Result<Self, RouteError> {
        let slug = names::author_of(&config.slug);
        let base =
            config.base_url.as_deref().or_else(|| known_providers::base_url(&slug)).ok_or_else(|| RouteError::NoBaseUrl(slug.clone()))?;
        let chat = Endpoint::parse(&format!("{}/chat/completions", base.trim_end_matches('/')))
            .ok_or_else(|| RouteError::BadBaseUrl { slug: slug.clone(), url: base.to_owned() })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // An answer that comes compressed all the same is decoded.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(key) = &config.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| RouteError::BadCredential(slug.clone()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let is_original = config.base_url.is_none();
        let cap_field = config.max_tokens_field.clone().unwrap_or_else(|| known_providers::cap_field(&slug).to_owned());
        let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
        Ok(Self { format: config.format, chat, headers, is_original, cap_field, on_disconnect: config.on_disconnect, drain_timeout, slug })
    }

    /// How a model of its own counts prompts, where that is known: another service under the same name may serve anything.
    fn tokenizer(&self, upstream_model: &str) -> Option<Tokenizer> {
        Tokenizer::of_openai(upstream_model).filter(|_| self.is_original && self.slug == "openai")
    }
}

impl Routes {
    /// The table of everything that the configured providers serve.
    ///
    /// # Errors
    /// When a provider or model is configured wrongly.
    pub fn try_new(catalog: &Catalog, providers: &[ProviderConfig], models: &[ModelConfig]) -> Result<Self, RouteError> {
        let mut by_slug = BTreeMap::new();
        for config in providers {
            let provider = Arc::new(Provider::try_new(config)?);
            if by_slug.insert(provider.slug.clone(), Arc::clone(&provider)).is_some() {
                return Err(RouteError::Twice(provider.slug.clone()));
            }
        }
        let mut routes = Self::default();
        for entry in &catalog.models {
            let Some(provider) = by_slug.get(&entry.provider) else { continue };
            let priced = ModelPrices::try_new(&entry.prices).map_err(|cause| RouteError::Price { model: entry.id.clone(), cause })?;
            routes.add(Model {
                id: entry.id.clone(),
                id_json: wire::fields::quoted(&entry.id),
                provider: Arc::clone(provider),
                upstream_model: entry.upstream_model.clone(),
                tokenizer: provider.tokenizer(&entry.upstream_model),
                context_length: entry.context_length,
                max_output_tokens: entry.max_output_tokens,
                capabilities: entry.capabilities.clone(),
                prices: priced,
                shown_prices: entry.prices.first().cloned().unwrap_or_default(),
                price_version: catalog.version.clone(),
                free: false,
            });
        }
        let mut names = HashMap::new();
        for config in models {
            let slug = names::author_of(&config.provider);
            let provider =
                by_slug.get(&slug).ok_or_else(|| RouteError::NoProvider { model: config.id.clone(), provider: config.provider.clone() })?;
            let model = configured(config, provider)?;
            if let Some(other) = names.insert(names::canonical(&model.id), config.id.clone()) {
                return Err(RouteError::SameName(other, config.id.clone()));
            }
            routes.add(model);
        }
        Ok(routes)
    }

    /// A later model of the same name takes the place of an earlier one: the configuration goes over the catalogue.
    fn add(&mut self, model: Model) {
        let model = Arc::new(model);
        let name = names::canonical(&model.id);
        if let Some(before) = self.by_name.insert(name, Arc::clone(&model)) {
            self.listed.remove(&before.id);
        }
        self.listed.insert(model.id.clone(), model);
    }

    /// The model of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).or_else(|| self.by_name.get(&names::canonical(name)))
    }

    /// All models in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.listed.values()
    }
}

fn configured(config: &ModelConfig, provider: &Arc<Provider>) -> Result<Model, RouteError> {
    let price = |written: &Option<Decimal>| match written {
        Some(Decimal(text)) => per_token(text).ok_or_else(|| RouteError::Price {
            model: config.id.clone(),
            cause: PriceError::Malformed { field: "usd_per_mtok", text: text.clone(), cause: events::money::MoneyError::NotANumber },
        }),
        None if config.free => Ok("0".to_owned()),
        None => Err(RouteError::NoPrice(config.id.clone())),
    };
    let row = PriceRow {
        prompt: price(&config.prompt_usd_per_mtok)?,
        completion: price(&config.completion_usd_per_mtok)?,
        ..PriceRow::default()
    };
    let prices = ModelPrices::try_new(std::slice::from_ref(&row)).map_err(|cause| RouteError::Price { model: config.id.clone(), cause })?;
    let id = if config.id.contains('/') { config.id.clone() } else { format!("{}/{}", provider.slug, config.id) };
    let slug = id.split_once('/').map_or(id.as_str(), |(_, slug)| slug).to_owned();
    let upstream_model = config.upstream_model.clone().unwrap_or(slug);
    Ok(Model {
        id_json: wire::fields::quoted(&id),
        provider: Arc::clone(provider),
        tokenizer: config.tokenizer.or_else(|| provider.tokenizer(&upstream_model)),
        upstream_model,
        context_length: config.context_length,
        max_output_tokens: config.max_output_tokens.unwrap_or(config.context_length),
        capabilities: Vec::new(),
        prices,
        shown_prices: row,
        price_version: "configuration".to_owned(),
        free: config.free,
        id,
    })
}

/// USD per million tokens as USD per token.
fn per_token(per_million: &str) -> Option<String> {
    let picos = events::money::scaled(per_million, 6).ok()?;
    Some(format!("{}.{:012}", picos / 1_000_000_000_000, picos.unsigned_abs() % 1_000_000_000_000)).filter(|_| picos >= 0)
}
