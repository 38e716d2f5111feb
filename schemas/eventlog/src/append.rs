//! Appending: every event has its id as message id, and counts only when the server has acknowledged it.

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use crate::connect::{Log, LogError};

/// An event on its way to the log.
#[derive(Debug, Clone)]
pub struct Outgoing {
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
        let mut pending: Vec<PublishAckFuture> = Vec::with_capacity(events.len());
        for event in events {
            let message = PublishMessage::build().message_id(event.id).payload(event.payload);
            // While disconnected the client queues 2,048 commands and then waits for ever.
            let queued = tokio::time::timeout(std::time::Duration::from_secs(5), self.jetstream.send_publish(event.subject, message)).await;
            match queued {
                Ok(Ok(ack)) => pending.push(ack),
                Ok(Err(error)) => return Err(LogError::server(error)),
                Err(_) => return Err(LogError::server("no room to publish within 5 s")),
            }
        }
        for ack in pending {
            ack.await.map_err(LogError::server)?;
        }
        Ok(())
    }
}
