//! Announcements of control events among gateways: a change of a key takes effect elsewhere at once, even while the log's disk is slow.
//!
//! An announcement may be lost. The same event comes from the log later, and revisions make that harmless.

use std::sync::Arc;

use eventlog::Log;
use eventlog::rpc::Signer;
use events::Source;
use events::envelope::RawEnvelope;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::directory::Directory;
use super::follow;

/// The name of the notices.
const NAME: &str = "control";
/// The number of events that wait to be announced; further ones come from the log alone.
const WAITING_MAX: usize = 1_024;

/// The place where control events are announced. Nothing waits for it.
#[derive(Debug, Clone)]
pub struct Announcements(mpsc::Sender<Box<RawValue>>);

impl Announcements {
    /// Creates the place, with the queue of the events.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Box<RawValue>>) {
        let (events, announced) = mpsc::channel(WAITING_MAX);
        (Self(events), announced)
    }

    /// Announces an event that is on the disk.
    pub fn tell(&self, envelope: &[u8]) {
        let event = std::str::from_utf8(envelope).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
        if event.is_none_or(|event| self.0.try_send(event).is_err()) {
            tracing::debug!("a control event is not announced: too many wait");
        }
    }
}

/// Announces events, and applies those of other gateways, until `stop`.
pub async fn exchange(
    directory: Arc<Directory>,
    (log, signer): (Log, Signer),
    own: Source,
    mut announced: mpsc::Receiver<Box<RawValue>>,
    stop: CancellationToken,
) {
    let apply = |event: Box<RawValue>| {
        let applied = RawEnvelope::parse(event.get().as_bytes())
            .and_then(|envelope| if envelope.source == own.0 { Ok(()) } else { follow::apply(&directory, &envelope) });
        if let Err(error) = applied {
            tracing::warn!(%error, "an announced control event is malformed and skipped: {error}");
        }
    };
    log.exchange(NAME, &signer, &mut announced, apply, &stop).await;
}
