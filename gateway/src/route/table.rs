//! The table of models and providers, built once from the configuration and the catalogue.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pricing::price::PriceRow;
use pricing::{Catalog, ModelPrices, PriceError};
use routing::sticky::Sticky;
use routing::{EndpointFacts, EndpointHealth};
use wire::call::{Embeddings, Format};

use super::facts;
use super::names;
use super::provider::Provider;
use super::tokens::Tokenizer;
use crate::config::{Decimal, ModelConfig, ProviderConfig};

/// The number of prompts whose endpoint is remembered.
const STICKY_PROMPTS: usize = 16_384;

/// A model under its public name.
#[derive(Debug)]
pub struct Model {
    pub name: Arc<ModelName>,
    /// The providers that serve the model, in the order of the configuration; at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// The public name of a model.
#[derive(Debug)]
pub struct ModelName {
    /// The id, such as `openai/gpt-5.4`.
    pub id: String,
    /// The id as a JSON string.
    pub json: String,
}

/// A model at one provider.
#[derive(Debug)]
pub struct Endpoint {
    pub model: Arc<ModelName>,
    /// The model's name for people.
    pub display_name: String,
    pub provider: Arc<Provider>,
    /// The provider's name of the model.
    pub upstream_model: String,
    /// The tokenizer that counts prompts; `None` if unknown.
    pub tokenizer: Option<Tokenizer>,
    /// The most tokens that the provider counts for one image; `None` if unknown.
    pub image_tokens_max: Option<u64>,
    /// The maximum of prompt and completion tokens together.
    pub context_length: u64,
    /// The maximum of completion tokens.
    pub max_output_tokens: u64,
    /// The facts by which requests choose.
    pub facts: EndpointFacts,
    /// The recent answers and the circuit breaker, shared by all threads.
    pub health: Arc<EndpointHealth>,
    /// The endpoint's place in the table.
    pub number: u64,
    pub prices: ModelPrices,
    /// The base prices in USD per token as decimal strings, shown in the model list.
    pub shown_prices: PriceRow,
    /// The version of the price list; `configuration` for a configured model.
    pub price_version: String,
    /// Whether the model is free on purpose.
    pub free: bool,
    /// Whether the cost of requests is known. It is not for operations of a provider that the gateway cannot meter.
    pub is_metered: bool,
}

#[derive(Debug)]
pub struct Routes {
    by_name: HashMap<String, Arc<Model>>,
    listed: BTreeMap<String, Arc<Model>>,
    /// For each provider, the endpoint that stands for its operations without a known model.
    unmetered: BTreeMap<String, Arc<Endpoint>>,
    /// The number of endpoints so far.
    endpoints: u64,
    /// The endpoints that have a prompt in their cache.
    pub sticky: Arc<Sticky>,
}

/// A configuration that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// A provider without a base URL that is not a known provider.
    #[error("provider {0}: base_url is missing and this provider is not a known one")]
    NoBaseUrl(String),
    /// A base URL that is not an http or https address.
    #[error("provider {slug}: base_url {url:?} is not an http or https address")]
    BadBaseUrl { slug: String, url: String },
    /// A credential that cannot be sent in a header.
    #[error("provider {0}: its credential has characters that cannot be sent in a header")]
    BadCredential(String),
    /// A provider that is configured twice.
    #[error("provider {0} is configured twice")]
    Twice(String),
    /// A model whose provider is not configured.
    #[error("model {model}: there is no provider {provider:?}; add it to [[providers]]")]
    NoProvider { model: String, provider: String },
    /// A quantization that is not known.
    #[error("model {model}: quantization {quantization:?} is unknown; it is int4, int8, fp4, fp6, fp8, fp16, bf16, fp32 or unknown")]
    Quantization { model: String, quantization: String },
    /// A model without a price that is not marked free.
    #[error("model {0}: give prompt_usd_per_mtok and completion_usd_per_mtok, or free = true")]
    NoPrice(String),
    /// Two configured models whose names requests cannot tell apart.
    #[error("models {0} and {1} are one name for requests: remove one, or rename it")]
    SameName(String, String),
    /// A price that is not valid.
    #[error("model {model}: {cause}")]
    Price { model: String, cause: PriceError },
}

impl ModelName {
    fn new(id: String) -> Arc<Self> {
        Arc::new(Self { json: wire::fields::quoted(&id), id })
    }
}

impl Routes {
    /// Builds the table of all models that the configured providers serve.
    ///
    /// # Errors
    /// Fails if a provider or model is misconfigured.
    pub fn try_new(catalog: &Catalog, providers: &[ProviderConfig], models: &[ModelConfig]) -> Result<Self, RouteError> {
        let mut by_slug = BTreeMap::new();
        for config in providers {
            let provider = Arc::new(Provider::try_new(config)?);
            if by_slug.insert(provider.slug.clone(), Arc::clone(&provider)).is_some() {
                return Err(RouteError::Twice(provider.slug.clone()));
            }
        }
        let mut routes = Self {
            by_name: HashMap::new(),
            listed: BTreeMap::new(),
            unmetered: BTreeMap::new(),
            endpoints: 0,
            sticky: Arc::new(Sticky::new(STICKY_PROMPTS)),
        };
        for entry in &catalog.models {
            let Some(provider) = by_slug.get(&entry.provider) else { continue };
            let priced = ModelPrices::try_new(&entry.prices).map_err(|cause| RouteError::Price { model: entry.id.clone(), cause })?;
            let sizes = (entry.context_length, entry.max_output_tokens);
            routes.replace(Endpoint {
                model: ModelName::new(entry.id.clone()),
                display_name: entry.id.clone(),
                provider: Arc::clone(provider),
                upstream_model: entry.upstream_model.clone(),
                tokenizer: provider.tokenizer(&entry.upstream_model),
                image_tokens_max: provider.image_tokens_max(&entry.upstream_model),
                context_length: entry.context_length,
                max_output_tokens: entry.max_output_tokens,
                facts: facts::of(provider, &entry.id, Some(&entry.capabilities), &priced, sizes),
                health: Arc::default(),
                number: 0,
                prices: priced,
                shown_prices: entry.prices.first().cloned().unwrap_or_default(),
                price_version: catalog.version.clone(),
                free: false,
                is_metered: true,
            });
        }
        routes.unmetered =
            by_slug.values().map(|provider| Ok((provider.slug.clone(), unmetered(provider)?))).collect::<Result<_, RouteError>>()?;
        let mut names: HashMap<String, (String, BTreeSet<String>)> = HashMap::new();
        for config in models {
            let slug = names::author_of(&config.provider);
            let provider =
                by_slug.get(&slug).ok_or_else(|| RouteError::NoProvider { model: config.id.clone(), provider: config.provider.clone() })?;
            let endpoint = configured(config, provider)?;
            match names.entry(names::canonical(&endpoint.model.id)) {
                Entry::Vacant(new) => {
                    new.insert((config.id.clone(), BTreeSet::from([slug])));
                    routes.replace(endpoint);
                }
                Entry::Occupied(mut known) => {
                    let (id, providers) = known.get_mut();
                    if *id != config.id || !providers.insert(slug) {
                        return Err(RouteError::SameName(id.clone(), config.id.clone()));
                    }
                    routes.add_endpoint(endpoint);
                }
            }
        }
        Ok(routes)
    }

    /// Replaces all endpoints of a model by this one: the configuration takes precedence over the catalogue.
    fn replace(&mut self, endpoint: Endpoint) {
        let endpoint = self.numbered(endpoint);
        let model = Arc::new(Model { name: Arc::clone(&endpoint.model), endpoints: vec![Arc::new(endpoint)] });
        if let Some(before) = self.by_name.insert(names::canonical(&model.name.id), Arc::clone(&model)) {
            self.listed.remove(&before.name.id);
        }
        self.listed.insert(model.name.id.clone(), model);
    }

    /// Adds another provider to a model that is already served.
    fn add_endpoint(&mut self, endpoint: Endpoint) {
        let Some(before) = self.find(&endpoint.model.id) else { return self.replace(endpoint) };
        let (before, name) = (Arc::clone(before), Arc::clone(&before.name));
        let endpoint = self.numbered(endpoint);
        let endpoint = Endpoint { model: Arc::clone(&name), ..endpoint };
        let endpoints = before.endpoints.iter().cloned().chain([Arc::new(endpoint)]).collect();
        let model = Arc::new(Model { name, endpoints });
        self.by_name.insert(names::canonical(&model.name.id), Arc::clone(&model));
        self.listed.insert(model.name.id.clone(), model);
    }

    const fn numbered(&mut self, mut endpoint: Endpoint) -> Endpoint {
        self.endpoints += 1;
        endpoint.number = self.endpoints;
        endpoint
    }

    /// Returns the model of a name, in any equivalent spelling.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).or_else(|| self.by_name.get(&names::canonical(name)))
    }

    /// Returns the model of a name as a client of a format means it: a bare name belongs to the vendor of the format.
    #[must_use]
    pub fn find_for(&self, format: Format, name: &str) -> Option<&Arc<Model>> {
        let author = match format {
            Format::Chat | Format::Responses | Format::Embeddings(Embeddings::OpenAi) => "openai",
            Format::Messages => "anthropic",
            Format::Generate | Format::Embeddings(Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => "google",
        };
        let name = if author == "google" { name.strip_prefix("models/").unwrap_or(name) } else { name };
        self.by_name.get(name).or_else(|| self.by_name.get(&names::canonical_of(author, name)))
    }

    /// Returns the endpoint that stands for a provider's operations without a known model; `None` if there is no such provider.
    #[must_use]
    pub fn unmetered(&self, slug: &str) -> Option<&Arc<Endpoint>> {
        self.unmetered.get(&names::author_of(slug))
    }

    /// Returns the model of a provider by the provider's own name of it.
    #[must_use]
    pub fn find_upstream(&self, slug: &str, upstream_model: &str) -> Option<&Arc<Endpoint>> {
        let endpoints = self.listed.values().flat_map(|model| &model.endpoints);
        endpoints.into_iter().find(|endpoint| endpoint.provider.slug == slug && endpoint.upstream_model == upstream_model)
    }

    /// Returns the endpoint of a model at a provider, by their exact names.
    #[must_use]
    pub fn endpoint(&self, provider: &str, model: &str) -> Option<&Arc<Endpoint>> {
        self.listed.get(model)?.endpoints.iter().find(|endpoint| endpoint.provider.slug == provider)
    }

    /// Returns all models in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.listed.values()
    }
}

fn unmetered(provider: &Arc<Provider>) -> Result<Arc<Endpoint>, RouteError> {
    let id = format!("{}/*", provider.slug);
    let row = PriceRow { prompt: "0".to_owned(), completion: "0".to_owned(), ..PriceRow::default() };
    let prices = ModelPrices::try_new(std::slice::from_ref(&row)).map_err(|cause| RouteError::Price { model: id.clone(), cause })?;
    Ok(Arc::new(Endpoint {
        provider: Arc::clone(provider),
        upstream_model: String::new(),
        tokenizer: None,
        image_tokens_max: None,
        context_length: 0,
        max_output_tokens: 0,
        facts: facts::of(provider, &id, None, &prices, (0, 0)),
        display_name: id.clone(),
        health: Arc::default(),
        number: 0,
        model: ModelName::new(id),
        prices,
        shown_prices: row,
        price_version: "unmetered".to_owned(),
        free: false,
        is_metered: false,
    }))
}

fn configured(config: &ModelConfig, provider: &Arc<Provider>) -> Result<Endpoint, RouteError> {
    let price = |written: &Option<Decimal>| match written {
        Some(Decimal(text)) => per_token(text).ok_or_else(|| RouteError::Price {
            model: config.id.clone(),
            cause: PriceError::Malformed { field: "usd_per_mtok", text: text.clone(), cause: events::money::MoneyError::NotANumber },
        }),
        None if config.free => Ok("0".to_owned()),
        None => Err(RouteError::NoPrice(config.id.clone())),
    };
    let optional = |written: &Option<Decimal>| written.is_some().then(|| price(written)).transpose();
    let row = PriceRow {
        prompt: price(&config.prompt_usd_per_mtok)?,
        completion: price(&config.completion_usd_per_mtok)?,
        cache_read: optional(&config.cache_read_usd_per_mtok)?,
        cache_write_5m: optional(&config.cache_write_usd_per_mtok)?,
        cache_write_1h: optional(&config.cache_write_1h_usd_per_mtok)?,
        reasoning: optional(&config.reasoning_usd_per_mtok)?,
        ..PriceRow::default()
    };
    let prices = ModelPrices::try_new(std::slice::from_ref(&row)).map_err(|cause| RouteError::Price { model: config.id.clone(), cause })?;
    let id = if config.id.contains('/') { config.id.clone() } else { format!("{}/{}", provider.slug, config.id) };
    let slug = id.split_once('/').map_or(id.as_str(), |(_, slug)| slug).to_owned();
    let upstream_model = config.upstream_model.clone().unwrap_or(slug);
    let sizes = (config.context_length, config.max_output_tokens.unwrap_or(config.context_length));
    let facts = facts::of(provider, &id, config.capabilities.as_deref(), &prices, sizes);
    Ok(Endpoint {
        provider: Arc::clone(provider),
        tokenizer: config.tokenizer.or_else(|| provider.tokenizer(&upstream_model)),
        image_tokens_max: config.image_tokens_max.or_else(|| provider.image_tokens_max(&upstream_model)),
        upstream_model,
        context_length: sizes.0,
        max_output_tokens: sizes.1,
        facts: facts::configured(facts, config)?,
        display_name: config.name.clone().unwrap_or_else(|| id.clone()),
        model: ModelName::new(id),
        health: Arc::default(),
        number: 0,
        prices,
        shown_prices: row,
        price_version: "configuration".to_owned(),
        free: config.free,
        is_metered: true,
    })
}

/// Converts USD per million tokens to USD per token. Returns `None` for a negative price, or a text that is not a number.
fn per_token(per_million: &str) -> Option<String> {
    let picos = events::money::scaled(per_million, 6).ok()?;
    Some(format!("{}.{:012}", picos / 1_000_000_000_000, picos.unsigned_abs() % 1_000_000_000_000)).filter(|_| picos >= 0)
}
