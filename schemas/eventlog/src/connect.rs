//! The connection to NATS. It reconnects by itself and counts its connections, so that readers know that the stored data must be checked
//! again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Event, jetstream};
use events::subject::Stream;
use tokio::sync::watch;

use crate::access::{Access, BadAddress};
use crate::archive::{Archive, ArchiveError};
use crate::recent::Recent;

/// The longest time that a request to the server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for which writes must fail before the log counts as not writable.
const FAILING: Duration = Duration::from_secs(3);
/// The oldest server version that the log accepts. From this version on, a write error freezes a stream instead of letting it go on.
const SERVER_MIN: (u64, u64) = (2, 14);

/// A connection to the log.
#[derive(Clone)]
pub struct Log {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    /// The time since which all writes have failed although there was a connection; `None` if the last write succeeded.
    failing_since: Arc<Mutex<Option<Instant>>>,
    /// The archive of events that have left the streams.
    pub(crate) archive: Option<Archive>,
    /// The events that were received last, by the index of their stream.
    pub(crate) recent: Arc<[Arc<Recent>; Stream::ALL.len()]>,
}

/// The reason why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot connect to NATS at {url}: {cause}; start a nats-server there, or correct [nats] url and credentials")]
    Connect { url: String, cause: async_nats::ConnectError },
    /// A malformed address.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A credentials file that cannot be read.
    #[error("the NATS credentials cannot be read: {0}")]
    Credentials(std::io::Error),
    /// A server that accepts clients without credentials.
    #[error(
        "the nats-server at {url} asks nobody for credentials, so everybody who reaches it can write to the log: configure users there (deploy/nats/nats.conf), or set nats.allow_unauthenticated = true"
    )]
    Unauthenticated { url: String },
    /// A server that is too old for the log.
    #[error("nats-server {found} at {url} is too old: the log needs 2.14 or later; upgrade it")]
    TooOld { url: String, found: String },
    /// A stream whose settings could lose events.
    #[error("the NATS stream {stream} has {what}; change it, or remove the stream if it is not needed")]
    Stream {
        stream: &'static str,
        /// The setting that could lose events.
        what: String,
    },
    /// Events that have left a stream before a reader read them, and that no archive of the reader contains.
    #[error(
        "the events behind {behind} have left the stream {stream}, which begins at {first} now, and no archive that is open here has them: set [archive] url to the one that does, or restore from a newer copy"
    )]
    Aged {
        stream: &'static str,
        /// The sequence of the last event that the reader has.
        behind: u64,
        /// The sequence of the first event that the stream still holds.
        first: u64,
    },
    /// An event that would not get the sequence that its writer expects.
    #[error("the stream {stream} does not end with its event {behind}: it has lost some, or another wrote to it; its end is read again")]
    Tail {
        stream: &'static str,
        /// The sequence that the writer takes for the last one.
        behind: u64,
    },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A request that the server refused or did not answer.
    #[error("NATS: {0}; is JetStream enabled there?")]
    Server(String),
}

impl LogError {
    pub(crate) fn server(error: impl fmt::Display) -> Self {
        Self::Server(error.to_string())
    }
}

impl Log {
    /// Connects to NATS and reconnects by itself after interruptions. `role` names the process and its inbox prefix, `_ARBOX_{role}`.
    ///
    /// # Errors
    /// Fails if no server answers at the addresses, or if the server refuses the credentials, accepts clients without credentials, or is
    /// too old.
    pub async fn connect(access: &Access, role: &str) -> Result<Self, LogError> {
        let url = access.to_string();
        let (connected, connects) = watch::channel(0_u64);
        let options = access.options().await.map_err(LogError::Credentials)?;
        let client = options
            .name(format!("arouter {role}"))
            // Differs from the inbox prefix of subscribers: their permissions must not cover our inbox.
            .custom_inbox_prefix(format!("_ARBOX_{role}"))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(|attempts| Duration::from_millis(u64::try_from(attempts).unwrap_or(20).min(20) * 50))
            .subscription_capacity(65_536)
            .event_callback(move |event| {
                let connected = connected.clone();
                async move {
                    // The callback runs on every state change; only a new connection may lead to a server with other data.
                    if matches!(event, Event::Connected) {
                        connected.send_modify(|count| *count += 1);
                    }
                    tracing::info!(%event, "NATS connection: {event}");
                }
            })
            .connect(access.addresses()?)
            .await
            .map_err(|cause| LogError::Connect { url: url.clone(), cause })?;
        let info = client.server_info();
        if version(&info.version) < SERVER_MIN {
            return Err(LogError::TooOld { url, found: info.version });
        }
        if !info.auth_required && !access.allow_unauthenticated {
            return Err(LogError::Unauthenticated { url });
        }
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(REQUEST_TIMEOUT);
        Ok(Self { client, jetstream, connects, failing_since: Arc::default(), archive: None, recent: Arc::default() })
    }

    /// Returns the same log with an archive. A reader that starts at the beginning of a stream reads the archive first.
    #[must_use]
    pub fn with_archive(&self, archive: Option<Archive>) -> Self {
        Self { archive, ..self.clone() }
    }

    /// Returns the same log without the archive, which shows only what the streams hold now.
    #[must_use]
    pub fn live(&self) -> Self {
        self.with_archive(None)
    }

    /// Returns a counter of connections. A change means that the data on the server must be checked again.
    #[must_use]
    pub fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Records the outcome of a write.
    pub(crate) fn wrote<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        let mut failing = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(_) => *failing = None,
            Err(LogError::Server(_)) if self.is_connected() => {
                failing.get_or_insert_with(Instant::now);
            }
            // Without a connection nothing is known about the server, and a stream that ends elsewhere still accepts writes.
            Err(_) => {}
        }
        drop(failing);
        result
    }

    /// Returns whether the server accepts writes, as far as is known. A server whose disk was full once may refuse them forever.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|since| since.elapsed() < FAILING)
    }

    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends queued messages and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "NATS was gone before it could be closed");
        }
    }
}

fn version(text: &str) -> (u64, u64) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
