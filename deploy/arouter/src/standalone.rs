//! `arouter gateway`, `arouter ledger` and `arouter projector`: each process alone, against an existing NATS and database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use eventlog::rpc::Signer;
use eventlog::{Access, Log, Store, rpc};
use events::caller::InternalSecret;
use events::ids::{Ids, SystemIds};
use events::rpc::Peer;
use events::{Clock, SystemClock};
use gateway::forward::Reads;
use gateway::serve;
use gateway::serve::connection::Timeouts;
use gateway::{Gateway, Peers};
use ledger::credit::billing::Billing;
use ledger::{Ledger, LedgerConfig};
use projector::Projector;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::data_dir::{DataFolder, Running};
use crate::scheduled::Exporter;
use crate::up::{Streams, connect, gateway_config, origin, projector_config};
use crate::{Settings, archive, metrics, shutdown};

/// The time within which the ledger or the projector must accept a connection, and the longest pause within a response.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The timeouts of the servers that gateways read from.
const TIMEOUTS: Timeouts = Timeouts { read: Duration::from_secs(10), write: Duration::from_secs(30), keep_alive: Duration::from_secs(100) };

/// The parts that every standalone process has.
struct Standalone {
    config: Config,
    access: Access,
    log: Log,
    secret: InternalSecret,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Standalone {
    async fn start(settings: &Settings, role: &str) -> Result<Self> {
        let config = Config::load(settings)?;
        let access = config
            .nats
            .access()?
            .context("set nats.url (or AROUTER_NATS__URL): a process of its own needs the NATS that the others use")?;
        let secret = config
            .internal
            .secret
            .clone()
            .context("set internal.secret (or AROUTER_INTERNAL__SECRET): the same 32 characters or more for every process")?;
        let streams = if role == "ledger" { Streams::Made(config.nats.replicas) } else { Streams::Awaited };
        let log = connect(&access, role, streams).await?;
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        Ok(Self {
            config,
            access,
            log,
            secret: InternalSecret(secret.0.into_bytes()),
            clock,
            ids,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    fn signer(&self) -> Signer {
        Signer { secret: self.secret.clone(), clock: Arc::clone(&self.clock), ids: Arc::clone(&self.ids) }
    }

    /// Serves requests over NATS and reads over HTTP until a signal, or until the database must not be used any more.
    async fn serve(self, to: Peer, handler: Arc<dyn rpc::Handler>, router: Router, listen: SocketAddr, database: &Store) -> Result<()> {
        let listener =
            serve::bind(listen).await.with_context(|| format!("cannot listen on {listen}: stop what uses that port, or set another"))?;
        let signals = shutdown::Signals::listen()?;
        println!("The {} is up at http://{}", to.as_str(), listener.local_addr()?);
        self.tasks.spawn(serve::serve(listener, router, TIMEOUTS, self.stop.clone()));
        let (log, signer, stopped) = (self.log.clone(), self.signer(), self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(error) = log.serve(to, handler, signer, stopped).await {
                tracing::error!(%error, "requests are not answered any more: {error}");
            }
        });
        let ended = signals.wait_beside(&[database]).await;
        self.stop.cancel();
        self.tasks.close();
        let closing = async {
            self.tasks.wait().await;
            self.log.close().await;
            database.close().await;
        };
        shutdown::in_order(ended, std::future::ready(()), closing).await
    }
}

pub async fn ledger(settings: &Settings) -> Result<()> {
    let standalone = Standalone::start(settings, "ledger").await?;
    let folder = DataFolder::open(&settings.data)?;
    let config = LedgerConfig {
        billing: standalone.config.billing,
        database_url: folder.database(standalone.config.ledger.database_url.as_ref(), "ledger"),
        node: standalone.config.node.name.clone(),
        terms: standalone.config.leases,
        signing_key: folder.signing_key(&standalone.config),
    };
    let ledger = Ledger::open(&config, Arc::clone(&standalone.clock), Arc::clone(&standalone.ids)).await?;
    let whole = standalone.log.with_archive(standalone.config.archive.open()?);
    ledger::replay::catch_up(&ledger, &whole, None).await?;
    ledger.start(&whole, &standalone.tasks, &standalone.stop);
    archive::start(
        &standalone.config.archive,
        &standalone.log,
        &ledger.is_first(),
        &standalone.clock,
        &standalone.tasks,
        &standalone.stop,
    )?;
    let listen = standalone.config.ledger.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8081)));
    let router = ledger.router(standalone.secret.clone());
    standalone.serve(Peer::Ledger, ledger.rpc_handler(), router, listen, &ledger.store).await
}

pub async fn projector(settings: &Settings) -> Result<()> {
    let standalone = Standalone::start(settings, "projector").await?;
    let folder = DataFolder::open(&settings.data)?;
    let config = projector_config(&standalone.config, &folder)?;
    let projector = Projector::open(&config, Arc::clone(&standalone.clock), Arc::clone(&standalone.ids)).await?;
    projector.start(&standalone.log.with_archive(standalone.config.archive.open()?), &standalone.tasks, &standalone.stop);
    projector.send_webhooks(&standalone.tasks, &standalone.stop);
    let listen = standalone.config.projector.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8082)));
    let router = projector.router(&standalone.secret, &standalone.log);
    standalone.serve(Peer::Projector, projector.rpc_handler(), router, listen, &projector.store).await
}

pub async fn gateway(settings: &Settings, background: Handle) -> Result<()> {
    let standalone = Standalone::start(settings, "gateway").await?;
    if standalone.config.billing != Billing::default() {
        tracing::warn!("[billing] has no effect here: set it for the ledger, which decides fees");
    }
    let folder = DataFolder::open(&settings.data)?;
    let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build()?;
    let reads = |url: &Option<String>, default: &str| -> Result<Reads> {
        let url = url.as_deref().unwrap_or(default);
        Ok(Reads::Remote(url.parse().with_context(|| format!("{url} is no address"))?, client.clone()))
    };
    let peers = Peers {
        log: standalone.log.clone(),
        ledger: rpc::Client::remote(Peer::Ledger, &standalone.log, standalone.signer()),
        projector: rpc::Client::remote(Peer::Projector, &standalone.log, standalone.signer()),
        ledger_reads: reads(&standalone.config.ledger.url, "http://127.0.0.1:8081")?,
        projector_reads: reads(&standalone.config.projector.url, "http://127.0.0.1:8082")?,
        documents: [ledger::router::document(), projector::router::document()],
        secret: standalone.secret.clone(),
        seed: standalone.secret.clone(),
        background,
    };
    let config =
        gateway_config(&standalone.config, &folder, (&standalone.clock, &standalone.ids), &standalone.tasks, &standalone.stop).await?;
    let gateway = Gateway::start(config, peers, Arc::clone(&standalone.clock), Arc::clone(&standalone.ids)).await?;
    let signals = shutdown::Signals::listen()?;
    let metrics_url = metrics::serve(standalone.config.metrics.listen, gateway.metrics(), &standalone.tasks, &standalone.stop).await?;
    let exporter = Exporter::try_new(&standalone.config.exports, &gateway, &standalone.clock)?;
    standalone.tasks.spawn(exporter.run(standalone.stop.clone()));
    let origin = origin(&standalone.config, &gateway);
    folder.announce(&Running { base_url: format!("{origin}/v1"), nats_url: standalone.access.to_url(), metrics_url })?;
    gateway.health.open();
    println!("The gateway is up at {origin}");
    println!("Make an account with: arouter admin account create NAME --data {}", folder.path.display());
    let ended = tokio::select! {
        () = signals.wait() => Ok(()),
        () = gateway.failed() => Err(shutdown::disk_failed()),
    };
    gateway.stop().await;
    standalone.stop.cancel();
    standalone.tasks.close();
    standalone.tasks.wait().await;
    standalone.log.close().await;
    ended
}
