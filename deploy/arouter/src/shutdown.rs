//! Waiting for what ends a process: a signal, or a database that must not be used any more.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use eventlog::Store;
use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long what needs a database or NATS may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens for SIGTERM and SIGINT from the moment it is made: before anybody is told that the process is up, or a signal that comes
/// right then would end it without draining.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when one has come.
    pub async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The same for a process with databases. When one has older rows than were decided on, that is the error: the next start brings it up
    /// to the log first.
    pub async fn wait_beside(self, databases: &[&Store]) -> Result<()> {
        let fenced = select_all(databases.iter().map(|database| Box::pin(database.fenced())));
        tokio::select! {
            () = self.wait() => Ok(()),
            _ = fenced => bail!(
                "the database has lost what this process decided on (PostgreSQL was promoted or restored): start again, it is brought up \
                 to the log first"
            ),
        }
    }
}

/// The error of a process whose disk did not keep what was written.
pub fn disk_failed() -> anyhow::Error {
    anyhow::anyhow!("the disk did not keep what was written to the spool: check it, then start again; what is there is settled first")
}

/// Ends the front, whose streams have their own time, and then what is behind it, which has no longer than a while: a connection to a
/// database that hangs would keep it for ever. After an error both have no longer than that. What was not ended is found by the next
/// start.
pub async fn in_order(ended: Result<()>, front: impl Future<Output = ()>, behind: impl Future<Output = ()>) -> Result<()> {
    let Err(error) = ended else {
        front.await;
        return within_patience(behind).await;
    };
    let both = async {
        front.await;
        behind.await;
    };
    if let Err(error) = within_patience(both).await {
        tracing::warn!("{error}");
    }
    Err(error)
}

async fn within_patience(shutdown: impl Future<Output = ()>) -> Result<()> {
    let seconds = PATIENCE.as_secs();
    let ended = tokio::time::timeout(PATIENCE, shutdown).await;
    ended.with_context(|| {
        format!("not everything has ended in {seconds} s: a database or NATS does not answer; nothing is lost, the next start goes on")
    })
}
