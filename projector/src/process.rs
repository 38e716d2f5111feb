//! The projector as a process: its database, its readers, its answers.

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

/// Where the projector keeps its tables.
#[derive(Debug, Clone)]
pub struct ProjectorConfig {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
}

/// The projector.
pub struct Projector {
    /// Its database.
    pub store: Store,
    clock: Arc<dyn Clock>,
    progress: watch::Sender<Progress>,
}

impl Projector {
    /// Opens the tables.
    ///
    /// # Errors
    /// When the database does not open or cannot be brought up to date.
    pub async fn open(config: &ProjectorConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { store: Store::open(&config.database_url, MIGRATIONS).await?, clock, progress: watch::Sender::new(Progress::default()) })
    }

    /// Starts reading.
    pub fn start(&self, log: &Log, tasks: &TaskTracker, stop: &CancellationToken) {
        let context = ReaderContext { log: log.clone(), store: self.store.clone(), clock: Arc::clone(&self.clock) };
        for projection in projections::ALL {
            // Numbers of reports are true for the place that this one has reached.
            let is_reported = projection.reader == projections::generations::PROJECTION.reader;
            let progress = if is_reported { self.progress.clone() } else { watch::Sender::default() };
            let reader = Reader::new(projection.reader, context.clone(), Arc::new(projection.fold), projection.pace, progress);
            tasks.spawn(reader.run(stop.clone()));
        }
    }

    /// Who answers requests for it.
    #[must_use]
    pub fn rpc_handler(&self) -> Arc<RpcHandler> {
        Arc::new(RpcHandler { store: self.store.clone(), clock: Arc::clone(&self.clock) })
    }

    /// Its read routes.
    pub fn router(&self, secret: InternalSecret) -> Router {
        router::router(Http { store: self.store.clone(), clock: Arc::clone(&self.clock), secret, progress: self.progress.subscribe() })
    }
}
