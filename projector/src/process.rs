//! The projector as a process: its database, readers, RPC handlers and the sender of webhooks.

use std::sync::{Arc, Mutex};

use axum::Router;
use eventlog::{Log, Progress, Reader, ReaderContext, Store, StoreError};
use events::Clock;
use events::caller::InternalSecret;
use events::ids::Ids;
use events::sealed::MasterKeys;
use read_api::Http;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exports::feed::Feeds;
use crate::rpc::RpcHandler;
use crate::webhook::calls::Calls;
use crate::webhook::client::WebhookClient;
use crate::webhook::deliveries;
use crate::webhook::schedule::WINDOW_US;
use crate::webhook::sender::Sender;
use crate::{MIGRATIONS, projections, router};

/// The projector's settings.
#[derive(Clone)]
pub struct ProjectorConfig {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
    /// The keys that open the secrets of webhooks.
    pub master_keys: Arc<MasterKeys>,
    /// Whether webhooks may be sent to private addresses.
    pub webhooks_to_private_addresses: bool,
}

pub struct Projector {
    pub store: Store,
    clock: Arc<dyn Clock>,
    /// The progress of the reader of requests.
    requests: watch::Sender<Progress>,
    /// The progress of the reader of sums.
    sums: watch::Sender<Progress>,
    calls: Calls,
    master_keys: Arc<MasterKeys>,
}

/// The reason why the projector does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the projector's database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("TLS of webhooks cannot be set up: {0}; are ca-certificates installed?")]
    Client(#[from] reqwest::Error),
}

impl Projector {
    /// Opens the tables and brings the database schema up to date.
    ///
    /// # Errors
    /// Fails if the database cannot be opened or migrated.
    pub async fn open(config: &ProjectorConfig, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, OpenError> {
        let store = Store::open(&config.database_url, MIGRATIONS).await?;
        let mut transaction = store.begin_exclusive().await?;
        deliveries::set_floor(&mut transaction, clock.now_us() - WINDOW_US).await?;
        transaction.commit().await?;
        let client = WebhookClient::try_new(config.webhooks_to_private_addresses)?;
        let calls = Calls { store: store.clone(), clock: Arc::clone(&clock), ids, client };
        Ok(Self {
            store,
            clock,
            requests: watch::Sender::default(),
            sums: watch::Sender::default(),
            calls,
            master_keys: Arc::clone(&config.master_keys),
        })
    }

    /// Starts to send webhooks.
    pub fn send_webhooks(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let Calls { store, clock, ids, client } = self.calls.clone();
        let sender = Sender { store, clock, ids, master_keys: Arc::clone(&self.master_keys), client, busy: Mutex::default() };
        tasks.spawn(Arc::new(sender).run(stop.clone()));
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
            let reader = reader.behind(projection.behind);
            tasks.spawn(reader.run(stop.clone()));
        }
    }

    #[must_use]
    pub fn rpc_handler(&self) -> Arc<RpcHandler> {
        Arc::new(RpcHandler { store: self.store.clone(), clock: Arc::clone(&self.clock), webhooks: self.calls.clone() })
    }

    /// Returns all read routes; `log` is that of the feed of events.
    pub fn router(&self, secret: &InternalSecret, log: &Log) -> Router {
        let feeds = Feeds { log: log.clone(), open: Arc::default() };
        self.reports(secret).merge(router::events(self.http(secret, &self.requests), feeds))
    }

    /// Returns the routes of reports, which need the database alone.
    pub fn reports(&self, secret: &InternalSecret) -> Router {
        router::reports(self.http(secret, &self.requests), self.http(secret, &self.sums))
    }

    fn http(&self, secret: &InternalSecret, progress: &watch::Sender<Progress>) -> Http {
        Http { store: self.store.clone(), clock: Arc::clone(&self.clock), secret: secret.clone(), progress: progress.subscribe() }
    }
}
