//! What the gateway can be told, one small struct for each stage.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

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
    /// How long running streams may go on after SIGTERM.
    pub drain_timeout_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            body_bytes_max: 10 * 1024 * 1024,
            read_timeout_ms: 30_000,
            drain_timeout_ms: 25_000,
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
    /// Until the first byte of an answer.
    pub first_byte_timeout_ms: u64,
    /// Between two pieces of an answer.
    pub idle_timeout_ms: u64,
    /// Bytes of an answer that is not a stream, at the most.
    pub body_bytes_max: usize,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self { connect_timeout_ms: 5_000, first_byte_timeout_ms: 300_000, idle_timeout_ms: 120_000, body_bytes_max: 64 * 1024 * 1024 }
    }
}

/// The wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderFormat {
    /// OpenAI's chat completions.
    Openai,
}

/// A provider.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name in model ids, such as `openai`.
    pub slug: String,
    /// What it speaks; default: OpenAI's format.
    #[serde(default = "openai")]
    pub format: ProviderFormat,
    /// Such as `https://api.openai.com/v1`; known providers have a default.
    pub base_url: Option<String>,
    /// The environment variable that holds its credential.
    pub api_key_env: Option<String>,
    /// Its credential; better in the environment.
    pub api_key: Option<String>,
}

const fn openai() -> ProviderFormat {
    ProviderFormat::Openai
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
