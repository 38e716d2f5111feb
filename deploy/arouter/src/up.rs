//! `arouter up`: gateway, ledger and projector in one process, with SQLite databases and a supervised nats-server.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use eventlog::{Access, Log, LogError, rpc};
use events::caller::InternalSecret;
use events::ids::{Ids, SystemIds};
use events::rpc::Peer;
use events::{Clock, SystemClock};
use gateway::forward::Reads;
use gateway::{Gateway, GatewayConfig, Peers};
use ledger::{Ledger, LedgerConfig};
use projector::{Projector, ProjectorConfig};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::data_dir::{DataFolder, Running};
use crate::first_run::{self, FirstRun};
use crate::nats::{self, NatsServer};
use crate::scheduled::Exporter;
use crate::{Settings, archive, metrics, shutdown, simulated};

/// The time within which NATS must respond at the start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// The parts that run in the background.
struct Background {
    access: Access,
    /// The log's address for subscribers. `None` if nats-server is not ours.
    reader: Option<Access>,
    log: Log,
    ledger: Arc<Ledger>,
    projector: Projector,
    tasks: TaskTracker,
    supervisor: TaskTracker,
    stop_readers: CancellationToken,
    stop_nats: CancellationToken,
}

impl Background {
    /// Starts nats-server, the ledger and the projector. Their threads and processes inherit the priority of the calling thread.
    async fn start(config: Config, folder: Arc<DataFolder>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let (tasks, supervisor) = (TaskTracker::new(), TaskTracker::new());
        let (stop_readers, stop_nats) = (CancellationToken::new(), CancellationToken::new());
        let (access, reader, restart) = if let Some(access) = config.nats.access()? {
            (access, None, None)
        } else {
            let server = NatsServer::start(&config.nats, &folder, &*ids).await?;
            let found = (server.access.clone(), Some(server.reader.clone()), Some(Arc::clone(&server.restart)));
            supervisor.spawn(server.supervise(stop_nats.clone()));
            found
        };
        let log = connect(&access, "arouter", Streams::Made(config.nats.replicas)).await?;
        if reader.is_some() {
            nats::consumers::reconcile(&log, &folder.path).await?;
        }
        if let Some(restart) = restart {
            supervisor.spawn(nats::watch(log.clone(), restart, folder.path.clone(), stop_nats.clone()));
        }
        let ledger = LedgerConfig {
            billing: config.billing,
            database_url: folder.database(config.ledger.database_url.as_ref(), "ledger"),
            node: config.node.name.clone(),
            terms: config.leases,
            signing_key: folder.signing_key(&config),
        };
        let ledger = Ledger::open(&ledger, Arc::clone(&clock), ids).await?;
        let projector = Projector::open(&projector_config(&config, &folder)?, Arc::clone(&clock), Arc::new(SystemIds)).await?;
        let whole = log.with_archive(config.archive.open()?);
        ledger::replay::catch_up(&ledger, &whole, None).await?;
        ledger.start(&whole, &tasks, &stop_readers);
        projector.start(&whole, &tasks, &stop_readers);
        projector.send_webhooks(&tasks, &stop_readers);
        archive::start(&config.archive, &log, &ledger.is_first(), &clock, &tasks, &stop_readers)?;
        Ok(Self { access, reader, log, ledger, projector, tasks, supervisor, stop_readers, stop_nats })
    }

    async fn stop(self) {
        self.stop_readers.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.log.close().await;
        self.ledger.store.close().await;
        self.projector.store.close().await;
        self.stop_nats.cancel();
        self.supervisor.close();
        self.supervisor.wait().await;
    }
}

/// Runs until SIGTERM or SIGINT, or until a database must not be used any more.
pub async fn up(settings: &Settings, background_runtime: Handle) -> Result<()> {
    let config = Config::load(settings)?;
    let folder = Arc::new(DataFolder::open(&settings.data)?);
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let starting = TaskTracker::new();
    let background = Background::start(config.clone(), Arc::clone(&folder), Arc::clone(&clock), Arc::clone(&ids));
    let background = starting.spawn_on(background, &background_runtime).await??;
    let mut random = vec![0_u8; 32];
    ids.fill(&mut random);
    let secret = InternalSecret(random);
    let (ledger, projector) = (&background.ledger, &background.projector);
    let peers = Peers {
        log: background.log.clone(),
        ledger: rpc::Client::local(Peer::Ledger, ledger.rpc_handler()),
        projector: rpc::Client::local(Peer::Projector, projector.rpc_handler()),
        ledger_reads: Reads::Local(ledger.router(secret.clone())),
        projector_reads: Reads::Local(projector.router(&secret, &background.log)),
        documents: [ledger::router::document(), projector::router::document()],
        secret,
        seed: folder.seed()?,
        background: background_runtime,
    };
    let gateway_config = gateway_config(&config, &folder, (&clock, &ids), &background.tasks, &background.stop_readers).await?;
    let signals = shutdown::Signals::listen()?;
    let gateway = Gateway::start(gateway_config, peers, Arc::clone(&clock), ids).await?;
    let metrics_url = metrics::serve(config.metrics.listen, gateway.metrics(), &background.tasks, &background.stop_readers).await?;
    let base_url = format!("{}/v1", origin(&config, &gateway));
    folder.announce(&Running { base_url: base_url.clone(), nats_url: background.access.to_url(), metrics_url })?;
    let exporter = Exporter::try_new(&config.exports, &gateway, &clock)?;
    background.tasks.spawn(exporter.run(background.stop_readers.clone()));
    let reader = background.reader.as_ref().map(Access::to_url);
    let first = first_run::bootstrap(&gateway.admin, &config.bootstrap, &folder.path, &base_url, reader).await?;
    gateway.health.open();
    greet(&gateway, &background, first.as_ref(), &config);
    let databases = [&background.ledger.store, &background.projector.store];
    let ended = tokio::select! {
        ended = signals.wait_beside(&databases) => ended,
        () = gateway.failed() => Err(shutdown::disk_failed()),
    };
    tracing::info!("stopping: no new requests, running ones may end");
    Box::pin(shutdown::in_order(ended, gateway.stop(), background.stop())).await
}

/// A process's part in creating the streams.
#[derive(Clone, Copy)]
pub enum Streams {
    /// The process creates the streams, with this number of replicas.
    Made(usize),
    /// The process waits until the ledger has created the streams.
    Awaited,
}

/// Connects to the log, and creates the streams or waits for them. Retries for a while, because a server that has just started may not be
/// ready.
pub async fn connect(access: &Access, role: &str, streams: Streams) -> Result<Log> {
    let mut last = None;
    let attempt = async {
        loop {
            let connected = Log::connect(access, role).await;
            let prepared = match (connected, streams) {
                (Ok(log), Streams::Made(replicas)) => log.prepare(replicas).await.map(|()| log),
                (Ok(log), Streams::Awaited) => log.inspect().await.map(|()| log),
                (Err(error), _) => Err(error),
            };
            match prepared {
                Ok(log) => return Ok(log),
                Err(error @ (LogError::Server(_) | LogError::Connect { .. })) => last = Some(error),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let log = tokio::time::timeout(CONNECT_PATIENCE, attempt).await;
    let why = || last.map(|error| format!(" ({error})")).unwrap_or_default();
    let hint = match streams {
        Streams::Made(_) => "start one there, or correct nats.url and credentials",
        Streams::Awaited => "start one there and a ledger, which makes the streams, or correct nats.url and credentials",
    };
    Ok(log.map_err(|_| anyhow::anyhow!("NATS with JetStream does not answer at {access}: {hint}{}", why()))??)
}

/// Returns the URL of the gateway, without a path.
pub fn origin(config: &Config, gateway: &Gateway) -> String {
    let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", gateway.address)
}

/// Returns the projector's configuration.
pub fn projector_config(config: &Config, folder: &DataFolder) -> Result<ProjectorConfig> {
    Ok(ProjectorConfig {
        database_url: folder.database(config.projector.database_url.as_ref(), "projector"),
        master_keys: folder.master_keys(config)?,
        webhooks_to_private_addresses: config.projector.webhooks_to_private_addresses,
    })
}

/// Returns the gateway's configuration. If no provider is configured, the built-in one is started and used.
pub async fn gateway_config(
    config: &Config,
    folder: &DataFolder,
    (clock, ids): (&Arc<dyn Clock>, &Arc<dyn Ids>),
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<GatewayConfig> {
    let (mut providers, mut models) = (config.providers.clone(), config.models.clone());
    if providers.is_empty() {
        let address = simulated::start(config.simulated.clone(), (Arc::clone(clock), Arc::clone(ids)), tasks, stop.clone()).await?;
        let (provider, served) = simulated::entries(address);
        providers.push(provider);
        models.extend(served);
    }
    Ok(GatewayConfig {
        node: config.node.name.clone(),
        data: folder.path.clone(),
        server: config.server.clone(),
        limits: config.limits.clone(),
        spool: config.spool.clone(),
        upstream: config.upstream.clone(),
        byok: config.byok.clone(),
        providers,
        models,
        operator_token: folder.operator_token(config)?,
        master_keys: folder.master_keys(config)?,
    })
}

/// Prints the addresses, and the keys of a first start. Keys are printed to a terminal only: journals and container logs are kept and
/// read by others.
fn greet(gateway: &Gateway, background: &Background, first: Option<&FirstRun>, config: &Config) {
    println!("ARouter is up at {}", origin(config, gateway));
    println!("Events are at {}", background.access);
    if config.providers.is_empty() {
        println!("No provider is configured: the built-in simulated/echo, simulated/slow and simulated/flaky answer.");
    }
    let Some(first) = first else { return };
    let file = first_run::FILE;
    let model = gateway.first_model().unwrap_or_else(|| "simulated/echo".to_owned());
    let (key, is_shown) = if std::io::stdout().is_terminal() { (first.live_key.as_str(), true) } else { ("$KEY", false) };
    if is_shown {
        println!("\nFirst start. These keys are shown once; they are also in {file} in the data folder: keep them, then delete it.");
        println!(
            "  base_url        {}\n  account         {}\n  live_key        {}\n  management_key  {}",
            first.base_url, first.account, first.live_key, first.management_key
        );
        if let Some(url) = &first.nats_url {
            println!("  events          {url}");
        }
    } else {
        println!("\nFirst start. The first keys are in {file} in the data folder: keep them elsewhere, then delete it.");
    }
    println!("\nTry it{}:", if is_shown { "" } else { ", with KEY set to the live_key of that file" });
    println!("  curl {}/chat/completions \\", first.base_url);
    println!("    -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' \\");
    println!("    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello, books!\"}}]}}'");
    println!("  curl {}/transactions -H \"Authorization: Bearer {key}\"", first.base_url.replace("/v1", "/api/v1"));
}
