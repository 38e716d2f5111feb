//! The connection to NATS: it comes back by itself, and says so to whoever must check what the server still has.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Event, jetstream};
use tokio::sync::watch;

use crate::access::{Access, BadAddress};
use crate::archive::{Archive, ArchiveError};

/// How long a request to the server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long writes may fail before the log counts as one that takes none.
const FAILING: Duration = Duration::from_secs(3);
/// Oldest server that has what the log needs (write errors freeze a stream instead of going on).
const SERVER_MIN: (u64, u64) = (2, 14);

/// A connection to the log.
#[derive(Clone)]
pub struct Log {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    /// Since when no write was told, although there is a connection.
    failing_since: Arc<Mutex<Option<Instant>>>,
    /// What the streams held before.
    pub(crate) archive: Option<Archive>,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No connection.
    #[error("cannot connect to NATS at {url}: {cause}; start a nats-server there, or correct [nats] url and credentials")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        cause: async_nats::ConnectError,
    },
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A file of ours that cannot be read.
    #[error("the NATS credentials cannot be read: {0}")]
    Credentials(std::io::Error),
    /// A server that lets everybody in.
    #[error(
        "the nats-server at {url} asks nobody for credentials, so everybody who reaches it can write to the log: configure users there (deploy/nats/nats.conf), or set nats.allow_unauthenticated = true"
    )]
    Unauthenticated {
        /// Where.
        url: String,
    },
    /// A server that lacks what the log needs.
    #[error("nats-server {found} at {url} is too old: the log needs 2.14 or later; upgrade it")]
    TooOld {
        /// Where.
        url: String,
        /// Its version.
        found: String,
    },
    /// A stream exists with settings that could lose events.
    #[error("the NATS stream {stream} has {what}; change it, or remove the stream if it is not needed")]
    Stream {
        /// Its name.
        stream: &'static str,
        /// The setting.
        what: String,
    },
    /// Events have left a stream that a reader has not read, and are in no archive that it has.
    #[error(
        "the events behind {behind} have left the stream {stream}, which begins at {first} now, and no archive that is open here has them: set [archive] url to the one that does, or restore from a newer copy"
    )]
    Aged {
        /// Its name.
        stream: &'static str,
        /// The last event that the reader has.
        behind: u64,
        /// The first event that is there.
        first: u64,
    },
    /// An event would not come where its writer believes.
    #[error("the stream {stream} does not end with its event {behind}: it has lost some, or another wrote to it; its end is read again")]
    Tail {
        /// Its name.
        stream: &'static str,
        /// The event that its writer takes for the last one.
        behind: u64,
    },
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The server refused or did not answer.
    #[error("NATS: {0}; is JetStream enabled there?")]
    Server(String),
}

impl LogError {
    pub(crate) fn server(error: impl fmt::Display) -> Self {
        Self::Server(error.to_string())
    }
}

impl Log {
    /// Connects; later interruptions heal by themselves. `role` names the process, and its inbox: `_ARBOX_{role}`.
    ///
    /// # Errors
    /// When no server answers at the addresses, it refuses us or takes everybody, or it is too old.
    pub async fn connect(access: &Access, role: &str) -> Result<Self, LogError> {
        let url = access.to_string();
        let (connected, connects) = watch::channel(0_u64);
        let options = access.options().await.map_err(LogError::Credentials)?;
        let client = options
            .name(format!("arouter {role}"))
            // Not the prefix that subscribers have: their permissions must not reach ours.
            .custom_inbox_prefix(format!("_ARBOX_{role}"))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(|attempts| Duration::from_millis(u64::try_from(attempts).unwrap_or(20).min(20) * 50))
            .subscription_capacity(65_536)
            .event_callback(move |event| {
                let connected = connected.clone();
                async move {
                    // The callback hears of every state; only a new connection may mean another store.
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
        Ok(Self { client, jetstream, connects, failing_since: Arc::default(), archive: None })
    }

    /// The same log with what its streams held before: whoever reads a stream from its start reads that first.
    #[must_use]
    pub fn with_archive(&self, archive: Option<Archive>) -> Self {
        Self { archive, ..self.clone() }
    }

    /// The same log without the archive: what the streams hold now.
    #[must_use]
    pub fn live(&self) -> Self {
        self.with_archive(None)
    }

    /// Counts the connections; a change means that what the server stores must be checked again.
    #[must_use]
    pub fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Notes the outcome of a write.
    pub(crate) fn wrote<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        let mut failing = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(_) => *failing = None,
            Err(LogError::Server(_)) if self.is_connected() => {
                failing.get_or_insert_with(Instant::now);
            }
            // Without a connection nothing is known of the server, and a stream that ends elsewhere takes writes.
            Err(_) => {}
        }
        drop(failing);
        result
    }

    /// Whether the server takes writes, as far as is known: one whose disk was full once may refuse them for ever.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|since| since.elapsed() < FAILING)
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is queued and closes.
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
