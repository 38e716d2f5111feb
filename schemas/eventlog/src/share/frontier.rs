//! How far all readers of a stream are: pure, so that a simulation can run it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::sources::Sources;
use crate::tail::Checkpoint;

/// How far a reader says that it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The last event that it has read, with all of its own applied.
    pub sequence: u64,
    /// The id of that event.
    pub event_id: String,
}

/// An event behind the common checkpoint.
#[derive(Debug)]
struct Ahead {
    position: Position,
    from: Option<(Arc<str>, u64)>,
}

/// The common checkpoint, what was read of every source up to it, and what this reader has read beyond.
#[derive(Debug)]
pub struct Frontier {
    at: Checkpoint,
    sources: Sources,
    ahead: VecDeque<Ahead>,
    names: BTreeSet<Arc<str>>,
}

impl Frontier {
    /// From what the database has.
    #[must_use]
    pub const fn new(at: Checkpoint, sources: Sources) -> Self {
        Self { at, sources, ahead: VecDeque::new(), names: BTreeSet::new() }
    }

    /// Notes the next event of the stream, and its source and the source's number where they can be read.
    pub fn note(&mut self, sequence: u64, event_id: &str, from: Option<(&str, u64)>) {
        let from = from.map(|(source, number)| (self.name(source), number));
        self.ahead.push_back(Ahead { position: Position { sequence, event_id: event_id.to_owned() }, from });
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
        self.ahead
            .back()
            .map_or_else(|| Position { sequence: self.at.sequence, event_id: self.at.event_id.clone() }, |last| last.position.clone())
    }

    /// How far everybody is, by what the owners of all partitions say. `None` when one of them says what this reader cannot confirm:
    /// it is further, or it names another event than this reader saw there, because the log is not what it was.
    #[must_use]
    pub fn common(&self, positions: &[Position]) -> Option<Position> {
        if !positions.iter().all(|position| self.saw(position)) {
            return None;
        }
        positions.iter().min_by_key(|position| position.sequence).cloned()
    }

    fn saw(&self, position: &Position) -> bool {
        if position.sequence == self.at.sequence {
            return position.event_id == self.at.event_id;
        }
        self.ahead
            .binary_search_by_key(&position.sequence, |ahead| ahead.position.sequence)
            .is_ok_and(|index| self.ahead[index].position == *position)
    }

    /// Moves the common checkpoint to a place that this reader has seen; false when it has not, so that it must begin again.
    pub fn advance(&mut self, to: &Position) -> bool {
        if !self.saw(to) {
            return false;
        }
        let passed = self.ahead.partition_point(|ahead| ahead.position.sequence <= to.sequence);
        for (source, number) in self.ahead.drain(..passed).filter_map(|ahead| ahead.from) {
            self.sources.note(&source, number);
        }
        (self.at.sequence, self.at.event_id) = (to.sequence, to.event_id.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontier(read: std::ops::RangeInclusive<u64>) -> Frontier {
        let at = Checkpoint { identity: "s".into(), sequence: read.start() - 1, event_id: format!("e{}", read.start() - 1) };
        let mut frontier = Frontier::new(at, Sources::default());
        for sequence in read {
            frontier.note(sequence, &format!("e{sequence}"), Some(("g", sequence)));
        }
        frontier
    }

    fn at(sequence: u64) -> Position {
        Position { sequence, event_id: format!("e{sequence}") }
    }

    #[test]
    fn the_slowest_decides_if_the_one_that_looks_has_read_as_far_as_everybody() {
        let mut frontier = frontier(11..=20);
        assert_eq!(frontier.position(), at(20));
        assert_eq!(frontier.common(&[at(20), at(14)]), Some(at(14)));
        assert_eq!(frontier.common(&[at(20), at(10)]), Some(at(10)));
        assert_eq!(frontier.common(&[at(20), at(21)]), None, "somebody is further: they must say");
        assert_eq!(frontier.common(&[at(20), at(9)]), None, "somebody begins again before the common checkpoint");
        assert!(frontier.advance(&at(14)));
        assert_eq!((frontier.at().sequence, frontier.len()), (14, 6));
        assert_eq!(frontier.common(&[at(20), at(14)]), Some(at(14)));
    }

    #[test]
    fn a_position_in_a_log_that_is_no_more_counts_for_nothing() {
        let other = Position { sequence: 14, event_id: "lost".into() };
        let mut frontier = frontier(11..=20);
        assert_eq!(frontier.common(&[at(20), other.clone()]), None);
        assert!(!frontier.advance(&other));
        assert_eq!(frontier.at().sequence, 10);
    }
}
