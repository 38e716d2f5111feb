//! The thread that syncs the spool to the disk, in groups, and does nothing else: a slow disk never blocks a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Spool;

/// A running thread; `stop` ends it after a last sync.
pub struct Syncer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(spool: Arc<Spool>, every: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("spool-sync".to_owned()).spawn(move || {
            loop {
                let last = stopped.load(Ordering::Acquire);
                if let Err(error) = spool.sync() {
                    tracing::error!(%error, "the spool cannot be synced to the disk: {error}");
                }
                if last {
                    return;
                }
                std::thread::sleep(every);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Syncs once more and ends.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the thread that syncs the spool had failed");
        }
    }
}
