//! The log of a simulation: one stream that may lose its tail, be made anew, and take an event more than once.

use eventlog::Checkpoint;
use ledger::posting::Charge;

/// An event of the stream `USAGE`.
#[derive(Clone)]
pub struct Record {
    pub source: String,
    pub sequence: u64,
    pub charge: Charge,
}

/// How many events a checkpoint is behind.
pub fn place(checkpoint: &Checkpoint) -> usize {
    usize::try_from(checkpoint.sequence).unwrap_or(usize::MAX)
}

/// The stream.
#[derive(Default)]
pub struct Log {
    /// Which incarnation.
    pub identity: u64,
    /// Counts connections: after each, what is stored must be checked again.
    pub connection: u64,
    records: Vec<Record>,
}

impl Log {
    /// Stores an event, again or for the first time.
    pub fn append(&mut self, record: Record) {
        self.records.push(record);
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Where reading goes on after a connection: behind the checkpoint when it holds, else at the start.
    pub fn resume(&self, checkpoint: Option<&Checkpoint>) -> usize {
        let holds = |checkpoint: &Checkpoint| {
            let event = place(checkpoint).checked_sub(1).map(|index| self.records.get(index).map(|record| record.charge.event_id.as_str()));
            checkpoint.identity == self.identity.to_string() && event.is_none_or(|event| event == Some(checkpoint.event_id.as_str()))
        };
        checkpoint.filter(|checkpoint| holds(checkpoint)).map_or(0, place)
    }

    /// The events behind a position, and the checkpoint at their end.
    pub fn read(&self, from: usize, most: usize) -> Option<(Vec<Record>, Checkpoint)> {
        let end = self.records.len().min(from + most);
        let batch = self.records.get(from..end)?.to_vec();
        let event_id = batch.last()?.charge.event_id.clone();
        Some((batch, Checkpoint { identity: self.identity.to_string(), sequence: end as u64, event_id }))
    }

    /// The server restarts without the last events it had acknowledged.
    pub fn roll_back(&mut self, lost: usize) {
        self.records.truncate(self.records.len().saturating_sub(lost));
        self.connection += 1;
    }

    /// The stream is deleted and made anew.
    pub fn make_anew(&mut self) {
        self.records.clear();
        self.identity += 1;
        self.connection += 1;
    }
}
