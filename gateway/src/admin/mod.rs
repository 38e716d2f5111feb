//! Management API: commands that become control events, and calls that the ledger and the projector answer.

pub mod key;
pub mod account;
pub mod user;
pub mod credit;
pub mod quarantine;
pub mod endpoint;
pub mod webhook;
pub mod catalog;
pub mod provider_key;
pub mod caller;
pub mod body;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use eventlog::{RpcError, Throttle, rpc};
use events::caller::InternalSecret;
use events::clock::Clock;
use events::envelope::RawEnvelope;
use events::ids::Ids;
use events::sealed::MasterKeys;
use events::{Draft, Failpoint, Payload, failpoint};

use crate::admission::Admission;
use crate::admission::in_flight_quota::Quotas;
use crate::attempt::upstream::Upstream;
use crate::auth::announcements::Announcements;
use crate::auth::{Directory, follow};
use crate::config::{ByokConfig, ServerConfig};
use crate::error::GatewayError;
use crate::route::CurrentRoutes;
use crate::route::own_keys::KeyRing;
use crate::spool::{Spool, SpoolError};

/// The longest wait for a reply of the ledger or the projector.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(5);

/// The dependencies of the management calls.
#[derive(Clone)]
pub struct Admin {
    pub directory: Arc<Directory>,
    /// The spool that records the commands as events.
    pub spool: Arc<Spool>,
    /// The place where recorded commands are announced to the other gateways.
    pub announcements: Announcements,
    /// The client for money and spending.
    pub ledger: rpc::Client,
    /// The client for reports.
    pub projector: rpc::Client,
    /// The limits of a request body.
    pub server: Arc<ServerConfig>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The token that authorizes the operator's calls, such as creating accounts and posting credit.
    pub operator_token: Arc<str>,
    /// The limits on one caller's use of shared resources.
    pub quotas: Arc<Quotas>,
    /// The admission that is notified of posted credit.
    pub admission: Arc<Admission>,
    /// The models, which the catalogue changes, and the health of their endpoints.
    pub routes: Arc<CurrentRoutes>,
    /// The secret from which the secrets of keys are derived whose creation may be repeated.
    pub seed: InternalSecret,
    /// Locks for changes of keys, each shared by several accounts.
    pub changing: Arc<[tokio::sync::Mutex<()>]>,
    /// The keys that seal the secrets of webhooks and the provider keys.
    pub master_keys: Arc<MasterKeys>,
    /// The provider keys of accounts, ready for use.
    pub own_keys: Arc<KeyRing>,
    /// The client that tests provider keys.
    pub probes: Arc<Upstream>,
    pub byok: ByokConfig,
}

impl Admin {
    /// Records a control event, waits until it is on the disk, applies it here, and announces it to the other gateways, which read it from
    /// the log too.
    ///
    /// # Errors
    /// Returns 503 if the spool is full, 400 if the event is too large.
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
        self.announcements.tell(&bytes);
        // The caller may never see another reply, so the key must still be known after a crash while NATS is unavailable.
        let directory = Arc::clone(&self.directory);
        let saved = tokio::task::spawn_blocking(move || directory.save()).await.map_err(|_| GatewayError::Internal)?;
        saved.map_err(|error| {
            tracing::error!(%error, "the key directory cannot be written: {error}");
            GatewayError::SpoolFull
        })
    }

    /// Returns the clients of the readers that store the log in tables.
    #[must_use]
    pub const fn readers(&self) -> [&rpc::Client; 2] {
        [&self.ledger, &self.projector]
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
