//! Appending: every event has its id as message id. Either each one is told, and may have to come right behind what is there,
//! or only the last one of a row whose readers tell what they have.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use events::subject::Stream;

use crate::connect::{Log, LogError};

/// How long the client may take to queue an event: while disconnected it queues 2,048 commands and then waits for ever.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// An event on its way to the log.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The stream that takes it.
    pub stream: Stream,
    /// Where to.
    pub subject: String,
    /// The event's id.
    pub id: String,
    /// The event.
    pub payload: Bytes,
}

impl Log {
    /// Appends events in order and waits for all acknowledgements. After an error any part may be stored: append all again, the ids
    /// make that harmless.
    ///
    /// # Errors
    /// When the server is away, refuses, or does not acknowledge in time.
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

    /// Appends events of one stream right behind its event number `tail`, and waits for all acknowledgements; gives back the new
    /// last number. For the only writer of a stream: what waited in the client while the connection was away, or what another has
    /// written before, is refused, so that it cannot hide what the stream has lost or was told meanwhile.
    ///
    /// # Errors
    /// When the stream ends elsewhere (read its end again), or the server is away, refuses, or does not acknowledge in time.
    pub async fn append_behind(&self, tail: u64, events: Vec<Outgoing>) -> Result<u64, LogError> {
        self.wrote(self.append_row(tail, events).await)
    }

    async fn append_row(&self, tail: u64, events: Vec<Outgoing>) -> Result<u64, LogError> {
        let mut pending = Vec::with_capacity(events.len());
        let mut before: Option<String> = None;
        for (behind, event) in (tail..).zip(events) {
            let mut message = PublishMessage::build().message_id(event.id.clone()).expected_last_sequence(behind).payload(event.payload);
            // Not by its number alone: where one is refused because of somebody else's, the next has the number that it wants.
            if let Some(before) = before.replace(event.id) {
                message = message.expected_last_message_id(before);
            }
            pending.push((behind, event.stream, queued(self.jetstream.send_publish(event.subject, message)).await?));
        }
        let mut last = tail;
        for (behind, stream, ack) in pending {
            let ack = ack.await;
            let is_elsewhere = match &ack {
                // A duplicate has the number that it was stored under.
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

    /// Sends events in order and waits until the last one of each stream is stored. The server takes what one connection sends in
    /// order, so nearly always all of them are; the proof are their readers' watermarks, and whoever uses this must send again what
    /// those never reach. An acknowledgement for each event was a third of the work of shipping it.
    ///
    /// # Errors
    /// When the server is away, refuses, or does not acknowledge in time.
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
