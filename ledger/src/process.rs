//! The ledger as a process: its database, readers, RPC handlers and sweeps.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use eventlog::share::members::Member;
use eventlog::{Fold, Log, Pace, Progress, Reader, ReaderContext, SharedReader, Store, StoreError, Throttle};
use events::caller::InternalSecret;
use events::ids::Ids;
use events::rpc::{ClaimRevision, RevisionClaim};
use events::{Clock, SigningKeys};
use read_api::Http;
use sqlx::Any;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batches::Batches;
use crate::control_reader::NoteControl;
use crate::credit::billing::Billing;
use crate::decide;
use crate::lease::Terms;
use crate::posting::PostUsage;
use crate::rpc::RpcHandler;
use crate::signing_keys::{self, SigningKeyError};
use crate::{MIGRATIONS, grant, idempotency, lease, outbox, rate, readers, router};

/// The interval between sweeps of leases and grants.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The ledger's settings.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
    /// The node name in the source of the ledger's events.
    pub node: String,
    /// The terms on which gateways borrow credit.
    pub terms: Terms,
    /// The terms of purchases.
    pub billing: Billing,
    /// The file with the keys that sign facts; created if it is missing.
    pub signing_key: PathBuf,
}

/// An error that keeps the books from being opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] SigningKeyError),
}

pub struct Ledger {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The terms on which gateways borrow credit.
    pub terms: Terms,
    /// The terms of purchases.
    pub billing: Billing,
    /// The keys that sign the ledger's facts in the log.
    pub keys: SigningKeys,
    /// The path of the key file if this start created it.
    pub new_key: Option<PathBuf>,
    pub(crate) claims: Batches<ClaimRevision, RevisionClaim>,
    node: String,
    posted: watch::Sender<Progress>,
    first: watch::Sender<bool>,
}

impl Ledger {
    /// Opens the books and brings the database schema up to date.
    ///
    /// # Errors
    /// Fails if the database cannot be opened or migrated, or the signing key cannot be used.
    pub async fn open(config: &LedgerConfig, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Arc<Self>, OpenError> {
        let store = Store::open(&config.database_url, MIGRATIONS).await?;
        let outbox = sqlx::query::<Any>(
            "INSERT INTO outbox_state (one, node, written, published) VALUES (1, $1, 0, 0) ON CONFLICT (one) DO NOTHING",
        );
        let opened = async {
            let mut transaction = store.begin_exclusive().await?;
            outbox.bind(config.node.clone()).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        opened.await.map_err(|cause| StoreError::Open { url: String::new(), cause })?;
        let (keys, is_new) = signing_keys::load(&config.signing_key, &*ids, &store).await?;
        let first = watch::Sender::new(store.parallelism() == 1);
        Ok(Arc::new(Self {
            store,
            clock,
            ids,
            terms: config.terms,
            billing: config.billing,
            keys,
            new_key: is_new.then(|| config.signing_key.clone()),
            claims: Batches::default(),
            node: config.node.clone(),
            posted: watch::Sender::new(Progress::default()),
            first,
        }))
    }

    /// Starts the readers, the outbox relay and the sweeps.
    pub fn start(self: &Arc<Self>, log: &Log, tasks: &TaskTracker, stop: &CancellationToken) {
        self.post_usage(log, tasks, stop);
        let directory = Reader::new(
            readers::DIRECTORY,
            self.context(log),
            Arc::new(NoteControl),
            Pace::PROMPT,
            watch::Sender::new(Progress::default()),
        );
        tasks.spawn(directory.run(stop.clone()));
        let (ledger, log_of_relay, stopped) = (Arc::clone(self), log.clone(), stop.clone());
        let is_first = self.is_first();
        tasks.spawn(async move { outbox::relay(&ledger, &log_of_relay, is_first, stopped).await });
        let (ledger, log_of_sweep, stopped) = (Arc::clone(self), log.clone(), stop.clone());
        let is_first = self.is_first();
        tasks.spawn(async move { sweep(&ledger, &log_of_sweep, is_first, stopped).await });
    }

    /// Returns a channel that tells whether this ledger is the first of those that share its database, which alone runs the relay and the
    /// sweeps.
    #[must_use]
    pub fn is_first(&self) -> watch::Receiver<bool> {
        self.first.subscribe()
    }

    /// Posts usage. With `SQLite` it works alone; with PostgreSQL it shares the partitions with all other ledgers of the database.
    fn post_usage(self: &Arc<Self>, log: &Log, tasks: &TaskTracker, stop: &CancellationToken) {
        let (parallelism, context) = (self.store.parallelism(), self.context(log));
        let fold = || Arc::new(PostUsage::new(Arc::clone(self))) as Arc<dyn Fold>;
        if parallelism == 1 {
            let reader = Reader::new(readers::POSTINGS, context, fold(), Pace::PROMPT, self.posted.clone());
            tasks.spawn(reader.run(stop.clone()));
            return;
        }
        let reader = SharedReader {
            id: readers::POSTINGS,
            context,
            folds: (0..parallelism).map(|_| fold()).collect(),
            pace: Pace::PROMPT,
            progress: self.posted.clone(),
            first: self.first.clone(),
            troubles: Throttle::new(),
        };
        let name = format!("{}/{}", self.node, self.ids.uuid(&*self.clock));
        let member = Member::new(self.store.clone(), readers::POSTINGS, self.node.clone(), name);
        tasks.spawn(reader.run(member, stop.clone()));
    }

    fn context(&self, log: &Log) -> ReaderContext {
        ReaderContext { log: log.clone(), store: self.store.clone(), clock: Arc::clone(&self.clock) }
    }

    /// Creates an empty state for one step.
    #[must_use]
    pub fn state(&self) -> decide::State {
        decide::State { terms: self.terms, billing: self.billing, ..decide::State::default() }
    }

    #[must_use]
    pub fn rpc_handler(self: &Arc<Self>) -> Arc<RpcHandler> {
        Arc::new(RpcHandler(Arc::clone(self)))
    }

    pub fn router(&self, secret: InternalSecret) -> Router {
        router::router(Http { store: self.store.clone(), clock: Arc::clone(&self.clock), secret, progress: self.posted.subscribe() })
    }
}

async fn sweep(ledger: &Ledger, log: &Log, is_first: watch::Receiver<bool>, stop: CancellationToken) {
    let troubles = Throttle::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if !*is_first.borrow() {
            continue;
        }
        let swept = async {
            if let Err(error) = lease::settle::sweep(ledger, log).await
                && let (_, Some(unsaid)) = troubles.failed()
            {
                tracing::warn!(%error, unsaid, "leases were not looked at: {error}");
            }
            if let Err(error) = idempotency::sweep(ledger).await
                && let (_, Some(unsaid)) = troubles.failed()
            {
                tracing::warn!(%error, unsaid, "old idempotency keys were not deleted: {error}");
            }
            if let Err(error) = rate::sweep(ledger).await
                && let (_, Some(unsaid)) = troubles.failed()
            {
                tracing::warn!(%error, unsaid, "old shares of rate limits were not deleted: {error}");
            }
            if let Err(error) = grant::expire::sweep(ledger).await
                && let (_, Some(unsaid)) = troubles.failed()
            {
                tracing::warn!(%error, unsaid, "grants were not looked at: {error}");
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = swept => {}
        }
    }
}
