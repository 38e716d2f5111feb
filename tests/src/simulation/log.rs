//! The log of a simulation: one stream that may lose its tail, be recreated, and store an event more than once.

use eventlog::Checkpoint;
use ledger::posting::Charge;

/// An event of the stream `USAGE`.
#[derive(Clone)]
pub struct Record {
    pub source: String,
    pub sequence: u64,
    pub charge: Charge,
}

/// Returns the number of events up to a checkpoint.
pub fn place(checkpoint: &Checkpoint) -> usize {
    usize::try_from(checkpoint.sequence).unwrap_or(usize::MAX)
}

/// A simulated stream.
#[derive(Default)]
pub struct Log {
    /// The number of the stream's incarnation.
    pub identity: u64,
    /// The number of the current connection. After each reconnection, stored events must be checked again.
    pub connection: u64,
    records: Vec<Record>,
}

impl Log {
    /// Stores an event; duplicates are allowed.
    pub fn append(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Returns the number of events.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the position at which reading continues after a reconnection: after the checkpoint if it is still valid, otherwise at the
    /// start.
    pub fn resume(&self, checkpoint: Option<&Checkpoint>) -> usize {
        let holds = |checkpoint: &Checkpoint| {
            let event = place(checkpoint).checked_sub(1).map(|index| self.records.get(index).map(|record| record.charge.event_id.as_str()));
            checkpoint.identity == self.identity.to_string() && event.is_none_or(|event| event == Some(checkpoint.event_id.as_str()))
        };
        checkpoint.filter(|checkpoint| holds(checkpoint)).map_or(0, place)
    }

    /// Returns the events after a position, and the checkpoint at their end.
    pub fn read(&self, from: usize, most: usize) -> Option<(Vec<Record>, Checkpoint)> {
        let end = self.records.len().min(from + most);
        let batch = self.records.get(from..end)?.to_vec();
        let event_id = batch.last()?.charge.event_id.clone();
        Some((batch, Checkpoint { identity: self.identity.to_string(), sequence: end as u64, event_id }))
    }

    /// Restarts the server without the last events that it had acknowledged.
    pub fn roll_back(&mut self, lost: usize) {
        self.records.truncate(self.records.len().saturating_sub(lost));
        self.connection += 1;
    }

    /// Deletes the stream and creates it again.
    pub fn make_anew(&mut self) {
        self.records.clear();
        self.identity += 1;
        self.connection += 1;
    }
}
