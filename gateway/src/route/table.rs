//! The table of models and providers. A change of the catalogue makes a new table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use events::UnitPrices;
use pricing::price::PriceRow;
use pricing::{ModelPrices, PriceError, ServiceTier};
use routing::sticky::Sticky;
use routing::{EndpointFacts, EndpointHealth};
use wire::call::{Embeddings, Format};

use super::names;
use super::provider::Provider;
use super::split::Split;
use super::tokens::Tokenizer;

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

/// The place that names a model. A later one replaces a model of the same name in an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The price list that the program contains.
    BuiltIn,
    Configuration,
    /// The operator's catalogue.
    Catalog,
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
    /// The version of the price list; `configuration` for a configured model, `catalog-{version}` for one of the operator's catalogue.
    pub price_version: String,
    /// The place that names the model with its prices.
    pub origin: Origin,
    /// Whether the model is free on purpose.
    pub free: bool,
    /// Whether the cost of requests is known. It is not for operations of a provider that the gateway cannot meter.
    pub is_metered: bool,
}

#[derive(Debug)]
pub struct Routes {
    pub(super) by_name: HashMap<String, Arc<Model>>,
    pub(super) listed: BTreeMap<String, Arc<Model>>,
    /// The models with weighted variants, by their canonical name.
    pub(super) splits: BTreeMap<String, Arc<Split>>,
    /// For each provider, the endpoint that stands for its operations without a known model.
    pub(super) unmetered: BTreeMap<String, Arc<Endpoint>>,
    /// The number of endpoints so far, in this table and all before it.
    pub(super) endpoints: u64,
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
    /// A split that cannot be served.
    #[error("split {split}: {problem}")]
    Split { split: String, problem: String },
    /// A price that is not valid.
    #[error("model {model}: {cause}")]
    Price { model: String, cause: PriceError },
}

impl ModelName {
    pub(super) fn new(id: String) -> Arc<Self> {
        Arc::new(Self { json: wire::fields::quoted(&id), id })
    }
}

impl Endpoint {
    /// Returns whether requests cost nothing.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let is_zero = |prompt_tokens: u64| *self.prices.at(prompt_tokens, ServiceTier::Default) == UnitPrices::default();
        self.is_metered && (self.free || self.model.id.ends_with(":free") || is_zero(0) && is_zero(u64::MAX))
    }
}

impl Origin {
    /// Returns the word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::Configuration => "configuration",
            Self::Catalog => "catalog",
        }
    }
}

impl Routes {
    /// Returns the model of a name, in any equivalent spelling.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).or_else(|| self.by_name.get(&names::canonical(name)))
    }

    /// Returns the model of a name as a client of a format means it: a bare name belongs to the vendor of the format.
    #[must_use]
    pub fn find_for(&self, format: Format, name: &str) -> Option<&Arc<Model>> {
        let author = author_of(format);
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

    /// Returns the model with weighted variants of a name, as a client of a format means it.
    #[must_use]
    pub fn split_for(&self, format: Format, name: &str) -> Option<&Arc<Split>> {
        if self.splits.is_empty() {
            return None;
        }
        self.splits.get(&names::canonical_of(author_of(format), name))
    }

    /// Returns all models with weighted variants.
    pub fn splits(&self) -> impl Iterator<Item = &Arc<Split>> {
        self.splits.values()
    }

    /// Returns the endpoint of an earlier table that is the same model at the same provider.
    pub(super) fn same(&self, other: &Endpoint) -> Option<&Arc<Endpoint>> {
        let endpoints = &self.listed.get(&other.model.id)?.endpoints;
        endpoints.iter().find(|known| known.provider.slug == other.provider.slug && known.upstream_model == other.upstream_model)
    }
}

/// Returns the vendor to whom a bare name in a format belongs.
const fn author_of(format: Format) -> &'static str {
    match format {
        Format::Chat | Format::Responses | Format::Embeddings(Embeddings::OpenAi) => "openai",
        Format::Messages => "anthropic",
        Format::Generate | Format::Embeddings(Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => "google",
    }
}
