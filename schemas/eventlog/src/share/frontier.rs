//! How far all readers of a stream are: pure, so that a simulation can run it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::record::Checkpoint;
use crate::sources::Sources;

/// Tells one history of a stream from another: after a rollback of the log the same event may stand at the same place again, behind others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain([u8; 16]);

impl Chain {
    /// With the next event.
    #[must_use]
    pub fn with(self, event_id: &str) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(event_id).finalize();
        Self(std::array::from_fn(|index| hash[index]))
    }

    /// As the database has it.
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

/// How far a reader says that it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The last event that it has read, with all of its own applied.
    pub sequence: u64,
    /// All that it has read up to there.
    pub chain: Chain,
}

/// What came of looking how far everybody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The common checkpoint is where this reader has never been: it must begin again there.
    Again,
    /// It stays where it is.
    Stays,
    /// It moves, and with it what was read of every source.
    Moved,
}

/// An event behind the common checkpoint.
#[derive(Debug)]
struct Ahead {
    position: Position,
    event_id: String,
    from: Option<(Arc<str>, u64)>,
}

/// The common checkpoint, what was read of every source up to it, and what this reader has read beyond.
#[derive(Debug)]
pub struct Frontier {
    at: Checkpoint,
    chain: Chain,
    sources: Sources,
    ahead: VecDeque<Ahead>,
    names: BTreeSet<Arc<str>>,
}

impl Frontier {
    /// From what the database has.
    #[must_use]
    pub const fn new(at: Checkpoint, chain: Chain, sources: Sources) -> Self {
        Self { at, chain, sources, ahead: VecDeque::new(), names: BTreeSet::new() }
    }

    /// Notes the next event of the stream, and its source and the source's number where they can be read.
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

    /// The common checkpoint as this reader knows it.
    #[must_use]
    pub const fn at(&self) -> &Checkpoint {
        &self.at
    }

    /// What was read of every source up to the common checkpoint.
    #[must_use]
    pub const fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// How many events were read beyond it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ahead.len()
    }

    /// Whether nothing was read beyond it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// How far this reader is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.ahead.back().map_or(self.common_position(), |last| last.position)
    }

    /// The common checkpoint, and all that was read up to it.
    #[must_use]
    pub const fn common_position(&self) -> Position {
        Position { sequence: self.at.sequence, chain: self.chain }
    }

    /// Takes over where the common checkpoint is by now, and moves it to where everybody is.
    pub fn settle(&mut self, common: &Checkpoint, chain: Chain, positions: &[Position]) -> Settled {
        if common.identity != self.at.identity || !self.advance(Position { sequence: common.sequence, chain }) {
            return Settled::Again;
        }
        match self.common(positions) {
            Some(to) if to.sequence > self.at.sequence && self.advance(to) => Settled::Moved,
            Some(_) | None => Settled::Stays,
        }
    }

    /// How far everybody is, by what the owners of all partitions say. `None` when one of them says what this reader cannot confirm:
    /// it is further, or it has not read what this reader has, because the log is not what it was.
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

    /// Moves the common checkpoint to a place that this reader has seen; false when it has not, so that it must begin again.
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

    /// Has read these events behind the tenth.
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
