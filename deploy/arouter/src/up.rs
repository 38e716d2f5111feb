//! `arouter up`: gateway, ledger and projector in this process, a supervised nats-server beside it, SQLite below.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use eventlog::{Asker, Log};
use events::ask::Answers;
use events::caller::InternalSecret;
use events::ids::{Ids, SystemIds};
use events::{Clock, SystemClock};
use gateway::forward::Reads;
use gateway::{Gateway, GatewayConfig, Neighbours};
use ledger::{Ledger, LedgerConfig};
use projector::{Projector, ProjectorConfig};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::first_run::{self, FirstRun};
use crate::folder::{DataFolder, Running};
use crate::nats::NatsServer;
use crate::{Settings, archive, simulated, stop};

/// How long NATS may take to answer at the start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// What runs in the background.
struct Background {
    nats_url: String,
    log: Log,
    ledger: Arc<Ledger>,
    projector: Projector,
    tasks: TaskTracker,
    supervisor: TaskTracker,
    stop_readers: CancellationToken,
    stop_nats: CancellationToken,
}

impl Background {
    /// Starts nats-server, the ledger and the projector. Whatever these start inherits the priority of the caller's thread.
    async fn start(config: Config, folder: Arc<DataFolder>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let (tasks, supervisor) = (TaskTracker::new(), TaskTracker::new());
        let (stop_readers, stop_nats) = (CancellationToken::new(), CancellationToken::new());
        let nats_url = if let Some(url) = &config.nats.url {
            url.clone()
        } else {
            let server = NatsServer::start(&config.nats, &folder.path).await?;
            let url = server.url.clone();
            supervisor.spawn(server.supervise(stop_nats.clone()));
            url
        };
        let log = connect(&nats_url, &config).await?;
        let ledger = LedgerConfig {
            database_url: folder.database(config.ledger.database_url.as_ref(), "ledger"),
            node: config.node.name.clone(),
            terms: config.leases,
        };
        let ledger = Ledger::open(&ledger, Arc::clone(&clock), ids).await?;
        let projector = ProjectorConfig { database_url: folder.database(config.projector.database_url.as_ref(), "projector") };
        let projector = Projector::open(&projector, Arc::clone(&clock)).await?;
        let whole = log.with_archive(config.archive.open()?);
        ledger::replay::catch_up(&ledger, &whole, None).await?;
        ledger.start(&whole, &tasks, &stop_readers);
        projector.start(&whole, &tasks, &stop_readers);
        archive::start(&config.archive, &log, &ledger.is_first(), &clock, &tasks, &stop_readers)?;
        Ok(Self { nats_url, log, ledger, projector, tasks, supervisor, stop_readers, stop_nats })
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
pub async fn up(settings: &Settings, back: Handle) -> Result<()> {
    let config = Config::load(settings)?;
    let folder = Arc::new(DataFolder::open(&settings.data)?);
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let starting = TaskTracker::new();
    let background = Background::start(config.clone(), Arc::clone(&folder), Arc::clone(&clock), Arc::clone(&ids));
    let background = starting.spawn_on(background, &back).await??;
    let mut random = vec![0_u8; 32];
    ids.fill(&mut random);
    let secret = InternalSecret(random);
    let (ledger, projector) = (&background.ledger, &background.projector);
    let neighbours = Neighbours {
        log: background.log.clone(),
        ledger: Asker::local(Answers::Ledger, ledger.answers()),
        projector: Asker::local(Answers::Projector, projector.answers()),
        ledger_reads: Reads::Local(ledger.router(secret.clone())),
        projector_reads: Reads::Local(projector.router(secret.clone())),
        secret,
        back,
    };
    let gateway_config = gateway_config(&config, &folder, &ids, &background.tasks, &background.stop_readers).await?;
    let signals = stop::Signals::listen()?;
    let gateway = Gateway::start(gateway_config, neighbours, Arc::clone(&clock), ids).await?;
    folder.announce(&Running { base_url: format!("http://{}/v1", gateway.address), nats_url: background.nats_url.clone() })?;
    let first = first_run::bootstrap(&gateway.admin, &config.bootstrap, &folder.path, gateway.address).await?;
    greet(&gateway, &background.nats_url, first.as_ref(), config.providers.is_empty());
    let ended = signals.wait_beside(&[&background.ledger.store, &background.projector.store]).await;
    tracing::info!("stopping: no new requests, running ones may end");
    stop::in_order(ended, gateway.stop(), background.stop()).await
}

/// Connects and makes the streams; a server that has just started may need a moment.
pub async fn connect(url: &str, config: &Config) -> Result<Log> {
    let attempt = async {
        loop {
            match Log::connect(url, "arouter").await {
                Ok(log) => match log.prepare(config.nats.replicas).await {
                    Ok(()) => return Ok(log),
                    Err(error @ eventlog::LogError::Server(_)) => tracing::debug!(%error, "JetStream is not ready"),
                    Err(error) => return Err(error),
                },
                Err(error @ eventlog::LogError::TooOld { .. }) => return Err(error),
                Err(error) => tracing::debug!(%error, "NATS is not ready"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let log = tokio::time::timeout(CONNECT_PATIENCE, attempt).await;
    Ok(log.with_context(|| format!("NATS with JetStream does not answer at {url}: start one there, or correct nats.url"))??)
}

/// The gateway's configuration; the built-in provider serves when no other is configured.
pub async fn gateway_config(
    config: &Config,
    folder: &DataFolder,
    ids: &Arc<dyn Ids>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<GatewayConfig> {
    let (mut providers, mut models) = (config.providers.clone(), config.models.clone());
    if providers.is_empty() {
        let address = simulated::start(config.simulated.clone(), Arc::clone(ids), tasks, stop.clone()).await?;
        let (provider, served) = simulated::entries(address);
        providers.push(provider);
        models.extend(served);
    }
    Ok(GatewayConfig {
        node: config.node.name.clone(),
        data: folder.path.clone(),
        server: config.server.clone(),
        billing: config.billing,
        spool: config.spool.clone(),
        upstream: config.upstream.clone(),
        providers,
        models,
        operator_token: folder.operator_token(config)?,
    })
}

fn greet(gateway: &Gateway, nats_url: &str, first: Option<&FirstRun>, is_simulated: bool) {
    println!("ARouter is up at http://{}", gateway.address);
    println!("Events are at {nats_url}");
    if is_simulated {
        println!("No provider is configured: the built-in simulated/echo, simulated/slow and simulated/flaky answer.");
    }
    let Some(first) = first else { return };
    println!(
        "\nFirst start. These keys are shown once; they are also in {} in the data folder: keep them, then delete it.",
        first_run::FILE
    );
    println!(
        "  base_url        {}\n  account         {}\n  live_key        {}\n  management_key  {}",
        first.base_url, first.account, first.live_key, first.management_key
    );
    println!("\nTry it:\n  curl {}/chat/completions \\", first.base_url);
    println!("    -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\", first.live_key);
    println!("    -d '{{\"model\": \"simulated/echo\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello, books!\"}}]}}'");
    println!("  curl {}/transactions -H 'Authorization: Bearer {}'", first.base_url.replace("/v1", "/api/v1"), first.live_key);
}
