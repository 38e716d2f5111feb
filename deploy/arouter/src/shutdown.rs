//! The end of a process: waiting for a signal or for a database that must not be used any more, and the order of the shutdown.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use eventlog::Store;
use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The time within which everything that needs a database or NATS must end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener for SIGTERM and SIGINT. It must exist before the process reports that it is up. Otherwise an early signal would end the
/// process without draining.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening.
    pub fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of the signals.
    pub async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal, in a process with databases. Fails if a database has lost rows that decisions were based on; the next start
    /// brings it up to the log first.
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

/// Returns the error of a process whose disk did not keep written data.
pub fn disk_failed() -> anyhow::Error {
    anyhow::anyhow!("the disk did not keep what was written to the spool: check it, then start again; what is there is settled first")
}

/// Ends the front first, whose streams have their own time limit, and then the back, which gets `PATIENCE`. A hanging database connection
/// would otherwise block the exit for ever. After an error, front and back together get `PATIENCE`. The next start completes whatever did
/// not end.
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
