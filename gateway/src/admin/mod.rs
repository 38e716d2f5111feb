//! Management: commands that become control events, and what only the gateway knows.

pub mod key;
pub mod account;
pub mod credit;
pub mod quarantine;
pub mod body;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use eventlog::{RpcError, Throttle, rpc};
use events::clock::Clock;
use events::envelope::RawEnvelope;
use events::ids::Ids;
use events::{Draft, Failpoint, Payload, failpoint};
use http::{HeaderMap, header};

use crate::admission::Admission;
use crate::admission::quota::Quotas;
use crate::auth::{Directory, follow};
use crate::config::{BillingConfig, ServerConfig};
use crate::error::GatewayError;
use crate::spool::{Spool, SpoolError};

/// How long the ledger may take to answer.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(5);

/// What commands need.
#[derive(Clone)]
pub struct Admin {
    /// Keys and accounts.
    pub directory: Arc<Directory>,
    /// Where commands become events.
    pub spool: Arc<Spool>,
    /// Money and spending.
    pub ledger: rpc::Client,
    /// Reports.
    pub projector: rpc::Client,
    /// Bounds of a body.
    pub server: Arc<ServerConfig>,
    /// Fees, and how long bought credit lasts.
    pub billing: BillingConfig,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn Ids>,
    /// Whoever has it may make accounts and post credit.
    pub operator_token: Arc<str>,
    /// What one caller may take of what all share.
    pub quotas: Arc<Quotas>,
    /// Who is told of credit that came.
    pub admission: Arc<Admission>,
    /// Held while keys of an account are changed; accounts share some.
    pub changing: Arc<[tokio::sync::Mutex<()>]>,
}

impl Admin {
    /// Records a control event, waits until it is on the disk, and applies it here; other gateways read it from the log.
    ///
    /// # Errors
    /// 503 when the spool takes nothing more.
    pub async fn record<P: Payload>(&self, account: &str, subject: &str, payload: &P) -> Result<(), GatewayError> {
        let draft = Draft { id: self.ids.uuid(&*self.clock), time_us: self.clock.now_us(), account, subject, traceparent: None, payload };
        let position = self.spool.append(|batch| batch.push(&draft)).map_err(|error| {
            tracing::error!(%error, "a change is refused: {error}");
            if matches!(error, SpoolError::TooLarge(_)) { too_large() } else { GatewayError::SpoolFull }
        })?;
        self.spool.synced(position).await;
        failpoint(Failpoint::ControlRecorded);
        let mut bytes = Vec::new();
        draft.write(&self.spool.source, 1, &mut bytes).map_err(|_| GatewayError::Internal)?;
        let envelope = RawEnvelope::parse(&bytes).map_err(|_| GatewayError::Internal)?;
        follow::apply(&self.directory, &envelope).map_err(|_| GatewayError::Internal)?;
        // The answer may be all that the caller ever gets: the key must still be known after a crash with NATS away.
        let directory = Arc::clone(&self.directory);
        let saved = tokio::task::spawn_blocking(move || directory.save()).await.map_err(|_| GatewayError::Internal)?;
        saved.map_err(|error| {
            tracing::error!(%error, "the key directory cannot be written: {error}");
            GatewayError::SpoolFull
        })
    }

    /// Whoever reads the log into tables.
    #[must_use]
    pub const fn readers(&self) -> [&rpc::Client; 2] {
        [&self.ledger, &self.projector]
    }

    /// Checks the operator's token.
    ///
    /// # Errors
    /// 401 when it is missing or wrong.
    pub fn operator(&self, headers: &HeaderMap) -> Result<(), GatewayError> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or_default();
        // Hashes are compared, so that the time taken tells nothing about the token.
        let same = events::KeyHash::of_secret(given) == events::KeyHash::of_secret(&self.operator_token);
        if same && !self.operator_token.is_empty() { Ok(()) } else { Err(GatewayError::Unauthenticated) }
    }
}

fn too_large() -> GatewayError {
    GatewayError::BadRequest { message: "The change is too large to be recorded: shorten its lists and texts.".to_owned(), param: None }
}

impl From<RpcError> for GatewayError {
    fn from(error: RpcError) -> Self {
        static TROUBLES: Throttle = Throttle::new();
        if let (_, Some(unsaid)) = TROUBLES.failed() {
            tracing::warn!(%error, unsaid, "{error}");
        }
        Self::unavailable(error.who())
    }
}
