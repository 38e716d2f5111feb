//! The common progress of all readers of a stream. It is a pure data structure, so that a simulation can run it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::record::Checkpoint;
use crate::sources::Sources;

/// A hash of the ids of all events that were read, in order. It distinguishes two histories of a stream: after a rollback of the log, the
/// same event may stand at the same sequence again, after other events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain([u8; 16]);

impl Chain {
    /// Returns the chain extended by the next event.
    #[must_use]
    pub fn with(self, event_id: &str) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(event_id).finalize();
        Self(std::array::from_fn(|index| hash[index]))
    }

    /// Parses the text that the database stores; a malformed text gives the default chain.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self(u128::from_str_radix(text, 16).unwrap_or_default().to_be_bytes())
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The progress that a reader reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The sequence of the last event that it has read, with all events of its own partitions applied.
    pub sequence: u64,
    /// The hash of all events that it has read up to there.
    pub chain: Chain,
}

/// The result of comparing the positions of all readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The common checkpoint is at a place that this reader has not read: it must start again there.
    Again,
    /// The common checkpoint stays.
    Stays,
    /// The common checkpoint moves, and the sources' watermarks with it.
    Moved,
}

/// An event after the common checkpoint.
#[derive(Debug)]
struct Ahead {
    position: Position,
    event_id: String,
    from: Option<(Arc<str>, u64)>,
}

/// The common checkpoint, the sources' watermarks up to it, and the events that this reader has read after it.
#[derive(Debug)]
pub struct Frontier {
    at: Checkpoint,
    chain: Chain,
    sources: Sources,
    ahead: VecDeque<Ahead>,
    names: BTreeSet<Arc<str>>,
}

impl Frontier {
    /// Creates a frontier from the state in the database.
    #[must_use]
    pub const fn new(at: Checkpoint, chain: Chain, sources: Sources) -> Self {
        Self { at, chain, sources, ahead: VecDeque::new(), names: BTreeSet::new() }
    }

    /// Records the next event of the stream. `from` is its source and its sequence there, if they can be read.
    pub fn note(&mut self, sequence: u64, event_id: &str, from: Option<(&str, u64)>) {
        let from = from.map(|(source, number)| (self.name(source), number));
        let position = Position { sequence, chain: self.position().chain.with(event_id) };
        self.ahead.push_back(Ahead { position, event_id: event_id.to_owned(), from });
    }

    fn name(&mut self, source: &str) -> Arc<str> {
        if let Some(name) = self.names.get(source) {
            return Arc::clone(name);
        }
        let name: Arc<str> = source.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Returns the common checkpoint as this reader knows it.
    #[must_use]
    pub const fn at(&self) -> &Checkpoint {
        &self.at
    }

    /// Returns the sources as read up to the common checkpoint.
    #[must_use]
    pub const fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// Returns the number of events read after the common checkpoint.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ahead.len()
    }

    /// Returns whether no event was read after the common checkpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Returns the position of this reader.
    #[must_use]
    pub fn position(&self) -> Position {
        self.ahead.back().map_or(self.common_position(), |last| last.position)
    }

    /// Returns the position of the common checkpoint.
    #[must_use]
    pub const fn common_position(&self) -> Position {
        Position { sequence: self.at.sequence, chain: self.chain }
    }

    /// Adopts the common checkpoint from the database, then moves it to the position that all readers have reached.
    pub fn settle(&mut self, common: &Checkpoint, chain: Chain, positions: &[Position]) -> Settled {
        if common.identity != self.at.identity || !self.advance(Position { sequence: common.sequence, chain }) {
            return Settled::Again;
        }
        match self.common(positions) {
            Some(to) if to.sequence > self.at.sequence && self.advance(to) => Settled::Moved,
            Some(_) | None => Settled::Stays,
        }
    }

    /// Returns the position that all readers have reached, as reported by the owners of all partitions. It is `None` if this reader cannot
    /// confirm a report: the other reader is further, or it has read other events because the log was rolled back.
    fn common(&self, positions: &[Position]) -> Option<Position> {
        if !positions.iter().all(|position| self.saw(position)) {
            return None;
        }
        positions.iter().min_by_key(|position| position.sequence).copied()
    }

    fn saw(&self, position: &Position) -> bool {
        if position.sequence == self.at.sequence {
            return position.chain == self.chain;
        }
        self.ahead
            .binary_search_by_key(&position.sequence, |ahead| ahead.position.sequence)
            .is_ok_and(|index| self.ahead[index].position.chain == position.chain)
    }

    /// Moves the common checkpoint to a position that this reader has read. Returns false if it has not read that position, so that it must
    /// start again.
    fn advance(&mut self, to: Position) -> bool {
        if !self.saw(&to) {
            return false;
        }
        let passed = self.ahead.partition_point(|ahead| ahead.position.sequence <= to.sequence);
        for ahead in self.ahead.drain(..passed) {
            (self.at.sequence, self.at.event_id) = (ahead.position.sequence, ahead.event_id);
            if let Some((source, number)) = ahead.from {
                self.sources.note(&source, number);
            }
        }
        self.chain = to.chain;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frontier that has read these events after sequence 10.
    fn frontier(events: &[&str]) -> Frontier {
        let at = Checkpoint { identity: "s".into(), sequence: 10, event_id: "e10".into() };
        let mut frontier = Frontier::new(at, Chain::default(), Sources::default());
        for (sequence, event) in (11..).zip(events) {
            frontier.note(sequence, event, Some(("g", sequence)));
        }
        frontier
    }

    fn at(events: &[&str]) -> Position {
        frontier(events).position()
    }

    #[test]
    fn the_slowest_decides_if_the_one_that_looks_has_read_as_far_as_everybody() {
        let mut mine = frontier(&["a", "b", "c"]);
        assert_eq!(mine.common(&[at(&["a", "b", "c"]), at(&["a"])]), Some(at(&["a"])));
        assert_eq!(mine.common(&[at(&["a", "b", "c"]), at(&[])]), Some(at(&[])));
        assert_eq!(mine.common(&[at(&["a", "b", "c"]), at(&["a", "b", "c", "d"])]), None, "somebody is further: they must say");
        let before = Position { sequence: 9, ..Position::default() };
        assert_eq!(mine.common(&[at(&["a", "b", "c"]), before]), None, "somebody begins again before the common checkpoint");
        assert!(mine.advance(at(&["a", "b"])));
        assert_eq!((mine.at().sequence, mine.at().event_id.as_str(), mine.len()), (12, "b", 1));
        assert_eq!(mine.common(&[at(&["a", "b", "c"]), at(&["a", "b"])]), Some(at(&["a", "b"])));
    }

    #[test]
    fn a_position_in_a_log_that_is_no_more_counts_for_nothing() {
        let mut mine = frontier(&["a", "new", "c"]);
        assert_eq!(mine.common(&[at(&["a", "lost"])]), None);
        assert_eq!(mine.common(&[at(&["a", "lost", "c"])]), None, "the same event stands there again, behind another");
        assert!(!mine.advance(at(&["a", "lost", "c"])));
        assert_eq!(mine.at().sequence, 10);
    }

    #[test]
    fn a_chain_is_kept_as_text() {
        let chain = Chain::default().with("a");
        assert_eq!(Chain::named(&chain.to_string()), chain);
        assert_eq!(Chain::named(""), Chain::default());
    }
}
