//! The thread that syncs the spool to the disk in groups, so that a slow disk never blocks a request. It also adapts the backpressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use eventlog::Throttle;
use tokio_util::sync::CancellationToken;

use super::{Spool, SpoolError};

/// A running sync thread; [`Self::stop`] ends it after a last sync.
pub struct Syncer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Syncer {
    /// Starts the thread. `failed` is cancelled if written events may be lost.
    pub fn start(spool: Arc<Spool>, every: Duration, failed: CancellationToken) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("spool-sync".to_owned()).spawn(move || {
            let troubles = Throttle::new();
            loop {
                let last = stopped.load(Ordering::Acquire);
                let mut wait = every;
                spool.adapt_backpressure();
                match spool.sync() {
                    Ok(()) => troubles.succeeded(),
                    // The system drops data that it could not write, so the next sync would wrongly report success.
                    Err(error @ SpoolError::Sync(_)) => {
                        tracing::error!(%error, "the gateway ends, since {error}; check the disk, then start again");
                        failed.cancel();
                        return;
                    }
                    Err(error) => {
                        let (longer, report) = troubles.failed();
                        if let Some(unsaid) = report {
                            tracing::error!(%error, unsaid, "the spool cannot be synced to the disk: {error}");
                        }
                        wait = longer;
                    }
                }
                if last {
                    return;
                }
                std::thread::sleep(wait);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Syncs once more and ends the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the thread that syncs the spool had failed");
        }
    }
}
