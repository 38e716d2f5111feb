//! The gateway as a process: recovers, builds the stages, serves, drains.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventlog::rpc::Signer;
use events::Source;
use events::caller::InternalSecret;
use events::clock::Clock;
use events::ids::Ids;
use events::rpc::Peer;
use pricing::{Catalog, Fee};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, webhook};
use crate::admission::Admission;
use crate::admission::allowance::Allowances;
use crate::admission::in_flight_quota::Quotas;
use crate::admission::purchases::Purchases;
use crate::admission::share_renewer::ShareRenewer;
use crate::attempt::upstream::{Upstream, UpstreamError};
use crate::auth::announcements::{self, Announcements};
use crate::auth::{Directory, follow};
use crate::config::GatewayConfig;
use crate::forward::{Forward, Reads};
use crate::health::Health;
use crate::metrics::{Counts, Metrics, Sources};
use crate::openapi;
use crate::peers::Peers;
use crate::refusals;
use crate::request::Stages;
use crate::route::own_keys::KeyRing;
use crate::route::reports::{Exchange, Report, Reports};
use crate::route::{CurrentRoutes, RouteError};
use crate::router::{AppState, router};
use crate::serve;
use crate::serve::connection::Timeouts;
use crate::serve::open::{BadNetwork, Open};
use crate::serve::tls::{Certificate, TlsError};
use crate::spool::publish::Publisher;
use crate::spool::sync::Syncer;
use crate::spool::{Disk, FileSystem, Spool, SpoolError, recover};
use crate::workers::{Worker, Workers};

/// The time that a stopping gateway waits for NATS to accept the spool; the rest is published at the next start.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of locks for key changes, each shared by several accounts.
const KEY_LOCKS: usize = 256;

/// The reason the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {cause}; stop what uses that port, or choose another with --listen")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("cannot use the data folder {folder}: {cause}; make it writable, or choose another with --data")]
    Data { folder: String, cause: io::Error },
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Providers or models are misconfigured.
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("byok.fee_percent: {0}")]
    Fee(#[from] pricing::fee::BadFee),
    #[error(transparent)]
    Catalog(#[from] pricing::CatalogError),
    /// A trusted proxy is not a valid network.
    #[error(transparent)]
    Network(#[from] BadNetwork),
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The TLS client for calls to providers cannot be set up.
    #[error("TLS cannot be set up: {0}; are ca-certificates installed?")]
    Client(#[from] rustls::Error),
}

/// A running gateway.
pub struct Gateway {
    /// The address that the gateway listens on.
    pub address: SocketAddr,
    /// The management commands, for the first start.
    pub admin: Admin,
    /// The health check of the gateway.
    pub health: Arc<Health>,
    metrics: Arc<Metrics>,
    first_model: Option<String>,
    /// The targets of reads that ledger and projector answer, and the secret that signs them.
    reads: [Reads; 2],
    secret: InternalSecret,
    config: GatewayConfig,
    quotas: Arc<Quotas>,
    syncers: Vec<Syncer>,
    failed: CancellationToken,
    abort_streams: CancellationToken,
    close_connections: CancellationToken,
    serving: Tasks,
    keepers: Tasks,
    shipping: Tasks,
    abandon_flush: CancellationToken,
}

/// Tasks that are stopped together.
#[derive(Clone, Default)]
struct Tasks {
    running: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Signals the tasks to stop; no task may be added afterwards.
    fn stop(&self) {
        self.stop.cancel();
        self.running.close();
    }

    /// Returns whether all tasks end within the time.
    async fn ended_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.running.wait()).await.is_ok()
    }
}

impl Gateway {
    /// Starts the gateway: settles and publishes the spools of earlier boots, then serves requests.
    pub async fn start(config: GatewayConfig, peers: Peers, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, StartError> {
        let routes = Arc::new(CurrentRoutes::try_new(Catalog::built_in()?, &config.providers, config.models.clone())?);
        let listener =
            serve::bind(config.server.listen).await.map_err(|cause| StartError::Listen { address: config.server.listen, cause })?;
        let address = listener.local_addr().map_err(data(&config))?;
        let (spool, old) = spools(&config, &*clock, &*ids)?;
        let directory = Arc::new(Directory::load(&config.data).map_err(data(&config))?);
        directory.catalogs.newest().into_iter().for_each(|catalog| routes.apply(&catalog));
        let server = Arc::new(config.server.clone());
        let quotas = Quotas::new(config.limits.clone(), !peers.ledger.is_local());
        let keepers = Tasks::default();
        let (reports, told) = Reports::new(&spool.source.0);
        let (announcements, announced) = Announcements::new();
        let admission = admission(&config, &peers, &spool, &keepers, (&clock, &ids, reports))?;
        let own_keys = KeyRing::new(Arc::clone(&directory), Arc::clone(&config.master_keys), config.byok.base_url_at_private_addresses);
        let admin = Admin {
            directory: Arc::clone(&directory),
            spool: Arc::clone(&spool),
            announcements,
            ledger: peers.ledger.clone(),
            projector: peers.projector.clone(),
            server: Arc::clone(&server),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            operator_token: config.operator_token.as_str().into(),
            quotas: Arc::clone(&quotas),
            admission: Arc::clone(&admission),
            seed: peers.seed.clone(),
            master_keys: Arc::clone(&config.master_keys),
            own_keys: Arc::new(own_keys),
            routes: Arc::clone(&routes),
            probes: Arc::new(Upstream::try_new(config.upstream.clone(), &config.providers)?),
            byok: config.byok.clone(),
            changing: (0..KEY_LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
        };
        let health = Arc::new(Health::new(peers.log.clone(), peers.ledger.clone(), Arc::clone(&spool)));
        let (open, failed) = (Open::try_new(&config.limits)?, CancellationToken::new());
        let metrics = Arc::new(Metrics::new(Sources {
            spool: Arc::clone(&spool),
            open: Arc::clone(&open),
            quotas: Arc::clone(&quotas),
            admission: Arc::clone(&admission),
            routes: Arc::clone(&routes),
            readers: [peers.ledger.clone(), peers.projector.clone()],
        }));
        let gateway = Self {
            address,
            metrics,
            reads: [peers.ledger_reads.clone(), peers.projector_reads.clone()],
            secret: peers.secret.clone(),
            first_model: routes.now().all().next().map(|model| model.name.id.clone()),
            admin: admin.clone(),
            health: Arc::clone(&health),
            syncers: syncers(&spool, &old, &config, &failed)?,
            failed,
            config,
            quotas,
            abort_streams: CancellationToken::new(),
            close_connections: CancellationToken::new(),
            serving: Tasks::default(),
            keepers,
            shipping: Tasks::default(),
            abandon_flush: CancellationToken::new(),
        };
        gateway.ship(&peers, &spool, old, &directory);
        gateway.exchange(&peers, told, announced);
        gateway.serve(listener, &routes, &open, &peers)?;
        Ok(gateway)
    }

    /// Accepts connections, with one worker thread per core.
    fn serve(&self, listener: TcpListener, routes: &Arc<CurrentRoutes>, open: &Arc<Open>, peers: &Peers) -> Result<(), StartError> {
        let server = &self.admin.server;
        let certificate = Certificate::load(server.tls_cert.as_ref(), server.tls_key.as_ref())?;
        if let Some(certificate) = &certificate {
            self.keepers.running.spawn(Arc::clone(certificate).follow(self.keepers.stop.clone()));
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let document = Bytes::from(openapi::document(peers.documents.clone()).to_string());
        let mut workers = Vec::with_capacity(cores);
        for _ in 0..cores {
            let drains = TaskTracker::new();
            let stages = Arc::new(self.stages(routes, &drains)?);
            let upstream = Arc::clone(&stages.attempts);
            let state = AppState {
                stages,
                admin: self.admin.clone(),
                ledger: self.forward(Peer::Ledger),
                projector: self.forward(Peer::Projector),
                health: Arc::clone(&self.health),
                document: document.clone(),
            };
            let (timeouts, certificate) = (Timeouts::of(server), certificate.clone());
            let (stop, close_connections) = (self.serving.stop.clone(), self.close_connections.clone());
            workers.push(Worker { router: router(state), upstream, timeouts, certificate, stop, close_connections, drains });
        }
        let workers = Workers::start(workers).map_err(data(&self.config))?;
        self.serving.running.spawn(workers.accept(listener, Arc::clone(open), self.serving.stop.clone()));
        Ok(())
    }

    /// Returns the forwarding of reads to one process.
    #[must_use]
    pub fn forward(&self, who: Peer) -> Forward {
        let reads = match who {
            Peer::Ledger => &self.reads[0],
            Peer::Projector => &self.reads[1],
        };
        Forward {
            who,
            directory: Arc::clone(&self.admin.directory),
            reads: reads.clone(),
            secret: self.secret.clone(),
            clock: Arc::clone(&self.admin.clock),
            stop: self.serving.stop.clone(),
        }
    }

    /// Waits until the disk has lost written events. The gateway must then end, and start again from the remaining data.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Returns a model that a first request can use.
    #[must_use]
    pub fn first_model(&self) -> Option<String> {
        self.first_model.clone()
    }

    fn ship(&self, peers: &Peers, spool: &Arc<Spool>, old: Vec<Arc<Spool>>, directory: &Arc<Directory>) {
        let publisher = |spool: Arc<Spool>| Publisher {
            spool,
            log: peers.log.clone(),
            ledger: peers.ledger.clone(),
            projector: peers.projector.clone(),
            clock: Arc::clone(&self.admin.clock),
            ids: Arc::clone(&self.admin.ids),
        };
        for spool in old {
            self.shipping.running.spawn_on(publisher(spool).finish(self.shipping.stop.clone()), &peers.background);
        }
        let current = publisher(Arc::clone(spool)).run(self.shipping.stop.clone(), self.abandon_flush.clone());
        self.shipping.running.spawn_on(current, &peers.background);
        self.keepers.running.spawn(follow::follow(Arc::clone(directory), peers.log.clone(), self.keepers.stop.clone()));
        let (catalogs, changes) = (Arc::clone(directory), directory.catalogs.changes());
        let routes = Arc::clone(&self.admin.routes);
        self.keepers.running.spawn(routes.follow(move || catalogs.catalogs.newest(), changes, self.keepers.stop.clone()));
        self.keepers.running.spawn(follow::save(Arc::clone(directory), self.keepers.stop.clone()));
        self.keepers.running.spawn_on(webhook::disable::follow(self.admin.clone(), self.keepers.stop.clone()), &peers.background);
        let renewer = ShareRenewer::new(&self.quotas.rate_limits, peers.ledger.clone(), spool.source.0.clone());
        self.keepers.running.spawn(renewer.run(self.keepers.stop.clone()));
        self.keepers.running.spawn(refusals::count(Arc::clone(&self.quotas), self.admin.clone(), self.keepers.stop.clone()));
    }

    /// Tells the other gateways the changes of breakers and of keys, and applies theirs.
    fn exchange(&self, peers: &Peers, told: Receiver<Report>, announced: Receiver<Box<RawValue>>) {
        let (clock, own) = (Arc::clone(&self.admin.clock), self.admin.spool.source.clone());
        let signer = Signer { secret: peers.secret.clone(), clock: Arc::clone(&clock), ids: Arc::clone(&self.admin.ids) };
        let (routes, log, gateway) = (Arc::clone(&self.admin.routes), peers.log.clone(), own.0.clone());
        let changes = (Arc::clone(&self.admin.directory), (log.clone(), signer.clone()));
        let exchange = Exchange { routes, log, signer, clock, gateway };
        self.keepers.running.spawn_on(exchange.run(told, self.keepers.stop.clone()), &peers.background);
        self.keepers.running.spawn(announcements::exchange(changes.0, changes.1, own, announced, self.keepers.stop.clone()));
    }

    /// Builds the stages of one thread; only the HTTP client for providers is not shared between threads.
    fn stages(&self, routes: &Arc<CurrentRoutes>, drains: &TaskTracker) -> Result<Stages, StartError> {
        Ok(Stages {
            auth: Arc::clone(&self.admin.directory),
            routes: Arc::clone(routes),
            own_keys: Arc::clone(&self.admin.own_keys),
            quotas: Arc::clone(&self.quotas),
            admission: Arc::clone(&self.admin.admission),
            attempts: Arc::new(Upstream::try_new(self.config.upstream.clone(), &self.config.providers)?),
            server: Arc::clone(&self.admin.server),
            clock: Arc::clone(&self.admin.clock),
            ids: Arc::clone(&self.admin.ids),
            abort_streams: self.abort_streams.clone(),
            drains: drains.clone(),
        })
    }

    /// Accepts no more requests, lets streams end until the deadline, cuts the rest, and publishes their events.
    pub async fn stop(self) {
        let drain = Duration::from_millis(self.config.server.drain_timeout_ms);
        self.serving.stop();
        if !self.serving.ended_within(drain).await {
            tracing::warn!("streams that did not end in time are cut");
            self.abort_streams.cancel();
            if !self.serving.ended_within(Duration::from_secs(1)).await {
                tracing::warn!("connections that did not end in time are closed");
                self.close_connections.cancel();
            }
        }
        self.serving.running.wait().await;
        self.keepers.stop();
        self.keepers.running.wait().await;
        self.shipping.stop();
        if !self.shipping.ended_within(FLUSH_TIMEOUT).await {
            tracing::warn!("NATS did not take everything in time: the rest is sent at the next start");
            self.abandon_flush.cancel();
            self.shipping.running.wait().await;
        }
        self.syncers.into_iter().for_each(Syncer::stop);
    }
}

fn admission(
    config: &GatewayConfig,
    peers: &Peers,
    spool: &Arc<Spool>,
    keepers: &Tasks,
    (clock, ids, reports): (&Arc<dyn Clock>, &Arc<dyn Ids>, Reports),
) -> Result<Arc<Admission>, StartError> {
    Ok(Arc::new(Admission {
        spool: Arc::clone(spool),
        mode: config.spool.mode,
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        ledger: peers.ledger.clone(),
        tasks: keepers.running.clone(),
        refill_runtime: Handle::current(),
        stop: keepers.stop.clone(),
        counts: Counts::default(),
        reports,
        purchases: Purchases::default(),
        budgets: Arc::default(),
        allowances: Allowances::new(config.byok.free_requests_per_month, Fee::parse(&config.byok.fee_percent.0)?),
    }))
}

fn data(config: &GatewayConfig) -> impl Fn(io::Error) -> StartError {
    let folder = config.data.display().to_string();
    move |cause| StartError::Data { folder: folder.clone(), cause }
}

/// Opens the spool of this boot and recovers those of earlier ones.
fn spools(config: &GatewayConfig, clock: &dyn Clock, ids: &dyn Ids) -> Result<(Arc<Spool>, Vec<Arc<Spool>>), StartError> {
    let folder = config.data.join("spool");
    std::fs::create_dir_all(&folder).map_err(data(config))?;
    let disk: Arc<dyn Disk> = Arc::new(FileSystem);
    let old = recover::recover(&disk, &folder, &config.node, &config.spool, clock, ids)?;
    let boot = ids.uuid(clock).to_string();
    let spool = Spool::create(disk, folder.join(&boot), Source::gateway(&config.node, &boot), config.spool.clone())?;
    Ok((spool, old))
}

fn syncers(spool: &Arc<Spool>, old: &[Arc<Spool>], config: &GatewayConfig, failed: &CancellationToken) -> Result<Vec<Syncer>, SpoolError> {
    let every = Duration::from_millis(config.spool.sync_every_ms);
    // The events that recovery wrote are synced once, now.
    old.iter().try_for_each(|spool| spool.sync())?;
    Ok(vec![Syncer::start(Arc::clone(spool), every, failed.clone())?])
}
