//! Events that one reader of a stream has just received, kept for the other readers of the process: the server sends each event once.
//!
//! A tail that receives events feeds the others. A tail whose position lies among the kept events follows: it takes them from here. It
//! receives events itself again if the feeding tail is gone, has moved on too far, or is busy for too long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::record::Record;

/// The maximum number of events that are kept.
const KEPT_MAX: usize = 4_096;
/// The time that followers wait for a feeding tail whose reader is busy with other things.
pub(crate) const BUSY_MAX: Duration = Duration::from_millis(250);

/// The place of a tail in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// The incarnation of the stream.
    pub identity: &'a str,
    /// The number of the connection to the server.
    pub connection: u64,
    /// The sequence of the last event that was read.
    pub read_to: u64,
}

/// The events of one stream that were received last.
#[derive(Debug)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    /// The number of changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of tails that have fed so far.
    feeds: u64,
    feed: Option<Feed>,
}

#[derive(Debug)]
struct Feed {
    number: u64,
    identity: String,
    connection: u64,
    /// The sequence after which no event is missing.
    from: u64,
    /// The sequence of the last event.
    to: u64,
    records: VecDeque<Record>,
    /// The time since which the feeding tail receives nothing; `None` while it waits for events.
    busy_since: Option<Instant>,
}

/// The answer to a follower that asks for its next events.
#[derive(Debug)]
pub(crate) enum Found {
    Records(Vec<Record>),
    /// Nothing new: the follower has all that was received.
    Nothing,
    /// Its next event is not here, so it must receive events itself.
    Elsewhere,
}

/// The right to feed the other readers of a stream.
#[derive(Debug)]
pub(crate) struct Feeding {
    recent: Arc<Recent>,
    number: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { kept: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Recent {
    /// Makes a tail the one that feeds the others; `None` if another one does.
    pub fn feed(self: &Arc<Self>, place: &Place<'_>) -> Option<Feeding> {
        let mut kept = self.kept();
        if kept.feed.as_ref().is_some_and(|feed| feed.connection >= place.connection) {
            return None;
        }
        kept.feeds += 1;
        let number = kept.feeds;
        kept.feed = Some(Feed {
            number,
            identity: place.identity.to_owned(),
            connection: place.connection,
            from: place.read_to,
            to: place.read_to,
            records: VecDeque::new(),
            busy_since: None,
        });
        Some(Feeding { recent: Arc::clone(self), number })
    }

    /// Returns the next events after a place, at most `max`.
    pub fn after(&self, place: &Place<'_>, max: usize) -> Found {
        let kept = self.kept();
        let fits = |feed: &&Feed| {
            feed.identity == place.identity && feed.connection == place.connection && (feed.from..=feed.to).contains(&place.read_to)
        };
        let Some(feed) = kept.feed.as_ref().filter(fits) else { return Found::Elsewhere };
        let next = feed.records.partition_point(|record| record.sequence <= place.read_to);
        let records: Vec<Record> = feed.records.range(next..).take(max).cloned().collect();
        if !records.is_empty() {
            return Found::Records(records);
        }
        if feed.busy_since.is_some_and(|since| since.elapsed() > BUSY_MAX) { Found::Elsewhere } else { Found::Nothing }
    }

    /// Returns whether a tail at a place can follow, and will get its events soon.
    pub fn has_place(&self, place: &Place<'_>) -> bool {
        !matches!(self.after(place, 1), Found::Elsewhere)
    }

    /// Returns a counter that changes whenever [`Self::after`] may return something else.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feeding {
    /// Adds an event that was received and checked.
    pub fn push(&self, record: &Record) {
        self.with_feed(|feed| {
            if feed.records.len() == KEPT_MAX
                && let Some(oldest) = feed.records.pop_front()
            {
                feed.from = oldest.sequence;
            }
            feed.to = record.sequence;
            feed.records.push_back(record.clone());
        });
        self.recent.changes.send_modify(|count| *count += 1);
    }

    /// Notes whether the tail's reader does something other than to wait for events.
    pub fn set_busy(&self, is_busy: bool) {
        self.with_feed(|feed| feed.busy_since = is_busy.then(Instant::now));
    }

    fn with_feed(&self, change: impl FnOnce(&mut Feed)) {
        let mut kept = self.recent.kept();
        if let Some(feed) = kept.feed.as_mut().filter(|feed| feed.number == self.number) {
            change(feed);
        }
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        let mut kept = self.recent.kept();
        if kept.feed.as_ref().is_some_and(|feed| feed.number == self.number) {
            kept.feed = None;
        }
        drop(kept);
        self.recent.changes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(read_to: u64) -> Place<'static> {
        Place { identity: "a", connection: 1, read_to }
    }

    fn record(sequence: u64) -> Record {
        Record { sequence, id: sequence.to_string(), payload: bytes::Bytes::new() }
    }

    fn found(recent: &Recent, place: &Place<'_>) -> Option<Vec<u64>> {
        match recent.after(place, 3) {
            Found::Records(records) => Some(records.iter().map(|record| record.sequence).collect()),
            Found::Nothing => Some(Vec::new()),
            Found::Elsewhere => None,
        }
    }

    #[test]
    fn a_follower_gets_each_event_once_and_in_order() {
        let recent = Arc::new(Recent::default());
        assert_eq!(found(&recent, &at(7)), None, "nobody feeds");
        let feeding = recent.feed(&at(7)).unwrap();
        assert!(recent.feed(&at(7)).is_none(), "one tail feeds");
        assert_eq!(found(&recent, &at(7)), Some(vec![]));
        // The stream has lost its event 10.
        for sequence in [8, 9, 11, 12] {
            feeding.push(&record(sequence));
        }
        assert_eq!(found(&recent, &at(7)), Some(vec![8, 9, 11]));
        assert_eq!(found(&recent, &at(9)), Some(vec![11, 12]));
        assert_eq!(found(&recent, &at(12)), Some(vec![]));
        assert_eq!((found(&recent, &at(6)), found(&recent, &at(13))), (None, None), "events before and behind are elsewhere");
        drop(feeding);
        assert_eq!(found(&recent, &at(12)), None);
        assert!(recent.feed(&at(12)).is_some(), "the next one feeds");
    }

    #[test]
    fn events_that_left_are_elsewhere() {
        let recent = Arc::new(Recent::default());
        let feeding = recent.feed(&at(0)).unwrap();
        let last = u64::try_from(KEPT_MAX).unwrap() + 2;
        for sequence in 1..=last {
            feeding.push(&record(sequence));
        }
        assert_eq!(found(&recent, &at(1)), None, "2 is gone");
        assert_eq!(found(&recent, &at(2)), Some(vec![3, 4, 5]));
    }

    #[test]
    fn another_stream_and_another_connection_are_elsewhere() {
        let recent = Arc::new(Recent::default());
        let feeding = recent.feed(&at(0)).unwrap();
        feeding.push(&record(1));
        assert_eq!(found(&recent, &Place { identity: "b", ..at(0) }), None);
        let later = Place { connection: 2, ..at(0) };
        assert_eq!(found(&recent, &later), None);
        let new = recent.feed(&later).unwrap();
        feeding.push(&record(2));
        assert_eq!(found(&recent, &later), Some(vec![]), "the old connection feeds nobody");
        drop(feeding);
        new.push(&record(1));
        assert_eq!(found(&recent, &later), Some(vec![1]));
    }

    #[test]
    fn nobody_waits_for_a_busy_reader() {
        let recent = Arc::new(Recent::default());
        let feeding = recent.feed(&at(0)).unwrap();
        feeding.push(&record(1));
        feeding.set_busy(true);
        std::thread::sleep(BUSY_MAX + Duration::from_millis(10));
        assert_eq!(found(&recent, &at(0)), Some(vec![1]), "what is here is here");
        assert_eq!(found(&recent, &at(1)), None);
        feeding.set_busy(false);
        assert_eq!(found(&recent, &at(1)), Some(vec![]));
    }
}
