//! Keeping the directory current: reads `CONTROL`, and writes a snapshot after every change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eventlog::{Checkpoint, Log, TailError};
use events::Payload;
use events::control::{AccountCreated, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated};
use events::envelope::{EnvelopeError, RawEnvelope};
use events::subject::Stream;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, KeyEntry};

const BATCH: usize = 500;
const LINGER: Duration = Duration::from_millis(1);
const RETRY: Duration = Duration::from_millis(200);

/// Applies one control event.
///
/// # Errors
/// When it is malformed.
pub fn apply(directory: &Directory, envelope: &RawEnvelope<'_>) -> Result<(), EnvelopeError> {
    let put = |key, deleted| directory.put_key(KeyEntry { key, deleted });
    match envelope.kind {
        AccountCreated::KIND => directory.put_account(envelope.payload::<AccountCreated>()?.account),
        KeyCreated::KIND => put(envelope.payload::<KeyCreated>()?.key, false),
        KeyUpdated::KIND => put(envelope.payload::<KeyUpdated>()?.key, false),
        KeyDisabled::KIND => put(envelope.payload::<KeyDisabled>()?.key, false),
        KeyDeleted::KIND => put(envelope.payload::<KeyDeleted>()?.key, true),
        other => tracing::warn!(kind = other, "an unknown control event is skipped: {other}"),
    }
    Ok(())
}

/// Follows the log until `stop`.
pub async fn follow(directory: Arc<Directory>, log: Log, stop: CancellationToken) {
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = read(&directory, &log) => ended,
        };
        if let Err(error) = ended {
            if !matches!(error, TailError::Reconnected) {
                tracing::warn!(%error, "key changes are not read and will be again: {error}");
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn read(directory: &Directory, log: &Log) -> Result<(), TailError> {
    let mut tail = log.tail(Stream::Control, directory.checkpoint().as_ref()).await?;
    loop {
        let batch = tail.next_batch(BATCH, LINGER).await?;
        for record in &batch {
            let applied = RawEnvelope::parse(&record.payload).and_then(|envelope| apply(directory, &envelope));
            if let Err(error) = applied {
                tracing::error!(sequence = record.sequence, %error, "a control event is malformed and skipped: {error}");
            }
        }
        if let Some(last) = batch.last() {
            directory.advance(Checkpoint { identity: tail.identity.clone(), sequence: last.sequence, event_id: last.id.clone() });
        }
    }
}

/// Writes a snapshot after every change until `stop`, and once more then.
pub async fn snapshot(directory: Arc<Directory>, folder: PathBuf, stop: CancellationToken) {
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = directory.changed() => false,
        };
        if let Err(error) = directory.save(&folder) {
            tracing::error!(%error, folder = %folder.display(), "the key directory cannot be written to {}: {error}", folder.display());
        }
        if last {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
