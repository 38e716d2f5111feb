//! Waiting for what ends a process: a signal, or a database that must not be used any more.

use anyhow::{Result, bail};
use eventlog::Store;
use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// The same for a process with databases. When the server of one was promoted or restored, that is the error: the next start
    /// brings the books up to the log before anything is decided on them.
    pub async fn wait_beside(self, databases: &[&Store]) -> Result<()> {
        let left_behind = select_all(databases.iter().map(|database| Box::pin(database.left_behind())));
        tokio::select! {
            () = self.wait() => Ok(()),
            _ = left_behind => bail!(
                "PostgreSQL was promoted or restored while this process ran, and may have lost what was decided on: start again, \
                 it is brought up to the log first"
            ),
        }
    }
}
