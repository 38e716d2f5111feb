//! The configuration of the gateway, one small struct for each stage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use events::sealed::MasterKeys;
use pricing::known_providers::ProviderFormat;
use serde::Deserialize;

use crate::route::tokens::Tokenizer;

/// The HTTP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The maximum bytes of a request body.
    pub body_bytes_max: usize,
    /// The longest time for a request's head or body to arrive, in milliseconds.
    pub read_timeout_ms: u64,
    /// The longest time that a client may accept no bytes of its response before it counts as gone, in milliseconds.
    pub write_timeout_ms: u64,
    /// The longest wait of a connection for its next request, in milliseconds; longer than the 60 s of common load balancers.
    pub keep_alive_timeout_ms: u64,
    /// The maximum duration of one request, including its stream, in milliseconds.
    pub stream_timeout_ms: u64,
    /// The time that running streams get to end after SIGTERM, in milliseconds.
    pub drain_timeout_ms: u64,
    /// The certificate chain (PEM). With it and `tls_key` requests arrive over TLS. The file is read again after a change.
    pub tls_cert: Option<PathBuf>,
    /// The private key (PEM) of `tls_cert`.
    pub tls_key: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            body_bytes_max: 10 * 1024 * 1024,
            read_timeout_ms: 30_000,
            write_timeout_ms: 60_000,
            keep_alive_timeout_ms: 75_000,
            stream_timeout_ms: 3_600_000,
            drain_timeout_ms: 25_000,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// Limits on one caller's use of shared resources, and on their use in total.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// The maximum number of open connections; lower if the system allows too few open files.
    pub connections_max: usize,
    /// The maximum number of open connections from one address.
    pub connections_per_address_max: usize,
    /// The proxies in front, as addresses or networks such as `10.0.0.0/8`; they are exempt from the limit per address.
    pub trusted_proxies: Vec<String>,
    /// The maximum number of requests in flight.
    pub requests_in_flight_max: usize,
    /// The maximum number of requests in flight of one account.
    pub requests_in_flight_per_account_max: usize,
    /// The maximum bytes of the bodies of requests in flight.
    pub body_bytes_in_flight_max: usize,
    /// The maximum bytes of the bodies of one account's requests in flight.
    pub body_bytes_in_flight_per_account_max: usize,
    /// The maximum number of prompts whose tokens are counted concurrently.
    pub token_counts_max: usize,
    /// The maximum number of keys of one account, including deleted ones.
    pub keys_per_account_max: usize,
    /// The maximum number of webhooks of one account.
    pub webhooks_per_account_max: usize,
    /// The changes of one account's keys and webhooks per second; a burst may be four times as many.
    pub key_changes_per_second: u32,
    /// The refusals of one account that are recorded individually per second; the others are recorded as a count.
    pub refusals_recorded_per_second: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            trusted_proxies: Vec::new(),
            requests_in_flight_max: 10_000,
            requests_in_flight_per_account_max: 2_000,
            body_bytes_in_flight_max: 192 * 1024 * 1024,
            body_bytes_in_flight_per_account_max: 64 * 1024 * 1024,
            token_counts_max: 2,
            keys_per_account_max: 10_000,
            webhooks_per_account_max: 20,
            key_changes_per_second: 50,
            refusals_recorded_per_second: 10,
        }
    }
}

/// A decimal number, written as a number or as a string; as a string it is exact at any length.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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

/// The durability of a request's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpoolMode {
    /// Events are written before the response continues and synced every few milliseconds; they survive the death of the process.
    Fast,
    /// Events are synced before the request is sent to a provider and before the response ends; they survive a loss of power.
    Strict,
}

/// The spool.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    pub mode: SpoolMode,
    /// The maximum bytes on disk; requests are rejected at the limit.
    pub bytes_max: u64,
    /// The bytes of one file.
    pub segment_bytes: u64,
    /// The longest time that written bytes wait for a sync, in milliseconds.
    pub sync_every_ms: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { mode: SpoolMode::Fast, bytes_max: 1024 * 1024 * 1024, segment_bytes: 64 * 1024 * 1024, sync_every_ms: 10 }
    }
}

/// Calls to providers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// The timeout for establishing a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The timeout for the first byte of a response, in milliseconds. A model may think for many minutes before it.
    pub first_byte_timeout_ms: u64,
    /// The timeout between two bytes of a response, comments included, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The time without stream output after which a comment keeps the client and the proxies in between from timing out, in milliseconds.
    pub heartbeat_ms: u64,
    /// The maximum bytes of a response that is not a stream.
    pub body_bytes_max: usize,
    /// Whether images and documents that callers name by an address may lie in private networks, this machine included.
    pub media_from_private_addresses: bool,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 900_000,
            idle_timeout_ms: 900_000,
            heartbeat_ms: 15_000,
            body_bytes_max: 64 * 1024 * 1024,
            media_from_private_addresses: false,
        }
    }
}

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
            max_tokens_field: None,
            proxy_unmetered: Unmetered::default(),
            on_disconnect: OnDisconnect::default(),
            drain_timeout_ms: drain_timeout_ms(),
        }
    }
}

const fn drain_timeout_ms() -> u64 {
    30_000
}

/// A model that the catalogue lacks, or whose prices differ.
#[derive(Debug, Clone, Deserialize)]
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
            free: false,
            context_length,
            max_output_tokens: None,
            tokenizer: None,
            image_tokens_max: None,
        }
    }
}

/// The whole configuration of the gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// The gateway's name in the source of its events.
    pub node: String,
    /// The gateway's folder for the spool and the key directory.
    pub data: PathBuf,
    pub server: ServerConfig,
    pub limits: LimitsConfig,
    pub spool: SpoolConfig,
    pub upstream: UpstreamConfig,
    /// The providers, with their credentials resolved.
    pub providers: Vec<ProviderConfig>,
    /// The models in addition to the catalogue's.
    pub models: Vec<ModelConfig>,
    /// The token that authorizes the operator's calls, such as creating accounts and posting credit.
    pub operator_token: String,
    /// The keys that seal secrets of accounts.
    pub master_keys: Arc<MasterKeys>,
}
