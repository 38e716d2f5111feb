//! Updates of the directory: reads `CONTROL`, and saves the changes to disk.

use std::sync::Arc;
use std::time::Duration;

use eventlog::{Checkpoint, Log, TailError, Throttle};
use events::control::ControlEvent;
use events::envelope::{EnvelopeError, RawEnvelope};
use events::subject::Stream;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, KeyEntry, WebhookEntry};

const BATCH: usize = 500;
const LINGER: Duration = Duration::from_millis(1);
/// The time for which changes are gathered before the next save.
const GATHER: Duration = Duration::from_millis(50);

/// Applies one control event; an event of unknown type is skipped.
///
/// # Errors
/// Fails if the event is malformed.
pub fn apply(directory: &Directory, envelope: &RawEnvelope<'_>) -> Result<(), EnvelopeError> {
    match ControlEvent::read(envelope)? {
        Some(ControlEvent::Account(account)) => directory.put_account(account),
        Some(ControlEvent::Key(key)) => directory.put_key(KeyEntry { key: *key, deleted: false }),
        Some(ControlEvent::KeyDeleted(key)) => directory.put_key(KeyEntry { key: *key, deleted: true }),
        // The projector replaces names; a gateway stores none.
        Some(ControlEvent::UserErased(_)) => {}
        Some(ControlEvent::Webhook(webhook)) => directory.put_webhook(WebhookEntry { webhook: *webhook, deleted: false }),
        Some(ControlEvent::WebhookDeleted(webhook)) => directory.put_webhook(WebhookEntry { webhook: *webhook, deleted: true }),
        Some(ControlEvent::Catalog(catalog)) => directory.put_catalog(*catalog),
        Some(ControlEvent::ProviderKey(key)) => directory.put_provider_key(*key),
        None => tracing::warn!(kind = envelope.kind, "an unknown control event is skipped: {}", envelope.kind),
    }
    Ok(())
}

/// Follows the log until `stop`.
pub async fn follow(directory: Arc<Directory>, log: Log, stop: CancellationToken) {
    let troubles = Throttle::new();
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = read(&directory, &log) => ended,
        };
        let Err(error) = ended else { continue };
        if matches!(error, TailError::Reconnected) {
            continue;
        }
        let (wait, report) = troubles.failed();
        if let Some(unsaid) = report {
            tracing::warn!(%error, unsaid, "key changes are not read and will be again: {error}");
        }
        tokio::time::sleep(wait).await;
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

/// Saves every change to disk until `stop`, and then once more.
pub async fn save(directory: Arc<Directory>, stop: CancellationToken) {
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = directory.changed() => false,
        };
        let saving = Arc::clone(&directory);
        let saved = tokio::task::spawn_blocking(move || saving.save()).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(%error, "the key directory cannot be written, and will be again: {error}");
            directory.unsaved();
        }
        if last {
            return;
        }
        tokio::time::sleep(GATHER).await;
    }
}
