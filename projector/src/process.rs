//! The projector as a process: its database, its readers, its answers.

use std::sync::Arc;

use axum::Router;
use eventlog::{Fold, Log, Pace, Progress, Reader, Store, StoreError, Throttle};
use events::Clock;
use events::caller::InternalSecret;
use events::subject::Stream;
use read_api::Http;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::projections::arrivals::Arrivals;
use crate::projections::generations::Generations;
use crate::projections::keys::KeyNames;
use crate::rpc::RpcHandler;
use crate::{MIGRATIONS, router};

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
        let quiet = || watch::Sender::new(Progress::default());
        tasks.spawn(self.reader(log, Stream::Usage, Generations, self.progress.clone()).run(stop.clone()));
        let arrivals = self.reader(log, Stream::Requests, Arrivals, quiet());
        tasks.spawn(Reader { pace: Pace::RELAXED, ..arrivals }.run(stop.clone()));
        tasks.spawn(self.reader(log, Stream::Control, KeyNames, quiet()).run(stop.clone()));
    }

    fn reader<F: Fold>(&self, log: &Log, stream: Stream, fold: F, progress: watch::Sender<Progress>) -> Reader<F> {
        Reader {
            log: log.clone(),
            store: self.store.clone(),
            stream,
            fold,
            clock: Arc::clone(&self.clock),
            progress,
            pace: Pace::PROMPT,
            troubles: Throttle::new(),
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
