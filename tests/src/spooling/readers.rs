//! The log that a spool is shipped to, and a simplified ledger and projector that read it.

use std::collections::BTreeMap;

use eventlog::Outgoing;
use events::envelope::RawEnvelope;
use events::rpc::Watermarks;
use events::subject::Stream;
use events::usage_recorded::UsageRecorded;
use events::{Nanos, Payload};

/// An event in the log.
#[derive(Clone)]
struct Entry {
    stream: Stream,
    source: String,
    sequence: u64,
    id: String,
    payload: bytes::Bytes,
}

/// A log that may lose its tail.
#[derive(Default)]
pub struct Log {
    entries: Vec<Entry>,
    /// The length that the log was cut to, for each loss.
    losses: Vec<usize>,
}

impl Log {
    /// Stores an event. An event that is sent twice is stored twice.
    pub fn append(&mut self, event: &Outgoing) {
        let envelope = RawEnvelope::parse(&event.payload).expect("an envelope");
        self.entries.push(Entry {
            stream: event.stream,
            source: envelope.source.to_owned(),
            sequence: envelope.sequence_number().expect("a number"),
            id: event.id.clone(),
            payload: event.payload.clone(),
        });
    }

    /// Returns the number of stored events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Loses all events from a position on.
    pub fn lose(&mut self, from: usize) {
        self.entries.truncate(from);
        self.losses.push(from);
    }
}

/// A reader with its database, which loses nothing.
#[derive(Default)]
pub struct Reader {
    position: usize,
    losses: usize,
    /// The event id of each sequence number, by source and stream.
    seen: BTreeMap<(String, usize), BTreeMap<u64, String>>,
    /// The id and amount of each charge, by request.
    pub charges: BTreeMap<String, BTreeMap<String, Nanos>>,
}

impl Reader {
    /// Reads some unread events. If the log lost its tail, reading continues at the cut.
    pub fn read(&mut self, log: &Log, most: usize) {
        for loss in &log.losses[self.losses..] {
            self.position = self.position.min(*loss);
        }
        self.losses = log.losses.len();
        for entry in log.entries.iter().skip(self.position).take(most) {
            self.position += 1;
            let numbers = self.seen.entry((entry.source.clone(), entry.stream.index())).or_default();
            let before = numbers.insert(entry.sequence, entry.id.clone());
            assert!(
                before.as_ref().is_none_or(|id| *id == entry.id),
                "number {} of {} was given out twice in {}: {before:?} and {}",
                entry.sequence,
                entry.source,
                entry.stream.name(),
                entry.id
            );
            let envelope = RawEnvelope::parse(&entry.payload).expect("an envelope");
            if envelope.kind == UsageRecorded::KIND {
                let usage: UsageRecorded = envelope.payload().expect("usage");
                self.charges.entry(usage.request.to_string()).or_default().insert(entry.id.clone(), usage.cost_nanos);
            }
        }
    }

    /// Returns the sequence number up to which all events of a source are known, for each stream.
    pub fn watermarks(&self, source: &str) -> Watermarks {
        Stream::ALL
            .into_iter()
            .filter_map(|stream| {
                let numbers = self.seen.get(&(source.to_owned(), stream.index()))?;
                let gapless = numbers.keys().zip(1..).take_while(|(number, expected)| **number == *expected).count();
                Some((stream, gapless as u64))
            })
            .collect()
    }

    /// Returns the sources with a gap before their last known event.
    pub fn gaps(&self) -> Vec<String> {
        let with_gap = |numbers: &BTreeMap<u64, String>| numbers.keys().zip(1..).any(|(number, expected)| *number != expected);
        self.seen
            .iter()
            .filter(|(_, numbers)| with_gap(numbers))
            .map(|((source, stream), numbers)| format!("{source} {stream}: {:?}", numbers.keys().collect::<Vec<_>>()))
            .collect()
    }
}
