//! Durable consumers that give one account's public events to a NATS client. The server fixes their filters, so a client that may only pull
//! from them reads nothing else.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use events::subject::{Stream, account_filter};
use futures_util::TryStreamExt;

use crate::account_feed::PUBLIC;
use crate::connect::{Log, LogError};

/// The first characters of the name of such a consumer. No other reader uses them.
pub const PREFIX: &str = "feed-";
/// The time after which an event that was not acknowledged is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The number of events that may be delivered and not acknowledged yet.
const UNACKNOWLEDGED_MAX: i64 = 1_000;

fn config(consumer: &str, stream: Stream, account: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: UNACKNOWLEDGED_MAX,
        filter_subject: account_filter(stream, account),
        ..pull::Config::default()
    }
}

impl Log {
    /// Creates the consumer of this name on each public stream, for the events of one account. An existing one of the same account stays at
    /// its place.
    ///
    /// # Errors
    /// Fails if the server refuses: the name may belong to another account.
    pub async fn create_account_consumer(&self, consumer: &str, account: &str) -> Result<(), LogError> {
        for stream in PUBLIC {
            self.jetstream
                .create_consumer_strict_on_stream(config(consumer, stream, account), stream.name())
                .await
                .map_err(LogError::server)?;
        }
        Ok(())
    }

    /// Makes the account consumers on the server those of this list of names and accounts: creates missing ones and deletes others.
    ///
    /// # Errors
    /// Fails if the server refuses or does not answer.
    pub async fn reconcile_account_consumers(&self, wanted: &[(String, String)]) -> Result<(), LogError> {
        for stream in PUBLIC {
            let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
            let present: Vec<String> = handle.consumer_names().try_collect().await.map_err(LogError::server)?;
            for name in present.iter().filter(|name| name.starts_with(PREFIX) && !wanted.iter().any(|(consumer, _)| consumer == *name)) {
                match handle.delete_consumer(name).await {
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ConsumerErrorKind::JetStream(_)) => {
                        tracing::debug!(%error, "the consumer {name} was gone already");
                    }
                    Err(error) => return Err(LogError::server(error)),
                }
            }
        }
        for (consumer, account) in wanted {
            self.create_account_consumer(consumer, account).await?;
        }
        Ok(())
    }
}
