//! Appending events to the log, each with its id as message id.
//!
//! Either every event is acknowledged, and may have to follow directly after the end of its stream. Or only the last event of a series is
//! acknowledged, and the watermarks of the readers show what has arrived.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use events::subject::Stream;

use crate::connect::{Log, LogError};

/// The longest time for which the client may queue an event. A disconnected client queues 2,048 commands and then waits forever.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// An event on its way to the log.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub stream: Stream,
    pub subject: String,
    pub id: String,
    pub payload: Bytes,
}

impl Log {
    /// Appends events in order and waits for all acknowledgements.
    ///
    /// # Errors
    /// Fails if the server is unavailable, refuses, or does not acknowledge in time. Any part of the events may be stored by then. Append
    /// all of them again: their ids make that harmless.
    pub async fn append(&self, events: Vec<Outgoing>) -> Result<(), LogError> {
        self.wrote(self.append_all(events).await)
    }

    async fn append_all(&self, events: Vec<Outgoing>) -> Result<(), LogError> {
        let mut pending = Vec::with_capacity(events.len());
        for event in events {
            pending.push(self.publish(event).await?);
        }
        acknowledged(pending).await
    }

    /// Appends events of one stream directly after its sequence `tail`, waits for all acknowledgements, and returns the new last sequence.
    ///
    /// This is for the only writer of a stream. The server refuses events that waited in the client while the connection was down, and
    /// events after a foreign write. So a write cannot hide that the stream has lost events or received others meanwhile.
    ///
    /// # Errors
    /// Fails with [`LogError::Tail`] if the stream ends elsewhere: read its end again. Also fails if the server is unavailable, refuses, or
    /// does not acknowledge in time.
    pub async fn append_behind(&self, tail: u64, events: Vec<Outgoing>) -> Result<u64, LogError> {
        self.wrote(self.append_row(tail, events).await)
    }

    async fn append_row(&self, tail: u64, events: Vec<Outgoing>) -> Result<u64, LogError> {
        let mut pending = Vec::with_capacity(events.len());
        let mut before: Option<String> = None;
        for (behind, event) in (tail..).zip(events) {
            let mut message = PublishMessage::build().message_id(event.id.clone()).expected_last_sequence(behind).payload(event.payload);
            // The sequence alone is not enough. If another writer's event makes the server refuse one of ours, our next event has the
            // sequence that the server then expects.
            if let Some(before) = before.replace(event.id) {
                message = message.expected_last_message_id(before);
            }
            pending.push((behind, event.stream, queued(self.jetstream.send_publish(event.subject, message)).await?));
        }
        let mut last = tail;
        for (behind, stream, ack) in pending {
            let ack = ack.await;
            let is_elsewhere = match &ack {
                // A duplicate is acknowledged with the sequence under which it was stored.
                Ok(ack) => ack.sequence != behind + 1,
                Err(error) => matches!(error.kind(), PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId),
            };
            if is_elsewhere {
                return Err(LogError::Tail { stream: stream.name(), behind });
            }
            last = ack.map_err(LogError::server)?.sequence;
        }
        Ok(last)
    }

    /// Sends events in order and waits until the last one of each stream is stored.
    ///
    /// The server processes the messages of one connection in order, so nearly always all of them are stored. The readers' watermarks are
    /// the proof: the caller must send again the events that they never reach. Acknowledging every event took a third of the work of
    /// shipping it.
    pub async fn send(&self, events: Vec<Outgoing>) -> Result<(), LogError> {
        self.wrote(self.send_all(events).await)
    }

    async fn send_all(&self, events: Vec<Outgoing>) -> Result<(), LogError> {
        let last = Stream::ALL.map(|stream| events.iter().rposition(|event| event.stream == stream));
        let mut pending = Vec::with_capacity(Stream::ALL.len());
        for (index, event) in events.into_iter().enumerate() {
            if last.contains(&Some(index)) {
                pending.push(self.publish(event).await?);
            } else {
                let mut headers = HeaderMap::new();
                headers.insert(async_nats::header::NATS_MESSAGE_ID, event.id);
                queued(self.client.publish_with_headers(event.subject, headers, event.payload)).await?;
            }
        }
        acknowledged(pending).await
    }

    async fn publish(&self, event: Outgoing) -> Result<PublishAckFuture, LogError> {
        let message = PublishMessage::build().message_id(event.id).payload(event.payload);
        queued(self.jetstream.send_publish(event.subject, message)).await
    }
}

async fn queued<T, E: std::fmt::Display>(publish: impl Future<Output = Result<T, E>>) -> Result<T, LogError> {
    match tokio::time::timeout(QUEUE_TIMEOUT, publish).await {
        Ok(queued) => queued.map_err(LogError::server),
        Err(_) => Err(LogError::server("no room to publish within 5 s")),
    }
}

async fn acknowledged(pending: Vec<PublishAckFuture>) -> Result<(), LogError> {
    for ack in pending {
        ack.await.map_err(LogError::server)?;
    }
    Ok(())
}
