//! Waiting for what ends a process: a signal, or a database that must not be used any more.

use std::time::Duration;

use anyhow::{Result, bail};
use eventlog::Store;
use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a process may take to end when it must.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let left_behind = select_all(databases.iter().map(|database| Box::pin(database.left_behind())));
        tokio::select! {
            () = self.wait() => Ok(()),
            _ = left_behind => bail!(
                "the database has lost what this process decided on (PostgreSQL was promoted or restored): start again, it is brought up \
                 to the log first"
            ),
        }
    }
}

/// Ends in order. After an error a connection may hang for long: then whatever supervises the process waits no longer than a while,
/// and what was not ended is found by the next start.
pub async fn in_order(ended: Result<()>, shutdown: impl Future<Output = ()>) -> Result<()> {
    if ended.is_ok() {
        shutdown.await;
    } else if tokio::time::timeout(PATIENCE, shutdown).await.is_err() {
        tracing::warn!("not everything has ended in {} s", PATIENCE.as_secs());
    }
    ended
}
