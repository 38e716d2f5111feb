//! The public events of one account as they come, for a client that tells its place when it returns.
//!
//! A place has the sequence in each stream, and the time of the last event. If a stream was made anew or has lost its end, its sequences
//! mean nothing: the feed then begins a little before that time. So a client may get an event twice, but misses none that the streams have.

use std::fmt;
use std::str::FromStr;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer};
use bytes::Bytes;
use events::subject::{Stream, account_filter};
use futures_util::stream::{BoxStream, SelectAll, select_all};
use futures_util::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::connect::{Log, LogError};
use crate::tail::{HEARTBEAT, reader};

/// The streams with public events.
pub const PUBLIC: [Stream; 3] = [Stream::Usage, Stream::Requests, Stream::Control];
/// The time before the last event at which a feed begins if a sequence means nothing any more.
const MARGIN_US: i64 = 60_000_000;
/// The number of events that the server sends ahead for one feed and stream.
const AHEAD: usize = 100;

/// The place of a client in its feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    time_us: i64,
    /// For each stream of [`PUBLIC`], a hash of its identity and the sequence of the last event before the place.
    streams: [(u32, u64); 3],
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.time_us)?;
        self.streams.iter().try_for_each(|(identity, sequence)| write!(out, ".{identity:x}-{sequence}"))
    }
}

/// The error for a text that is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no id of this feed")]
pub struct BadPlace;

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let mut parts = text.split('.');
        let time_us = parts.next().and_then(|time| time.parse().ok()).ok_or(BadPlace)?;
        let mut streams = [(0, 0); 3];
        for stream in &mut streams {
            let (identity, sequence) = parts.next().and_then(|part| part.split_once('-')).ok_or(BadPlace)?;
            *stream = (u32::from_str_radix(identity, 16).map_err(|_| BadPlace)?, sequence.parse().map_err(|_| BadPlace)?);
        }
        if parts.next().is_some() { Err(BadPlace) } else { Ok(Self { time_us, streams }) }
    }
}

/// An event of a feed.
#[derive(Debug)]
pub struct FeedEvent {
    /// The event's id.
    pub id: String,
    pub payload: Bytes,
    /// The place behind the event.
    pub place: Place,
}

/// One message and the index of its stream.
struct Arrived {
    index: usize,
    sequence: u64,
    time_us: i64,
    id: String,
    payload: Bytes,
}

/// The events of one account.
pub struct Feed {
    arriving: SelectAll<BoxStream<'static, Result<Arrived, LogError>>>,
    place: Place,
}

impl Feed {
    /// Returns the next event. Fails if the connection to NATS breaks: the client must return with its place.
    ///
    /// # Errors
    /// Fails if the events cannot be read on.
    pub async fn next(&mut self) -> Result<FeedEvent, LogError> {
        let arrived = self.arriving.next().await.ok_or_else(|| LogError::server("the feed ended"))??;
        if let Some(stream) = self.place.streams.get_mut(arrived.index) {
            stream.1 = arrived.sequence;
        }
        self.place.time_us = arrived.time_us;
        Ok(FeedEvent { id: arrived.id, payload: arrived.payload, place: self.place.clone() })
    }

    /// Returns the place of the feed now.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }
}

impl Log {
    /// Opens the feed of an account: the events of these streams after a place, or from now on.
    ///
    /// # Errors
    /// Fails if NATS does not answer.
    pub async fn feed(&self, account: &str, streams: &[Stream], after: Option<&Place>, now_us: i64) -> Result<Feed, LogError> {
        let mut place = Place { time_us: after.map_or(now_us, |after| after.time_us), streams: [(0, 0); 3] };
        let mut all = Vec::new();
        for (index, (stream, own)) in PUBLIC.into_iter().zip(&mut place.streams).enumerate() {
            let handle = self.jetstream.get_stream(stream.name()).await.map_err(LogError::server)?;
            let info = handle.get_info().await.map_err(LogError::server)?;
            let digest = Sha256::digest(info.created.to_string());
            let identity = digest.iter().take(4).fold(0_u32, |hash, byte| (hash << 8) | u32::from(*byte));
            let last = info.state.last_sequence;
            let known = after.and_then(|after| after.streams.get(index)).copied();
            let start = match known {
                None => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
                Some((of, sequence)) if of == identity && sequence <= last => {
                    DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 }
                }
                Some(_) => {
                    let start = i128::from(place.time_us.saturating_sub(MARGIN_US).max(0)) * 1_000;
                    DeliverPolicy::ByStartTime { start_time: async_nats::datetime::from_nanos(start).map_err(LogError::server)? }
                }
            };
            *own = (
                identity,
                match (&start, known) {
                    (DeliverPolicy::ByStartSequence { start_sequence }, _) => start_sequence - 1,
                    (_, _) => 0,
                },
            );
            if !streams.contains(&stream) {
                continue;
            }
            let consumer: PullConsumer =
                handle.create_consumer(reader(start, account_filter(stream, account))).await.map_err(LogError::server)?;
            let messages =
                consumer.stream().max_messages_per_batch(AHEAD).heartbeat(HEARTBEAT).messages().await.map_err(LogError::server)?;
            let arriving = messages.map_err(LogError::server).enumerate().map(move |(number, message)| arrived(index, number, message?));
            all.push(arriving.boxed());
        }
        Ok(Feed { arriving: select_all(all), place })
    }
}

fn arrived(index: usize, number: usize, message: async_nats::jetstream::Message) -> Result<Arrived, LogError> {
    let info = message.info().map_err(LogError::server)?;
    if u64::try_from(number).ok().and_then(|number| number.checked_add(1)) != Some(info.consumer_sequence) {
        return Err(LogError::server("a gap in a feed"));
    }
    let time_us = i64::try_from(info.published.unix_timestamp_nanos() / 1_000).unwrap_or_default();
    let sequence = info.stream_sequence;
    let id = message.headers.as_ref().map(crate::tail::message_id).unwrap_or_default();
    Ok(Arrived { index, sequence, time_us, id, payload: message.message.payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_was_written() {
        let place = Place { time_us: 1_767_225_600_000_001, streams: [(0xdead_beef, 7), (0, 0), (1, u64::MAX)] };
        assert_eq!(place.to_string().parse(), Ok(place.clone()));
        assert_eq!(place.to_string(), "1767225600000001.deadbeef-7.0-0.1-18446744073709551615");
        for bad in ["", "1", "1.0-0.0-0", "1.0-0.0-0.0-0.0-0", "x.0-0.0-0.0-0", "1.g-0.0-0.0-0", "0192-7000"] {
            assert_eq!(bad.parse::<Place>(), Err(BadPlace), "{bad}");
        }
    }
}
