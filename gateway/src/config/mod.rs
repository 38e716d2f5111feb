//! The configuration of the gateway, one small struct for each stage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use events::sealed::MasterKeys;
use serde::Deserialize;

pub mod endpoints;

pub use endpoints::{
    Decimal, ModelConfig, OnDisconnect, ProviderConfig, ProviderKeyConfig, ResponsesUse, SplitConfig, Unmetered, VariantConfig,
};

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
    /// The most requests of one account in any 60 s, or `none`.
    pub requests_per_minute: Bound,
    /// The most requests of one account for free models in any 60 s, or `none`.
    pub free_requests_per_minute: Bound,
    /// The most requests of one account for free models in any 24 h, or `none`.
    pub free_requests_per_day: Bound,
    /// The same for an account that has ever bought `purchase_usd_min`.
    pub free_requests_per_day_after_purchase: Bound,
    /// The amount in whole USD.
    pub purchase_usd_min: u32,
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
            requests_per_minute: Bound(Some(100_000)),
            free_requests_per_minute: Bound(Some(20)),
            free_requests_per_day: Bound(Some(50)),
            free_requests_per_day_after_purchase: Bound(Some(1_000)),
            purchase_usd_min: 5,
        }
    }
}

/// A bound, written as a number or as `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenBound")]
pub struct Bound(pub Option<u64>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a whole number from 1, or \"none\"")]
enum WrittenBound {
    Number(u64),
    Word(String),
}

impl TryFrom<WrittenBound> for Bound {
    type Error = &'static str;

    fn try_from(written: WrittenBound) -> Result<Self, Self::Error> {
        match written {
            WrittenBound::Number(number) if number > 0 => Ok(Self(Some(number))),
            WrittenBound::Word(word) if word == "none" => Ok(Self(None)),
            WrittenBound::Number(_) | WrittenBound::Word(_) => Err("a bound must be a whole number from 1, or \"none\""),
        }
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
    /// The time without a piece of a stream after which another provider is asked, if there is one, in milliseconds; 0 for never.
    pub fallback_after_ms: u64,
    /// The same for an answer that is not streamed: the time for the whole of it.
    pub fallback_after_whole_ms: u64,
    /// The most rounds over the candidates of a request; 1 for no second try. A round begins if all candidates failed in a way that may pass.
    pub retry_rounds_max: u32,
    /// The most tries of one request, over all candidates and rounds.
    pub retry_tries_max: u32,
    /// The latest start of a further round, after the start of the first one, in milliseconds.
    pub retry_within_ms: u64,
    /// The wait before the second round, in milliseconds; each further one doubles it. A provider's `Retry-After` may make it longer.
    pub retry_delay_ms: u64,
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
            fallback_after_ms: 60_000,
            fallback_after_whole_ms: 600_000,
            retry_rounds_max: 2,
            retry_tries_max: 20,
            retry_within_ms: 10_000,
            retry_delay_ms: 200,
            idle_timeout_ms: 900_000,
            heartbeat_ms: 15_000,
            body_bytes_max: 64 * 1024 * 1024,
            media_from_private_addresses: false,
        }
    }
}

/// Own provider keys of accounts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByokConfig {
    /// The requests with own provider keys of one account in a UTC month that are free of the fee.
    pub free_requests_per_month: u64,
    /// The fee for further ones, in percent of the list price.
    pub fee_percent: Decimal,
    /// Whether a base URL of an account may lie in private networks, this machine included.
    pub base_url_at_private_addresses: bool,
    /// The maximum number of provider keys of one account.
    pub keys_per_account_max: usize,
}

impl Default for ByokConfig {
    fn default() -> Self {
        Self {
            free_requests_per_month: 1_000_000,
            fee_percent: Decimal("5".to_owned()),
            base_url_at_private_addresses: false,
            keys_per_account_max: 100,
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
    pub byok: ByokConfig,
    /// The providers, with their credentials resolved.
    pub providers: Vec<ProviderConfig>,
    /// The models in addition to the catalogue's.
    pub models: Vec<ModelConfig>,
    /// The token that authorizes the operator's calls, such as creating accounts and posting credit.
    pub operator_token: String,
    /// The keys that seal secrets of accounts.
    pub master_keys: Arc<MasterKeys>,
}
