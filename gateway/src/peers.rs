//! The processes beside the gateway, and the secrets that it shares with them.

use eventlog::{Log, rpc};
use events::caller::InternalSecret;
use tokio::runtime::Handle;

use crate::forward::Reads;

/// The other processes.
#[derive(Clone)]
pub struct Peers {
    pub log: Log,
    /// The client for calls to the ledger.
    pub ledger: rpc::Client,
    /// The client for calls to the projector.
    pub projector: rpc::Client,
    /// The target of reads that the ledger answers.
    pub ledger_reads: Reads,
    /// The target of reads that the projector answers.
    pub projector_reads: Reads,
    /// The OpenAPI documents of these reads.
    pub documents: [utoipa::openapi::OpenApi; 2],
    /// The secret with which the gateway signs the identity of callers.
    pub secret: InternalSecret,
    /// The secret from which the secrets of keys are derived whose creation may be repeated. It must be the same after a restart.
    pub seed: InternalSecret,
    /// The runtime for work that no request waits for.
    pub background: Handle,
}
