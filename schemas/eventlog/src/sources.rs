//! The watermark of each source: the sequence up to which every event was read. It proves that nothing is missing, and gateways wait for
//! it.

use std::collections::{BTreeMap, BTreeSet};

use events::rpc::Watermarks;
use sqlx::{Any, AnyConnection, AnyPool, Row};

use crate::reader_id::ReaderId;
use crate::store::{from_db, to_db};

/// The sequences of one source in one stream that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The sequence up to which everything was read.
    pub watermark: u64,
    /// Ranges that were read after a gap: first sequence to last sequence.
    beyond: BTreeMap<u64, u64>,
}

impl Seen {
    /// Records that a sequence was read.
    pub fn note(&mut self, sequence: u64) {
        if sequence == self.watermark.saturating_add(1) {
            self.watermark = sequence;
            while let Some(last) = self.beyond.remove(&self.watermark.saturating_add(1)) {
                self.watermark = last;
            }
            return;
        }
        if self.has(sequence) {
            return;
        }
        let last = self.beyond.remove(&sequence.saturating_add(1)).unwrap_or(sequence);
        match self.beyond.range_mut(..sequence).next_back() {
            Some((_, before)) if before.saturating_add(1) == sequence => *before = last,
            _ => {
                self.beyond.insert(sequence, last);
            }
        }
    }

    /// Returns whether a sequence was read.
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        sequence <= self.watermark || self.beyond.range(..=sequence).next_back().is_some_and(|(_, last)| *last >= sequence)
    }

    /// Returns whether a sequence is missing before one that was read.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        !self.beyond.is_empty()
    }
}

/// The progress of a reader of one stream, by source. It is loaded once and then kept equal to the database.
#[derive(Debug, Default)]
pub struct Sources {
    seen: BTreeMap<String, Seen>,
    changed: BTreeSet<String>,
}

impl Sources {
    /// Loads the progress of a reader from the database.
    pub async fn load(connection: &mut AnyConnection, reader: ReaderId) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query::<Any>("SELECT source, watermark, beyond FROM sources WHERE reader = $1")
            .bind(reader.name)
            .fetch_all(connection)
            .await?;
        let mut seen = BTreeMap::new();
        for row in rows {
            let pairs: Vec<(u64, u64)> = serde_json::from_str(row.try_get::<&str, _>("beyond")?).unwrap_or_default();
            let watermark = from_db(row.try_get("watermark")?)?;
            seen.insert(row.try_get("source")?, Seen { watermark, beyond: pairs.into_iter().collect() });
        }
        Ok(Self::new(seen))
    }

    /// Creates sources from known progress, without unsaved changes.
    #[must_use]
    pub const fn new(seen: BTreeMap<String, Seen>) -> Self {
        Self { seen, changed: BTreeSet::new() }
    }

    /// Returns the sources that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(String, Seen)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|source| self.seen.get(&source).cloned().map(|seen| (source, seen))).collect()
    }

    /// Returns whether an event of a source was read before.
    #[must_use]
    pub fn has(&self, source: &str, sequence: u64) -> bool {
        self.seen.get(source).is_some_and(|seen| seen.has(sequence))
    }

    /// Records that an event of a source was read.
    pub fn note(&mut self, source: &str, sequence: u64) {
        if let Some(seen) = self.seen.get_mut(source) {
            seen.note(sequence);
        } else {
            self.seen.entry(source.to_owned()).or_default().note(sequence);
        }
        if !self.changed.contains(source) {
            self.changed.insert(source.to_owned());
        }
    }

    /// Writes the changed sources to the database.
    pub async fn save(&mut self, connection: &mut AnyConnection, reader: ReaderId) -> Result<(), sqlx::Error> {
        for (source, seen) in self.take_changed() {
            let pairs: Vec<(u64, u64)> = seen.beyond.iter().map(|(first, last)| (*first, *last)).collect();
            sqlx::query::<Any>(
                "INSERT INTO sources (source, reader, watermark, beyond) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (source, reader) DO UPDATE SET watermark = excluded.watermark, beyond = excluded.beyond",
            )
            .bind(source)
            .bind(reader.name)
            .bind(to_db(seen.watermark)?)
            .bind(serde_json::to_string(&pairs).unwrap_or_default())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

/// Reads the watermark of a source for one reader, as the transaction sees it.
pub async fn watermark(connection: &mut AnyConnection, source: &str, reader: ReaderId) -> Result<u64, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT watermark FROM sources WHERE source = $1 AND reader = $2")
        .bind(source.to_owned())
        .bind(reader.name)
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(0), |row| from_db(row.try_get("watermark")?))
}

/// Reads the watermarks of a source in every stream that these readers follow: in each stream, the lowest of its readers.
pub async fn watermarks(pool: &AnyPool, source: &str, readers: &[ReaderId]) -> Result<Watermarks, sqlx::Error> {
    let rows =
        sqlx::query::<Any>("SELECT reader, watermark FROM sources WHERE source = $1").bind(source.to_owned()).fetch_all(pool).await?;
    let mut of_reader = BTreeMap::new();
    for row in rows {
        of_reader.insert(row.try_get::<String, _>("reader")?, from_db(row.try_get("watermark")?)?);
    }
    let mut marks = Watermarks::new();
    for reader in readers {
        let mark = of_reader.get(reader.name).copied().unwrap_or_default();
        marks.entry(reader.stream).and_modify(|lowest: &mut u64| *lowest = mark.min(*lowest)).or_insert(mark);
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_holds_the_watermark_until_it_is_filled() {
        let mut seen = Seen::default();
        for sequence in [1, 2, 5, 4, 7, 5, 2] {
            seen.note(sequence);
        }
        assert_eq!((seen.watermark, seen.has_gap()), (2, true));
        assert_eq!(seen.beyond, BTreeMap::from([(4, 5), (7, 7)]));
        assert_eq!((1..=8).filter(|sequence| seen.has(*sequence)).collect::<Vec<_>>(), [1, 2, 4, 5, 7]);
        seen.note(3);
        assert_eq!(seen.watermark, 5);
        seen.note(6);
        assert_eq!((seen.watermark, seen.has_gap()), (7, false));
    }
}
