//! The construction of a table: the price list that the program contains, the configured models over it, and the operator's catalogue over
//! both.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pricing::price::PriceRow;
use pricing::{Catalog, ModelPrices, PriceError};
use routing::sticky::Sticky;

use super::document::Document;
use super::facts;
use super::names;
use super::provider::{Egress, Provider};
use super::split::Split;
use super::table::{Endpoint, Model, ModelName, Origin, RouteError, Routes};
use crate::config::{Decimal, ModelConfig, ProviderConfig};

/// The number of prompts whose endpoint is remembered.
const STICKY_PROMPTS: usize = 16_384;

/// The providers, and the models that are served without a catalogue of the operator.
pub struct Sources {
    built_in: Catalog,
    providers: BTreeMap<String, Arc<Provider>>,
    models: Vec<ModelConfig>,
}

/// The operator's catalogue in a version.
pub struct Versioned<'a> {
    pub document: &'a Document,
    pub version: u64,
    /// Whether an entry that cannot be served is an error. Otherwise it is left out and logged.
    pub is_strict: bool,
}

impl Sources {
    /// Builds the providers.
    ///
    /// # Errors
    /// Fails if a provider is misconfigured.
    pub fn try_new(built_in: Catalog, providers: &[ProviderConfig], models: Vec<ModelConfig>) -> Result<Self, RouteError> {
        let mut by_slug = BTreeMap::new();
        for (place, config) in providers.iter().enumerate() {
            let mut provider = Provider::try_new(config)?;
            if config.proxy_url.is_some() || config.ca_file.is_some() {
                provider.egress = Egress::Own(place);
            }
            let provider = Arc::new(provider);
            if by_slug.insert(provider.slug.clone(), Arc::clone(&provider)).is_some() {
                return Err(RouteError::Twice(provider.slug.clone()));
            }
        }
        Ok(Self { built_in, providers: by_slug, models })
    }
}

impl Routes {
    /// Builds the table of all models that the configured providers serve, without a catalogue of the operator.
    ///
    /// # Errors
    /// Fails if a provider or model is misconfigured.
    pub fn try_new(catalog: &Catalog, providers: &[ProviderConfig], models: &[ModelConfig]) -> Result<Self, RouteError> {
        Self::build(&Sources::try_new(catalog.clone(), providers, models.to_vec())?, None, None)
    }

    /// Builds a table. Endpoints that the table before it has keep their health and their number.
    ///
    /// # Errors
    /// Fails if a model is misconfigured.
    pub fn build(sources: &Sources, catalog: Option<&Versioned<'_>>, before: Option<&Self>) -> Result<Self, RouteError> {
        let routes = Self {
            by_name: HashMap::new(),
            listed: BTreeMap::new(),
            splits: BTreeMap::new(),
            unmetered: BTreeMap::new(),
            endpoints: before.map_or(0, |before| before.endpoints),
            sticky: before.map_or_else(|| Arc::new(Sticky::new(STICKY_PROMPTS)), |before| Arc::clone(&before.sticky)),
        };
        let mut builder = Builder { providers: &sources.providers, before, routes };
        builder.built_in(&sources.built_in)?;
        builder.configure(&sources.models, (Origin::Configuration, "configuration"))?;
        if let Some(Versioned { document, version, is_strict }) = catalog {
            let models = if *is_strict { document.models.clone() } else { builder.servable(&document.models) };
            builder.configure(&models, (Origin::Catalog, &format!("catalog-{version}")))?;
            builder.split(document, *is_strict)?;
        }
        Ok(builder.routes)
    }
}

/// A table under construction.
struct Builder<'a> {
    providers: &'a BTreeMap<String, Arc<Provider>>,
    before: Option<&'a Routes>,
    routes: Routes,
}

impl Builder<'_> {
    fn built_in(&mut self, catalog: &Catalog) -> Result<(), RouteError> {
        for entry in &catalog.models {
            let Some(provider) = self.providers.get(&entry.provider) else { continue };
            let priced = ModelPrices::try_new(&entry.prices).map_err(|cause| RouteError::Price { model: entry.id.clone(), cause })?;
            let sizes = (entry.context_length, entry.max_output_tokens);
            self.replace(Endpoint {
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
                origin: Origin::BuiltIn,
                free: false,
                is_metered: true,
            });
        }
        let providers = self.providers.values();
        self.routes.unmetered =
            providers.map(|provider| Ok((provider.slug.clone(), unmetered(provider)?))).collect::<Result<_, RouteError>>()?;
        Ok(())
    }

    /// Adds models. The first entry of a name replaces the endpoints that the model has so far; the others add providers to it.
    fn configure(&mut self, models: &[ModelConfig], (origin, price_version): (Origin, &str)) -> Result<(), RouteError> {
        let mut names: HashMap<String, (String, BTreeSet<String>)> = HashMap::new();
        for config in models {
            let slug = names::author_of(&config.provider);
            let provider = self
                .providers
                .get(&slug)
                .ok_or_else(|| RouteError::NoProvider { model: config.id.clone(), provider: config.provider.clone() })?;
            let endpoint = Endpoint { origin, price_version: price_version.to_owned(), ..configured(config, provider)? };
            match names.entry(names::canonical(&endpoint.model.id)) {
                Entry::Vacant(new) => {
                    new.insert((config.id.clone(), BTreeSet::from([slug])));
                    self.replace(endpoint);
                }
                Entry::Occupied(mut known) => {
                    let (id, providers) = known.get_mut();
                    if *id != config.id || !providers.insert(slug) {
                        return Err(RouteError::SameName(id.clone(), config.id.clone()));
                    }
                    self.add_endpoint(endpoint);
                }
            }
        }
        Ok(())
    }

    /// Returns the models whose provider is configured here.
    fn servable(&self, models: &[ModelConfig]) -> Vec<ModelConfig> {
        let is_servable = |config: &&ModelConfig| {
            let is_known = self.providers.contains_key(&names::author_of(&config.provider));
            if !is_known {
                let (model, provider) = (&config.id, &config.provider);
                tracing::error!(
                    model,
                    provider,
                    "model {model} of the catalogue is not served by {provider}: add the provider to [[providers]] here"
                );
            }
            is_known
        };
        models.iter().filter(is_servable).cloned().collect()
    }

    fn split(&mut self, document: &Document, is_strict: bool) -> Result<(), RouteError> {
        for config in &document.splits {
            match Split::try_new(config, &self.routes) {
                Ok(split) if self.routes.splits.contains_key(&names::canonical(&split.name.id)) => {
                    return Err(RouteError::SameName(split.name.id.clone(), config.id.clone()));
                }
                Ok(split) => {
                    self.routes.splits.insert(names::canonical(&split.name.id), Arc::new(split));
                }
                Err(error) if is_strict => return Err(error),
                Err(error) => tracing::error!(%error, "a split of the catalogue is not served: {error}"),
            }
        }
        Ok(())
    }

    /// Replaces all endpoints of a model by this one.
    fn replace(&mut self, endpoint: Endpoint) {
        let endpoint = self.numbered(endpoint);
        let model = Arc::new(Model { name: Arc::clone(&endpoint.model), endpoints: vec![Arc::new(endpoint)] });
        if let Some(before) = self.routes.by_name.insert(names::canonical(&model.name.id), Arc::clone(&model)) {
            self.routes.listed.remove(&before.name.id);
        }
        self.routes.listed.insert(model.name.id.clone(), model);
    }

    /// Adds another provider to a model that is already served.
    fn add_endpoint(&mut self, endpoint: Endpoint) {
        let Some(before) = self.routes.find(&endpoint.model.id) else { return self.replace(endpoint) };
        let (before, name) = (Arc::clone(before), Arc::clone(&before.name));
        let endpoint = self.numbered(endpoint);
        let endpoint = Endpoint { model: Arc::clone(&name), ..endpoint };
        let endpoints = before.endpoints.iter().cloned().chain([Arc::new(endpoint)]).collect();
        let model = Arc::new(Model { name, endpoints });
        self.routes.by_name.insert(names::canonical(&model.name.id), Arc::clone(&model));
        self.routes.listed.insert(model.name.id.clone(), model);
    }

    fn numbered(&mut self, mut endpoint: Endpoint) -> Endpoint {
        if let Some(known) = self.before.and_then(|before| before.same(&endpoint)) {
            (endpoint.number, endpoint.health) = (known.number, Arc::clone(&known.health));
        } else {
            self.routes.endpoints += 1;
            endpoint.number = self.routes.endpoints;
        }
        endpoint
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
        origin: Origin::Configuration,
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
        price_version: String::new(),
        origin: Origin::Configuration,
        free: config.free,
        is_metered: true,
    })
}

/// Converts USD per million tokens to USD per token. Returns `None` for a negative price, or a text that is not a number.
fn per_token(per_million: &str) -> Option<String> {
    let picos = events::money::scaled(per_million, 6).ok()?;
    Some(format!("{}.{:012}", picos / 1_000_000_000_000, picos.unsigned_abs() % 1_000_000_000_000)).filter(|_| picos >= 0)
}
