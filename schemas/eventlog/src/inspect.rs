//! Queries of a stream's content that do not follow the stream.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer};
use events::subject::Stream;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::connect::{Log, LogError};
use crate::record::{Checkpoint, Record};
use crate::tail::{HEARTBEAT, Standing, message_id, reader, standing};

/// The longest time that a scan waits for its next event.
const SCAN_PATIENCE: Duration = Duration::from_secs(10);

impl Log {
    /// Returns whether a stream holds the event of a checkpoint, or has let it age out since.
    pub(crate) async fn holds(&self, stream: Stream, checkpoint: &Checkpoint) -> Result<bool, LogError> {
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        let info = handle.get_info().await.map_err(LogError::server)?;
        Ok(!matches!(standing(&handle, &info, checkpoint).await?, Standing::Fails))
    }

    /// Returns the last sequence of a stream.
    pub async fn last_sequence(&self, stream: Stream) -> Result<u64, LogError> {
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        Ok(handle.get_info().await.map_err(LogError::server)?.state.last_sequence)
    }

    /// Passes to `see` every event of a stream that matches a subject, came after a time in microseconds since 1970, and is in the stream
    /// now.
    ///
    /// If the stream is younger than that time or has lost its beginning, the archive's events since then come first, whatever their
    /// subject.
    ///
    /// # Errors
    /// Fails with [`LogError::Aged`] if the stream has lost its beginning and there is no archive.
    pub async fn scan(&self, stream: Stream, subject: String, since_us: i64, mut see: impl FnMut(&Record)) -> Result<(), LogError> {
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        let start_time = async_nats::datetime::from_nanos(i128::from(since_us) * 1_000).map_err(LogError::server)?;
        let consumer: PullConsumer =
            handle.create_consumer(reader(DeliverPolicy::ByStartTime { start_time }, subject)).await.map_err(LogError::server)?;
        let count = consumer.cached_info().num_pending;
        // The archive is read only after the consumer exists: an event that leaves the stream from here on is missed below, which is an
        // error.
        let info = handle.get_info().await.map_err(LogError::server)?;
        let first = info.state.first_sequence;
        let is_whole = first <= 1 && info.created.unix_timestamp_nanos() / 1_000 < i128::from(since_us);
        match &self.archive {
            Some(archive) if !is_whole => {
                for segment in archive.back(stream, |segment, _| segment.archived_at_us >= since_us).await? {
                    archive.read(&segment).await?.iter().for_each(&mut see);
                }
            }
            None if first > 1 => return Err(LogError::Aged { stream: stream.name(), behind: 0, first }),
            Some(_) | None => {}
        }
        let mut messages = consumer.stream().heartbeat(HEARTBEAT).messages().await.map_err(LogError::server)?;
        for number in 1..=count {
            // A lost message is not delivered again: the caller must repeat the scan.
            let message = timeout(SCAN_PATIENCE, messages.next()).await.map_err(|_| LogError::server("a scan got no answer"))?;
            let message = message.ok_or_else(|| LogError::server("the reader ended"))?.map_err(LogError::server)?;
            let info = message.info().map_err(LogError::server)?;
            if info.consumer_sequence != number {
                return Err(LogError::server("a gap in a scan"));
            }
            let sequence = info.stream_sequence;
            let id = message.headers.as_ref().map(message_id).unwrap_or_default();
            see(&Record { sequence, id, payload: message.message.payload });
        }
        Ok(())
    }

    /// Returns the last event of a stream. If all events have left the stream, it comes from the archive.
    ///
    /// # Errors
    /// Fails with [`LogError::Aged`] if all events have left the stream and no archive has the last one.
    pub async fn last_event(&self, stream: Stream) -> Result<Option<Record>, LogError> {
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        let state = handle.get_info().await.map_err(LogError::server)?.state;
        let last = state.last_sequence;
        if last == 0 {
            return Ok(None);
        }
        if state.messages == 0 {
            let aged = || LogError::Aged { stream: stream.name(), behind: 0, first: last + 1 };
            return self.last_archived(stream).await?.ok_or_else(aged).map(Some);
        }
        let message = handle.get_raw_message(last).await.map_err(LogError::server)?;
        Ok(Some(Record { sequence: last, id: message_id(&message.headers), payload: message.payload }))
    }

    /// Searches a stream from its end for the last event that `is_ours`, and returns it with the stream's last sequence. If the stream has
    /// no such event, the archive's last event is tested.
    ///
    /// # Errors
    /// Fails with [`LogError::Aged`] if all events have left the stream and the archive does not end with such an event.
    pub async fn last_event_of(&self, stream: Stream, is_ours: impl Fn(&Record) -> bool) -> Result<(Option<Record>, u64), LogError> {
        let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
        let state = handle.get_info().await.map_err(LogError::server)?.state;
        let last = state.last_sequence;
        if last > 0 && state.messages > 0 {
            for sequence in (state.first_sequence..=last).rev() {
                let message = handle.get_raw_message(sequence).await.map_err(LogError::server)?;
                let record = Record { sequence, id: message_id(&message.headers), payload: message.payload };
                if is_ours(&record) {
                    return Ok((Some(record), last));
                }
            }
        }
        let archived = self.last_archived(stream).await?.filter(|record| is_ours(record));
        if archived.is_none() && state.messages == 0 && last > 0 {
            return Err(LogError::Aged { stream: stream.name(), behind: 0, first: last + 1 });
        }
        Ok((archived, last))
    }

    /// Returns the last event that the archive has of a stream, if there is one.
    pub async fn last_archived(&self, stream: Stream) -> Result<Option<Record>, LogError> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let Some((last, _)) = archive.last(stream).await? else { return Ok(None) };
        Ok(archive.read(&last).await?.pop())
    }
}
