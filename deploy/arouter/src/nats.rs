//! The nats-server that `up` starts: found, configured, supervised, ended.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{NatsConfig, program_folders};

/// How long the server may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before starting it again.
const RESTART_AFTER: Duration = Duration::from_millis(200);
const OLDEST: (u64, u64) = (2, 14);

/// A server that is kept running.
pub struct NatsServer {
    /// Where it listens.
    pub url: String,
    binary: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl NatsServer {
    /// Starts the server with its store below the data folder.
    pub async fn start(config: &NatsConfig, data: &Path) -> Result<Self> {
        let binary = find(config).await?;
        let folder = data.join("nats");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        end_orphan(&folder).await?;
        let port = match config.port {
            0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port(),
            port => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                    .with_context(|| format!("port {port} for nats-server is taken: stop what uses it, or set nats.port"))?;
                port
            }
        };
        std::fs::write(folder.join("nats.conf"), conf(port, &folder))?;
        let child = spawn(&binary, &folder)?;
        let server = Self { url: format!("nats://127.0.0.1:{port}"), binary, folder, child };
        server.wait_until_up(port).await?;
        Ok(server)
    }

    async fn wait_until_up(&self, port: u16) -> Result<()> {
        let since = Instant::now();
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            if since.elapsed() > PATIENCE {
                bail!("nats-server does not start: see {}", self.folder.join("nats.log").display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts it again whenever it ends, until `stop`; then ends it.
    pub async fn supervise(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
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
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            end(pid);
        }
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server did not end in time and is killed");
            if let Err(error) = self.child.kill().await {
                tracing::error!(%error, "nats-server cannot be killed: {error}");
            }
        }
    }
}

fn end(pid: Pid) {
    if let Err(error) = kill_process(pid, Signal::TERM) {
        tracing::debug!(%error, "nats-server was gone already");
    }
}

fn conf(port: u16, folder: &Path) -> String {
    format!(
        "# Written at every start.\nhost: 127.0.0.1\nport: {port}\nserver_name: arouter\npid_file: \"{0}/nats.pid\"\nlog_file: \"{0}/nats.log\"\nlogfile_size_limit: 10MB\n\
         max_payload: 1MB\njetstream {{\n  store_dir: \"{0}\"\n  max_file_store: 1TB\n}}\n",
        folder.display()
    )
}

fn spawn(binary: &Path, folder: &Path) -> Result<Child> {
    Command::new(binary)
        .arg("--config")
        .arg(folder.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to our group must not end it before what we still have to say is said.
        .process_group(0)
        // When the start fails further on, nothing is left behind.
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

/// A server that an earlier process left behind when it was killed still has the store open.
async fn end_orphan(folder: &Path) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(folder.join("nats.pid")) else { return Ok(()) };
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    let ours = || {
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&*folder.join("nats.conf").to_string_lossy())
    };
    let since = Instant::now();
    while ours() {
        end(pid);
        if since.elapsed() > PATIENCE {
            bail!("nats-server {} of an earlier start does not end: end it by hand", pid.as_raw_nonzero());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The configured program, else the first on PATH or in `.tools` that is new enough.
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

/// `nats-server: v2.15.1` as (2, 15).
async fn version(binary: &Path) -> Option<(u64, u64)> {
    let output = Command::new(binary).arg("--version").output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.rsplit('v').next()?.split('.');
    Some((numbers.next()?.trim().parse().ok()?, numbers.next()?.trim().parse().ok()?))
}
