//! The built-in provider: a real HTTP server on loopback that responds like OpenAI, so that a new installation works without a provider.

pub mod script;
pub mod answer;
pub mod embeddings;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::routing::post;
use events::Clock;
use events::ids::Ids;
use gateway::config::{ModelConfig, ProviderConfig, ServerConfig};
use gateway::serve;
use gateway::serve::connection::Timeouts;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Settings of the built-in provider. `simulated/slow` and `simulated/flaky` have their own latency and rates.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedConfig {
    /// The time until the first chunk.
    pub latency_ms: u64,
    /// The chunks per second of a stream; 0 means no delay.
    pub tokens_per_second: u64,
    /// The percentage of responses that are errors.
    pub error_percent: u8,
    /// The percentage of streams that break off.
    pub cut_percent: u8,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self { latency_ms: 20, tokens_per_second: 200, error_percent: 0, cut_percent: 0 }
    }
}

/// The state that the handlers share.
#[derive(Clone)]
pub struct Simulated {
    config: Arc<SimulatedConfig>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
}

/// Starts the provider and returns its address.
pub async fn start(
    config: SimulatedConfig,
    (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>),
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<SocketAddr> {
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v1/chat/completions", post(answer::chat))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .with_state(Simulated { config: Arc::new(config), ids, clock });
    tasks.spawn(serve::serve(listener, router, Timeouts::of(&ServerConfig::default()), stop));
    Ok(address)
}

/// Returns the provider and its models as entries of the gateway's configuration.
pub fn entries(address: SocketAddr) -> (ProviderConfig, Vec<ModelConfig>) {
    let provider = ProviderConfig::openai("simulated", format!("http://{address}/v1"));
    let model = |name: &str| ModelConfig {
        upstream_model: Some(name.to_owned()),
        max_output_tokens: Some(4_096),
        ..ModelConfig::priced(format!("simulated/{name}"), "simulated", "1", "2", 128_000)
    };
    (provider, ["echo", "slow", "flaky", "reasoner", "tools", "embed"].map(model).to_vec())
}
