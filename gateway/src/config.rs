//! What the gateway can be told, one small struct for each stage.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use wire::call::Format;

use crate::route::tokens::Tokenizer;

/// Where requests come in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bytes of a request body at the most.
    pub body_bytes_max: usize,
    /// How long a request's head or body may take to arrive.
    pub read_timeout_ms: u64,
    /// How long a client may take no bytes of its answer before it counts as gone.
    pub write_timeout_ms: u64,
    /// How long a connection may wait for its next request; longer than the 60 s of common balancers.
    pub keep_alive_timeout_ms: u64,
    /// How long one request may take, streams included.
    pub stream_timeout_ms: u64,
    /// How long running streams may go on after SIGTERM.
    pub drain_timeout_ms: u64,
    /// Certificate chain (PEM); with it and `tls_key` requests come in over TLS. Read again when the file changes.
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of `tls_cert`.
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

/// Quotas: what one caller may take of what all share.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections at once; fewer where the system allows fewer open files.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Proxies in front, as addresses or networks such as `10.0.0.0/8`: their connections have no share per address.
    pub trusted_proxies: Vec<String>,
    /// Requests in flight.
    pub requests_in_flight_max: usize,
    /// Requests in flight of one account.
    pub requests_in_flight_per_account_max: usize,
    /// Bytes of the bodies of requests in flight.
    pub body_bytes_in_flight_max: usize,
    /// Bytes of the bodies of one account's requests in flight.
    pub body_bytes_in_flight_per_account_max: usize,
    /// Prompts that are counted in tokens at once.
    pub token_counts_max: usize,
    /// Keys of one account, deleted ones included.
    pub keys_per_account_max: usize,
    /// Changes of one account's keys a second; four times as many may come at once.
    pub key_changes_per_second: u32,
    /// Refusals of one account that are recorded one by one each second; the rest is recorded as a count.
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

/// What is sold.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BillingConfig {
    /// Days after which bought credit expires; 0 = never.
    pub purchase_expires_days: u32,
    /// What is paid on top of bought credit, in hundredths of a percent of it.
    pub fee_basis_points: u32,
}

impl Default for BillingConfig {
    fn default() -> Self {
        Self { purchase_expires_days: 365, fee_basis_points: 0 }
    }
}

/// When the end of a request is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpoolMode {
    /// Written before the answer goes on, synced every few milliseconds: survives the death of the process.
    Fast,
    /// Synced before the request is sent to a provider and before the answer ends: survives the loss of power.
    Strict,
}

/// The spool.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// See [`SpoolMode`].
    pub mode: SpoolMode,
    /// Bytes on disk at the most; when full, requests are refused.
    pub bytes_max: u64,
    /// Bytes of one file.
    pub segment_bytes: u64,
    /// How long written bytes may wait for a sync.
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
    /// Until a connection stands.
    pub connect_timeout_ms: u64,
    /// Until the first byte of an answer. A model may think for many minutes before it.
    pub first_byte_timeout_ms: u64,
    /// Between two bytes of an answer, comments included.
    pub idle_timeout_ms: u64,
    /// How long a stream may be silent before a comment tells the client and the proxies between that it lives.
    pub heartbeat_ms: u64,
    /// Bytes of an answer that is not a stream, at the most.
    pub body_bytes_max: usize,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 900_000,
            idle_timeout_ms: 900_000,
            heartbeat_ms: 15_000,
            body_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// The call to a provider after its client has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Its connection is closed at once: what was relayed is charged, by our own count.
    #[default]
    Cancel,
    /// It is read to its end, within a bound, to learn what it bills.
    Drain,
}

/// A provider.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name in model ids, such as `openai`.
    pub slug: String,
    /// The format it speaks, `openai` for chat completions, which is the default.
    #[serde(default = "chat", deserialize_with = "provider_format")]
    pub format: Format,
    /// Such as `https://api.openai.com/v1`; known providers have a default.
    pub base_url: Option<String>,
    /// The environment variable that holds its credential.
    pub api_key_env: Option<String>,
    /// Its credential; better in the environment.
    pub api_key: Option<String>,
    /// The field by which it takes a bound on completion tokens; default: what is known of it, else `max_tokens`.
    pub max_tokens_field: Option<String>,
    /// The call after its client has left.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
    /// How long such a call is read on, with `drain`.
    #[serde(default = "drain_timeout_ms")]
    pub drain_timeout_ms: u64,
}

impl ProviderConfig {
    /// A provider that speaks OpenAI's format at an address, and needs no credential.
    #[must_use]
    pub fn openai(slug: &str, base_url: String) -> Self {
        Self {
            slug: slug.to_owned(),
            format: Format::Chat,
            base_url: Some(base_url),
            api_key_env: None,
            api_key: None,
            max_tokens_field: None,
            on_disconnect: OnDisconnect::default(),
            drain_timeout_ms: drain_timeout_ms(),
        }
    }
}

const fn drain_timeout_ms() -> u64 {
    30_000
}

const fn chat() -> Format {
    Format::Chat
}

/// Reads a vendor's name for its format.
fn provider_format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "openai" => Ok(Format::Chat),
        other => Err(serde::de::Error::custom(format!("unknown format {other:?}; the formats are: openai"))),
    }
}

/// A model that the catalogue lacks, or with other prices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// What clients ask for, such as `local/llama`.
    pub id: String,
    /// The provider's slug.
    pub provider: String,
    /// The provider's name for it; default: the id without its first part.
    pub upstream_model: Option<String>,
    /// USD per million prompt tokens; absent only for free models.
    pub prompt_usd_per_mtok: Option<Decimal>,
    /// USD per million completion tokens; absent only for free models.
    pub completion_usd_per_mtok: Option<Decimal>,
    /// Costs nothing, on purpose.
    #[serde(default)]
    pub free: bool,
    /// Prompt and completion tokens together.
    pub context_length: u64,
    /// Completion tokens at the most; default: the context length.
    pub max_output_tokens: Option<u64>,
    /// How it counts prompts, `o200k_base` or `cl100k_base`: where credit is short, a prompt is counted instead of bounded by its bytes.
    pub tokenizer: Option<Tokenizer>,
}

/// All that the gateway is told.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Its name in the source of its events.
    pub node: String,
    /// Its folder for spool and snapshots.
    pub data: PathBuf,
    /// Where requests come in.
    pub server: ServerConfig,
    /// Quotas.
    pub limits: LimitsConfig,
    /// What is sold.
    pub billing: BillingConfig,
    /// The spool.
    pub spool: SpoolConfig,
    /// Calls to providers.
    pub upstream: UpstreamConfig,
    /// Providers, with their credentials read.
    pub providers: Vec<ProviderConfig>,
    /// Models beside the catalogue's.
    pub models: Vec<ModelConfig>,
    /// Whoever has it may make accounts and post credit.
    pub operator_token: String,
}
