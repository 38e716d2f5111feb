//! The archive in this process. Of several ledgers, only the first one writes it.

use std::sync::Arc;

use anyhow::Result;
use eventlog::archiver::Archiver;
use eventlog::{Archive, Log};
use events::Clock;
use events::subject::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ArchiveConfig;

/// Starts archiving every stream, if an archive is configured.
pub fn start(
    config: &ArchiveConfig,
    log: &Log,
    is_first: &watch::Receiver<bool>,
    clock: &Arc<dyn Clock>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<()> {
    let Some(archive) = config.open()? else { return Ok(()) };
    let archiver = Arc::new(Archiver { log: log.clone(), archive, terms: config.terms(), clock: Arc::clone(clock) });
    for stream in Stream::ALL {
        let (archiver, is_first, stop) = (Arc::clone(&archiver), is_first.clone(), stop.clone());
        tasks.spawn(async move { archiver.run(stream, is_first, stop).await });
    }
    Ok(())
}

/// Checks that the chain of every stream is unbroken and that every file is unchanged. Returns the number of checked segments and the
/// errors.
pub async fn check(archive: &Archive) -> (i64, Vec<String>) {
    let (mut segments, mut broken) = (0, Vec::new());
    for stream in Stream::ALL {
        match archive.chain(stream).await {
            Ok(chain) => {
                for manifest in chain {
                    segments += 1;
                    broken.extend(archive.read(&manifest).await.err().map(|error| error.to_string()));
                }
            }
            Err(error) => broken.push(error.to_string()),
        }
    }
    (segments, broken)
}
