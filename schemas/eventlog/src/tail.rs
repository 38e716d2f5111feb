//! Ordered reading of a stream from a checkpoint that the reader's database stores.
//!
//! A sequence alone is no checkpoint: after the server loses the end of a stream, it assigns the same sequences again. So a checkpoint
//! contains the stream's identity and the id of the event at its sequence, and both are checked on every connection. If they do not hold,
//! reading starts again from the first event; ids make that harmless.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream as NatsStream};
use events::subject::Stream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::archive::{Archive, Manifest};
use crate::connect::{Log, LogError};
use crate::recent::{BUSY_MAX, Feeding, Found, Place, Recent};
use crate::record::{Checkpoint, Record};

/// The time for which the server keeps the consumer of a reader that does not come back.
const INACTIVE: Duration = Duration::from_mins(1);
/// The interval of heartbeats from a quiet server.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// The time for which a tail receives events itself before it may follow another one again.
const ALONE: Duration = Duration::from_secs(10);

/// The reason why reading stopped and the tail must be opened again.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A new connection: the checkpoint must be verified again.
    #[error("reconnected")]
    Reconnected,
    /// A message that was lost on the way, or left the stream before it was read.
    #[error("a gap in the delivery")]
    Gap,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A reader of one stream: first of its archived events, then of those that it holds.
pub struct Tail {
    handle: NatsStream,
    /// The messages of the stream. They are opened only after the archive is read, because the server deletes an unused consumer after a
    /// while.
    messages: Option<pull::Stream>,
    connects: watch::Receiver<u64>,
    connection: u64,
    delivered: u64,
    /// The events that another tail of the process has received.
    recent: Arc<Recent>,
    is_shared: bool,
    /// The right to feed the other tails with those that this one receives.
    feeding: Option<Feeding>,
    /// The time until which this tail receives events itself, because the one that it followed was busy.
    alone_until: Option<Instant>,
    archive: Option<Archive>,
    segments: VecDeque<Manifest>,
    /// Unread events of the current segment.
    archived: VecDeque<Record>,
    /// The incarnation of the stream that exists now.
    live: String,
    /// The sequence of the stream's last event that was read, or need not be.
    pub(crate) read_to: u64,
    /// The sequence of the first event that the stream held when it was opened.
    pub(crate) first: u64,
    /// The incarnation of the stream to which the last events belong.
    pub identity: String,
    /// Whether the checkpoint did not hold, so that reading starts over.
    pub restarted: bool,
}

/// The relation of a checkpoint to the content of a stream.
pub(crate) enum Standing {
    /// The checkpoint holds: reading goes on after it.
    Holds,
    /// Events after the checkpoint have left the stream.
    Aged,
    /// The stream was rolled back or created anew.
    Fails,
}

impl Log {
    /// Opens a stream after a checkpoint, or at its first event if the checkpoint does not hold. If the log has an archive, events that
    /// have left the stream are read from there.
    ///
    /// # Errors
    /// Fails with [`LogError::Aged`] if needed events have left the stream and no archive has them.
    pub async fn tail(&self, stream: Stream, checkpoint: Option<&Checkpoint>) -> Result<Tail, LogError> {
        let connects = self.connects();
        let connection = *connects.borrow();
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        let mut info = handle.get_info().await.map_err(LogError::server)?;
        let (identity, mut first) = (info.created.to_string(), info.state.first_sequence);
        let stands = match checkpoint {
            Some(checkpoint) => standing(&handle, &info, checkpoint).await?,
            None if first > 1 => Standing::Aged,
            None => Standing::Fails,
        };
        // Events that a rollback removed were read before. So the archive has nothing new, unless later events have left the stream
        // already.
        let is_rolled_back = || checkpoint.is_some_and(|checkpoint| checkpoint.identity == identity);
        let segments = match (&self.archive, &stands) {
            (Some(archive), Standing::Aged) => archive.behind(stream, checkpoint).await?,
            (Some(archive), Standing::Fails) if first > 1 || !is_rolled_back() => archive.behind(stream, checkpoint).await?,
            _ => Vec::new(),
        };
        if !segments.is_empty() {
            // Listing an archive takes time. The stream may have grown past the archive's last segment, and must not seem to end before it.
            info = handle.get_info().await.map_err(LogError::server)?;
            first = info.state.first_sequence;
            if info.created.to_string() != identity {
                return Err(LogError::server("the stream was made anew meanwhile"));
            }
        }
        // Reading starts after the archive if its last segment belongs to this stream. Without segments it starts after a checkpoint that
        // holds. Else it starts at the beginning: ids show which events were read.
        let end = match segments.last() {
            Some(last) => Some(last.end()).filter(|_| last.identity == identity),
            None => checkpoint.filter(|_| !matches!(stands, Standing::Fails)).cloned(),
        };
        let mut read_to = match end {
            None => 0,
            Some(end) => match standing(&handle, &info, &end).await? {
                Standing::Holds | Standing::Aged => end.sequence,
                // The stream was rolled back to before the archive's end: its events are read again.
                Standing::Fails => first.saturating_sub(1),
            },
        };
        if read_to + 1 < first {
            if !matches!(stands, Standing::Fails) || !is_rolled_back() {
                return Err(LogError::Aged { stream: stream.name(), behind: read_to, first });
            }
            read_to = first - 1;
        }
        let restarted = checkpoint.is_some() && matches!(stands, Standing::Fails);
        Ok(Tail {
            handle,
            messages: None,
            connects,
            connection,
            delivered: 0,
            recent: Arc::clone(&self.recent[stream.index()]),
            is_shared: false,
            feeding: None,
            alone_until: None,
            archive: self.archive.clone(),
            segments: segments.into(),
            archived: VecDeque::new(),
            live: identity.clone(),
            read_to,
            first,
            identity,
            restarted,
        })
    }
}

pub(crate) async fn standing(handle: &NatsStream, info: &Info, checkpoint: &Checkpoint) -> Result<Standing, LogError> {
    if checkpoint.identity != info.created.to_string() || checkpoint.sequence > info.state.last_sequence {
        return Ok(Standing::Fails);
    }
    if checkpoint.sequence + 1 < info.state.first_sequence {
        return Ok(Standing::Aged);
    }
    if checkpoint.sequence < info.state.first_sequence {
        return Ok(Standing::Holds);
    }
    let message = handle.get_raw_message(checkpoint.sequence).await.map_err(LogError::server)?;
    Ok(if message_id(&message.headers) == checkpoint.event_id { Standing::Holds } else { Standing::Fails })
}

impl Tail {
    /// Lets the server send each event once for all shared tails of the process. An event may come a few milliseconds later, because the
    /// tail that receives it is not read while its reader writes.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Returns whether all events of the stream up to a sequence were read, and all archived ones before them.
    #[must_use]
    pub fn has_read(&self, sequence: u64) -> bool {
        self.segments.is_empty() && self.archived.is_empty() && self.read_to >= sequence
    }

    /// Returns the next archived events, at most those of one segment; none if all are read.
    pub(crate) async fn next_archived(&mut self, max: usize) -> Result<Vec<Record>, TailError> {
        while self.archived.is_empty()
            && let Some(archive) = &self.archive
            && let Some(segment) = self.segments.pop_front()
        {
            self.archived = archive.read(&segment).await.map_err(LogError::from)?.into();
            self.identity = segment.identity;
        }
        if self.archived.is_empty() {
            self.identity.clone_from(&self.live);
        }
        let most = self.archived.len().min(max);
        Ok(self.archived.drain(..most).collect())
    }

    /// Opens the messages of the stream after the last event that was read.
    async fn open(&mut self) -> Result<pull::Stream, LogError> {
        let start = match self.read_to {
            0 => DeliverPolicy::All,
            read => DeliverPolicy::ByStartSequence { start_sequence: read + 1 },
        };
        let consumer: PullConsumer = self.handle.create_consumer(reader(start, String::new())).await.map_err(LogError::server)?;
        self.delivered = 0;
        consumer.stream().max_messages_per_batch(2_000).heartbeat(HEARTBEAT).messages().await.map_err(LogError::server)
    }

    /// Waits for an event, then returns it with those that come within `linger`, at most `max`.
    ///
    /// # Errors
    /// Fails if reading must start again from the checkpoint.
    pub async fn next_batch(&mut self, max: usize, linger: Duration) -> Result<Vec<Record>, TailError> {
        loop {
            let batch = self.next_batch_within(max, linger, HEARTBEAT).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Does the same as [`Self::next_batch`], but returns no events if none comes within `patience`.
    ///
    /// # Errors
    /// Fails if reading must start again from the checkpoint.
    pub async fn next_batch_within(&mut self, max: usize, linger: Duration, patience: Duration) -> Result<Vec<Record>, TailError> {
        let batch = self.next_archived(max).await?;
        if !batch.is_empty() {
            return Ok(batch);
        }
        if self.may_follow() && self.recent.has_place(&self.place()) {
            self.messages = None;
        }
        if self.is_shared && self.messages.is_none() {
            self.feeding = None;
            if let Some(batch) = self.follow(max, linger, patience).await? {
                return Ok(batch);
            }
        }
        self.set_busy(false);
        let batch = self.receive(max, linger, patience).await;
        self.set_busy(true);
        batch
    }

    /// Waits for events that another tail receives. `None` if this one must receive events itself.
    async fn follow(&mut self, max: usize, linger: Duration, patience: Duration) -> Result<Option<Vec<Record>>, TailError> {
        let mut news = self.recent.changes();
        let deadline = Instant::now() + patience;
        let mut has_lingered = false;
        loop {
            news.mark_unchanged();
            match self.recent.after(&self.place(), max) {
                Found::Elsewhere => {
                    self.feeding = self.recent.feed(&self.place());
                    if self.feeding.is_none() {
                        self.alone_until = Some(Instant::now() + ALONE);
                    }
                    return Ok(None);
                }
                Found::Records(records) if has_lingered || records.len() >= max => {
                    self.read_to = records.last().map_or(self.read_to, |last| last.sequence);
                    return if *self.connects.borrow() == self.connection { Ok(Some(records)) } else { Err(TailError::Reconnected) };
                }
                Found::Records(_) => {
                    tokio::time::sleep(linger).await;
                    has_lingered = true;
                }
                Found::Nothing if Instant::now() >= deadline => return Ok(Some(Vec::new())),
                Found::Nothing => {
                    tokio::select! {
                        _ = news.changed() => {}
                        () = tokio::time::sleep_until(deadline.min(Instant::now() + BUSY_MAX)) => {}
                        changed = self.connects.changed() => {
                            return Err(if changed.is_ok() { TailError::Reconnected } else { LogError::server("closed").into() });
                        }
                    }
                }
            }
        }
    }

    fn may_follow(&self) -> bool {
        self.is_shared && self.feeding.is_none() && self.alone_until.is_none_or(|until| Instant::now() >= until)
    }

    fn place(&self) -> Place<'_> {
        Place { identity: &self.live, connection: self.connection, read_to: self.read_to }
    }

    fn set_busy(&self, is_busy: bool) {
        if let Some(feeding) = &self.feeding {
            feeding.set_busy(is_busy);
        }
    }

    /// Receives events from the server, as [`Self::next_batch_within`] returns them.
    async fn receive(&mut self, max: usize, linger: Duration, patience: Duration) -> Result<Vec<Record>, TailError> {
        let mut batch = Vec::new();
        let mut messages = match self.messages.take() {
            Some(messages) => messages,
            None => self.open().await?,
        };
        let first = tokio::select! {
            message = messages.next() => message,
            () = tokio::time::sleep(patience) => {
                self.messages = Some(messages);
                return Ok(batch);
            }
            changed = self.connects.changed() => {
                return Err(if changed.is_ok() { TailError::Reconnected } else { LogError::server("closed").into() });
            }
        };
        batch.push(self.record(first).await?);
        let deadline = Instant::now() + linger;
        while batch.len() < max {
            // Messages that have arrived already are taken even after the deadline.
            let next = match messages.next().now_or_never() {
                Some(message) => message,
                None => match timeout_at(deadline, messages.next()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            batch.push(self.record(next).await?);
        }
        if *self.connects.borrow() != self.connection {
            return Err(TailError::Reconnected);
        }
        self.messages = Some(messages);
        Ok(batch)
    }

    async fn record(&mut self, message: Option<Result<async_nats::jetstream::Message, pull::MessagesError>>) -> Result<Record, TailError> {
        let message = message.ok_or_else(|| LogError::server("the reader ended"))?.map_err(LogError::server)?;
        let info = message.info().map_err(LogError::server)?;
        let (sequence, delivery) = (info.stream_sequence, info.consumer_sequence);
        if delivery != self.delivered + 1 {
            return Err(TailError::Gap);
        }
        if sequence != self.read_to + 1 {
            let first = self.handle.get_info().await.map_err(LogError::server)?.state.first_sequence;
            // Events that aged out before they were read are in the archive.
            if first > self.read_to + 1 {
                return Err(TailError::Gap);
            }
            let (from, to) = (self.read_to + 1, sequence - 1);
            tracing::error!(
                from,
                to,
                "the stream has lost its events {from} to {to}: the sources' watermarks tell what of them must come again"
            );
        }
        (self.delivered, self.read_to) = (delivery, sequence);
        let id = message.headers.as_ref().map(message_id).unwrap_or_default();
        let record = Record { sequence, id, payload: message.message.payload };
        if let Some(feeding) = &self.feeding {
            feeding.push(&record);
        }
        Ok(record)
    }
}

/// Returns the settings of a consumer that the server deletes if it is unused. The reader stores its own position, so the server need not.
pub(crate) fn reader(deliver_policy: DeliverPolicy, filter_subject: String) -> pull::Config {
    pull::Config {
        deliver_policy,
        filter_subject,
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

pub(crate) fn message_id(headers: &async_nats::HeaderMap) -> String {
    headers.get("Nats-Msg-Id").map(|value| value.as_str().to_owned()).unwrap_or_default()
}
