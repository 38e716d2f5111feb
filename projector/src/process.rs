//! The projector as a process: its database, readers and RPC handlers.

use std::sync::Arc;

use axum::Router;
use eventlog::{Log, Progress, Reader, ReaderContext, Store, StoreError};
use events::Clock;
use events::caller::InternalSecret;
use read_api::Http;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rpc::RpcHandler;
use crate::{MIGRATIONS, projections, router};

/// The projector's settings.
#[derive(Debug, Clone)]
pub struct ProjectorConfig {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
}

pub struct Projector {
    pub store: Store,
    clock: Arc<dyn Clock>,
    /// The progress of the reader of requests.
    requests: watch::Sender<Progress>,
    /// The progress of the reader of sums.
    sums: watch::Sender<Progress>,
}

impl Projector {
    /// Opens the tables and brings the database schema up to date.
    ///
    /// # Errors
    /// Fails if the database cannot be opened or migrated.
    pub async fn open(config: &ProjectorConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let store = Store::open(&config.database_url, MIGRATIONS).await?;
        Ok(Self { store, clock, requests: watch::Sender::default(), sums: watch::Sender::default() })
    }

    /// Starts one reader per projection.
    pub fn start(&self, log: &Log, tasks: &TaskTracker, stop: &CancellationToken) {
        let context = ReaderContext { log: log.clone(), store: self.store.clone(), clock: Arc::clone(&self.clock) };
        for projection in projections::ALL {
            // The `as_of` of a report is the progress of its reader.
            let progress = if projection.reader == projections::generations::PROJECTION.reader {
                self.requests.clone()
            } else if projection.reader == projections::usage::PROJECTION.reader {
                self.sums.clone()
            } else {
                watch::Sender::default()
            };
            let reader = Reader::new(projection.reader, context.clone(), Arc::new(projection.fold), projection.pace, progress);
            tasks.spawn(reader.run(stop.clone()));
        }
    }

    #[must_use]
    pub fn rpc_handler(&self) -> Arc<RpcHandler> {
        Arc::new(RpcHandler { store: self.store.clone(), clock: Arc::clone(&self.clock) })
    }

    pub fn router(&self, secret: &InternalSecret) -> Router {
        let http = |progress: &watch::Sender<Progress>| Http {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            secret: secret.clone(),
            progress: progress.subscribe(),
        };
        router::router(http(&self.requests), http(&self.sums))
    }
}
