//! The nats-server that `up` starts: finding the program, writing its configuration, supervising and ending it.

pub mod conf;
pub mod consumers;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use eventlog::{Access, Credentials, Log};
use events::ids::{Ids, KeyKind};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::NatsConfig;
use crate::data_dir::{DataFolder, write_secret};
use crate::environment::program_folders;
use crate::nats::conf::Conf;

/// The time within which the server must start or end.
const PATIENCE: Duration = Duration::from_secs(10);
/// The delay before a server that has ended is started again.
const RESTART_AFTER: Duration = Duration::from_millis(200);
const OLDEST: (u64, u64) = (2, 14);

/// The time within which a server that takes no writes must end before it is killed.
const RESTART_PATIENCE: Duration = Duration::from_secs(2);
/// The interval at which the server is checked for writes, and the pause after a restart.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(10);
/// The number of free bytes below which a restart would not help.
const ROOM_MIN: u64 = 32 * 1024 * 1024;
/// The NATS account that owns the streams. Earlier versions used the server's default account, `$G`.
const ACCOUNT: &str = "AROUTER";
/// Files in the server's folder.
const CONF: &str = "nats.conf";
const PORT: &str = "port";
const OWN_PASSWORD: &str = "own.password";
const PID: &str = "nats.pid";
const LOG: &str = "nats.log";
/// The file in the data folder that has the subscribers' password.
const READER_PASSWORD: &str = "nats-reader.password";

/// A supervised nats-server.
pub struct NatsServer {
    /// The server's address with our credentials, which are new at each start.
    pub access: Access,
    /// The server's address with the subscribers' credentials, which stay the same over restarts.
    pub reader: Access,
    /// A signal that the server must be restarted although it runs.
    pub restart: Arc<Notify>,
    binary: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl NatsServer {
    /// Starts the server with its store in the data folder.
    pub async fn start(config: &NatsConfig, data: &DataFolder, ids: &dyn Ids) -> Result<Self> {
        let binary = find(config).await?;
        let folder = data.path.join("nats");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        end_orphan(&folder).await?;
        name_account(&folder).with_context(|| format!("cannot bring {} up to date", folder.display()))?;
        let port = match config.port {
            0 => kept_port(&folder)?,
            port => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                    .with_context(|| format!("port {port} for nats-server is taken: stop what uses it, or set nats.port"))?;
                port
            }
        };
        let password = || ids.secret(KeyKind::Regular).replace("lr_live_", "p");
        let (own, readers) = (password(), data.secret(READER_PASSWORD, password)?);
        // Until the server runs, nobody changes the consumers.
        let _lock = consumers::lock(&data.path)?;
        let consumers = consumers::read(&data.path)?;
        write_secret(&folder.join(OWN_PASSWORD), &own)?;
        let conf = Conf { port, folder: &folder, own: &own, readers: &readers, consumers: &consumers };
        write_secret(&folder.join(CONF), &conf::conf(&conf))?;
        let child = spawn(&binary, &folder)?;
        let (access, reader) = (access(port, "arouter", own), access(port, "reader", readers));
        let server = Self { access, reader, restart: Arc::default(), binary, folder, child };
        server.wait_until_up(port).await?;
        Ok(server)
    }

    async fn wait_until_up(&self, port: u16) -> Result<()> {
        let since = Instant::now();
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            if since.elapsed() > PATIENCE {
                bail!("nats-server does not start: see {}", self.folder.join(LOG).display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Restarts the server whenever it ends, until `stop`. Then ends it.
    pub async fn supervise(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.restart.notified() => self.end_for_restart().await,
                ended = self.child.wait() => {
                    tracing::error!(ended = ?ended.ok(), "nats-server ended and is started again");
                    tokio::time::sleep(RESTART_AFTER).await;
                    match spawn(&self.binary, &self.folder) {
                        Ok(child) => self.child = child,
                        Err(error) => tracing::error!(%error, "nats-server cannot be started: {error:#}"),
                    }
                }
            }
        }
        self.end();
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server did not end in time and is killed");
            if let Err(error) = self.child.kill().await {
                tracing::error!(%error, "nats-server cannot be killed: {error}");
            }
        }
    }
}

impl NatsServer {
    fn end(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            end(pid);
        }
    }

    /// Ends the server; [`NatsServer::supervise`] starts it again.
    async fn end_for_restart(&mut self) {
        self.end();
        if tokio::time::timeout(RESTART_PATIENCE, self.child.wait()).await.is_err()
            && let Err(error) = self.child.kill().await
        {
            tracing::error!(%error, "nats-server cannot be killed: {error}");
        }
    }
}

/// Requests a restart of the server if it takes no writes although the disk has room. A stream whose write once failed because the disk
/// was full refuses all writes from then on.
pub async fn watch(log: Log, restart: Arc<Notify>, folder: PathBuf, stop: CancellationToken) {
    let mut wait = WATCH_EVERY;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = WATCH_EVERY;
        let room = rustix::fs::statvfs(&folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if !log.takes_writes() && room > ROOM_MIN {
            tracing::error!("nats-server takes no writes although there is room on the disk: it is started again");
            restart.notify_one();
            wait = SETTLE;
        }
    }
}

/// Returns the access of a user to our own server.
fn access(port: u16, user: &str, password: String) -> Access {
    Access {
        servers: vec![format!("nats://127.0.0.1:{port}")],
        credentials: Credentials::Password(user.to_owned(), password),
        ..Access::default()
    }
}

/// Returns the port of the last start if it is free, so that subscribers keep their address. Otherwise returns a free port.
fn kept_port(folder: &Path) -> Result<u16> {
    let file = folder.join(PORT);
    let last = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, last)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = bound.local_addr()?.port();
    write_secret(&file, &port.to_string())?;
    Ok(port)
}

/// Moves the streams of an earlier version from the server's default account to ours.
fn name_account(folder: &Path) -> std::io::Result<()> {
    let streams = folder.join("jetstream");
    let (before, now) = (streams.join("$G"), streams.join(ACCOUNT));
    if before.exists() && !now.exists() { std::fs::rename(before, now) } else { Ok(()) }
}

fn end(pid: Pid) {
    if let Err(error) = kill_process(pid, Signal::TERM) {
        tracing::debug!(%error, "nats-server was gone already");
    }
}

fn spawn(binary: &Path, folder: &Path) -> Result<Child> {
    Command::new(binary)
        .arg("--config")
        .arg(folder.join(CONF))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to our process group must not end the server before the last events are published.
        .process_group(0)
        // If the start fails later, no server is left behind.
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

/// Ends a server that an earlier, killed process left behind, because that server still has the store open.
async fn end_orphan(folder: &Path) -> Result<()> {
    let since = Instant::now();
    while let Some(pid) = running(folder) {
        end(pid);
        if since.elapsed() > PATIENCE {
            bail!("nats-server {} of an earlier start does not end: end it by hand", pid.as_raw_nonzero());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Returns the process id of the server that runs on a folder.
fn running(folder: &Path) -> Option<Pid> {
    let pid = std::fs::read_to_string(folder.join(PID)).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    String::from_utf8_lossy(&command).contains(&*folder.join(CONF).to_string_lossy()).then_some(pid)
}

/// Returns the configured program. Without one, returns the first program on PATH or in `.tools` that is new enough.
pub async fn find(config: &NatsConfig) -> Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = config.binary.iter().cloned().collect();
    if candidates.is_empty() {
        candidates.extend(program_folders().into_iter().map(|folder| folder.join("nats-server")));
        candidates.push(PathBuf::from(".tools/nats-server"));
    }
    let mut old = None;
    for candidate in candidates.into_iter().filter(|candidate| candidate.is_file()) {
        match version(&candidate).await {
            Some(version) if version >= OLDEST => return Ok(candidate.canonicalize()?),
            Some((major, minor)) => old = Some(format!("{} is version {major}.{minor}", candidate.display())),
            None => old = Some(format!("{} does not say its version", candidate.display())),
        }
    }
    let remedy = "run `make tools`, or install nats-server 2.14 or later and name it in nats.binary";
    match old {
        Some(old) => bail!("nats-server is too old ({old}): {remedy}"),
        None => bail!("nats-server is missing: {remedy}"),
    }
}

/// Returns the version of a program: `nats-server: v2.15.1` becomes (2, 15).
async fn version(binary: &Path) -> Option<(u64, u64)> {
    let output = Command::new(binary).arg("--version").output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.rsplit('v').next()?.split('.');
    Some((numbers.next()?.trim().parse().ok()?, numbers.next()?.trim().parse().ok()?))
}
