//! The configuration of providers and of the models that they serve.

use std::path::PathBuf;

use pricing::known_providers::ProviderFormat;
use serde::{Deserialize, Serialize};

use crate::route::tokens::Tokenizer;

/// The treatment of a call to a provider after its client has disconnected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// The call's connection is closed at once, and the relayed output is charged by the gateway's own count.
    #[default]
    Cancel,
    /// The response is read to its end, within a time limit, to learn the billed usage.
    Drain,
}

/// The use of Responses at a provider that has both Chat Completions and Responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponsesUse {
    Never,
    /// Responses serves every request but those that come as Chat Completions, and of these the ones that Chat refuses.
    Preferred,
    /// Responses serves every request.
    Always,
}

/// The treatment of operations whose cost the gateway cannot know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmetered {
    #[default]
    Refuse,
    /// They are passed on, and recorded with an unknown cost.
    Allow,
}

/// A provider.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The provider's name in model ids, such as `openai`.
    pub slug: String,
    /// The API that it speaks, `openai`, `anthropic` or `gemini`; default: the known one of the provider, or `openai`.
    pub format: Option<ProviderFormat>,
    /// The use of `/responses` at a provider of OpenAI's format; default: `preferred` at OpenAI itself, else `never`.
    pub responses: Option<ResponsesUse>,
    /// The base URL, such as `https://api.openai.com/v1`; known providers have a default.
    pub base_url: Option<String>,
    /// The environment variable that holds the credential.
    pub api_key_env: Option<String>,
    /// The credential; the environment is a better place for it.
    pub api_key: Option<String>,
    /// Further credentials. Requests are spread over all of them by weight, and one that fails is left alone for a while.
    #[serde(default)]
    pub keys: Vec<ProviderKeyConfig>,
    /// Whether the provider serves only accounts with a provider key of their own. It does so anyway if it is a known provider at its own
    /// address and has no credential.
    #[serde(default)]
    pub byok_only: bool,
    /// The name that lists show; default: the known one, or the slug.
    pub name: Option<String>,
    /// Whether the provider retains nothing of a request (zero data retention).
    #[serde(default)]
    pub zdr: bool,
    /// Whether the provider may keep requests or train on them; default: the known policy of the provider, else true.
    pub collects_data: Option<bool>,
    /// The region where requests are processed, such as `eu`.
    pub region: Option<String>,
    /// The HTTP proxy through which the provider is reached, `http://HOST:PORT`; credentials may stand before the host.
    pub proxy_url: Option<String>,
    /// The environment variable that holds `proxy_url`.
    pub proxy_url_env: Option<String>,
    /// A file with certificates (PEM) that are trusted for the provider, in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The request field that limits completion tokens; default: the known field of the provider, or `max_tokens`.
    pub max_tokens_field: Option<String>,
    /// Whether callers may use operations of the provider that the gateway cannot meter, at `/{provider}/{path}`.
    #[serde(default)]
    pub proxy_unmetered: Unmetered,
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
    /// The longest time for which such a call is read on with `drain`, in milliseconds.
    #[serde(default = "drain_timeout_ms")]
    pub drain_timeout_ms: u64,
}

/// One credential of several.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderKeyConfig {
    /// The name in logs and metrics; default: its place in the list.
    pub name: Option<String>,
    /// The environment variable that holds the credential.
    pub api_key_env: Option<String>,
    /// The credential; the environment is a better place for it.
    pub api_key: Option<String>,
    /// The share of the requests, relative to the other credentials. The provider's own `api_key` has weight 1.
    #[serde(default = "one")]
    pub weight: u32,
}

impl ProviderConfig {
    /// Returns a provider with OpenAI's format at an address, without a credential.
    #[must_use]
    pub fn openai(slug: &str, base_url: String) -> Self {
        Self {
            slug: slug.to_owned(),
            format: Some(ProviderFormat::OpenAi),
            responses: None,
            base_url: Some(base_url),
            api_key_env: None,
            api_key: None,
            keys: Vec::new(),
            byok_only: false,
            name: None,
            zdr: false,
            collects_data: None,
            region: None,
            proxy_url: None,
            proxy_url_env: None,
            ca_file: None,
            max_tokens_field: None,
            proxy_unmetered: Unmetered::default(),
            on_disconnect: OnDisconnect::default(),
            drain_timeout_ms: drain_timeout_ms(),
        }
    }
}

const fn one() -> u32 {
    1
}

const fn drain_timeout_ms() -> u64 {
    30_000
}

/// A model that the catalogue lacks, or whose prices differ.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The id that clients request, such as `local/llama`.
    pub id: String,
    /// The slug of the provider.
    pub provider: String,
    /// The provider's name of the model; default: the id without its first part.
    pub upstream_model: Option<String>,
    /// The price in USD per million prompt tokens; absent only for free models.
    pub prompt_usd_per_mtok: Option<Decimal>,
    /// The price in USD per million completion tokens; absent only for free models.
    pub completion_usd_per_mtok: Option<Decimal>,
    /// The price in USD per million prompt tokens read from a cache; default: the prompt's.
    pub cache_read_usd_per_mtok: Option<Decimal>,
    /// The price in USD per million prompt tokens written to a cache of 5 minutes; default: the prompt's.
    pub cache_write_usd_per_mtok: Option<Decimal>,
    /// The price in USD per million prompt tokens written to a cache of an hour; default: that of 5 minutes.
    pub cache_write_1h_usd_per_mtok: Option<Decimal>,
    /// The price in USD per million reasoning tokens; default: the completion's.
    pub reasoning_usd_per_mtok: Option<Decimal>,
    /// The name that lists show; default: the id.
    pub name: Option<String>,
    /// Optional parameters and inputs that the model accepts, such as `tools` or `vision`; default: all of them.
    pub capabilities: Option<Vec<String>>,
    /// The precision of its weights here, such as `fp8`; default: unknown.
    pub quantization: Option<String>,
    /// Whether nothing of a request is retained; default: the provider's.
    pub zdr: Option<bool>,
    /// Whether requests may be kept or trained on; default: the provider's.
    pub collects_data: Option<bool>,
    /// The region where requests are processed; default: the provider's.
    pub region: Option<String>,
    /// The factor of this provider's share of the model's requests, in percent of the share by price; default 100.
    pub weight: Option<u32>,
    /// Whether the model is intentionally free.
    #[serde(default)]
    pub free: bool,
    /// The maximum of prompt and completion tokens together.
    pub context_length: u64,
    /// The maximum of completion tokens; default: the context length.
    pub max_output_tokens: Option<u64>,
    /// The tokenizer, `o200k_base` or `cl100k_base`. If credit is short, a prompt is counted with it instead of bounded by its bytes.
    pub tokenizer: Option<Tokenizer>,
    /// The most tokens that the provider counts for one image. Without it, an unknown model's request with images holds its whole context.
    pub image_tokens_max: Option<u64>,
}

impl ModelConfig {
    /// Returns a model at a provider with these prices in USD per million tokens.
    #[must_use]
    pub fn priced(id: String, provider: &str, prompt: &str, completion: &str, context_length: u64) -> Self {
        Self {
            id,
            provider: provider.to_owned(),
            upstream_model: None,
            prompt_usd_per_mtok: Some(Decimal(prompt.to_owned())),
            completion_usd_per_mtok: Some(Decimal(completion.to_owned())),
            cache_read_usd_per_mtok: None,
            cache_write_usd_per_mtok: None,
            cache_write_1h_usd_per_mtok: None,
            reasoning_usd_per_mtok: None,
            name: None,
            capabilities: None,
            quantization: None,
            zdr: None,
            collects_data: None,
            region: None,
            weight: None,
            free: false,
            context_length,
            max_output_tokens: None,
            tokenizer: None,
            image_tokens_max: None,
        }
    }
}

/// A name under which requests are spread over several models, for an experiment or a careful change.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// The id that clients request, such as `acme/chat`.
    #[serde(alias = "name")]
    pub id: String,
    pub split: Vec<VariantConfig>,
}

/// A variant of a split.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// The variant's name in events.
    pub name: String,
    /// The id of the model that serves it.
    pub model: String,
    /// Its share of the requests, relative to the other variants.
    pub weight: u32,
}

/// A decimal number, written as a number or as a string; as a string it is exact at any length.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written")]
pub struct Decimal(pub String);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a decimal number such as 0.25")]
enum Written {
    Text(String),
    Whole(i64),
    Fraction(f64),
}

impl From<Written> for Decimal {
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Fraction(number) => number.to_string(),
        })
    }
}
