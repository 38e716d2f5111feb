//! The rows of an activity report, page by page: each bucket has a row for each of its groups, or an empty one.

use std::collections::BTreeMap;

use sqlx::AnyPool;

use super::selection::{Place, Selection};
use crate::exports::period::{Period, Segment, segments};
use crate::projections::usage::sums::Sums;
use crate::projections::usage::width::Width;

/// The sums of one group in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRow {
    pub start_us: i64,
    pub end_us: i64,
    /// A value for each dimension of the groups; empty texts and no requests for an empty bucket.
    pub values: Vec<String>,
    pub sums: Sums,
}

impl ActivityRow {
    /// Returns the place after which the next page begins.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { start_us: self.start_us, values: self.values.clone() }
    }
}

/// A reader of all rows in their order.
pub struct Rows<'a> {
    pub reads: &'a AnyPool,
    pub selection: &'a Selection,
    pub period: &'a Period,
}

impl Rows<'_> {
    /// Returns up to `limit` rows after a place.
    pub async fn page(&self, after: Option<&Place>, limit: usize) -> Result<Vec<ActivityRow>, sqlx::Error> {
        let mut page: Vec<ActivityRow> = Vec::new();
        let mut next = after.map_or(0, |place| self.period.index(place.start_us));
        // A page may need one bucket or all of them, and a query costs more than a bucket with few rows: each query reads twice as many.
        let mut buckets = if self.selection.is_single(self.period.width) { self.period.len() } else { 1 };
        while next < self.period.len() && page.len() < limit {
            let left = limit - page.len();
            // A bucket that the page before has begun is not empty.
            let begun = after.filter(|place| self.period.index(place.start_us) == next);
            let (read_to, found) = match self.run(next, buckets) {
                Some((segment, to)) => (to, self.run_rows(segment, begun, left).await?),
                None => (next + 1, self.bucket_rows(next, begun).await?),
            };
            let is_cut = found.len() >= left;
            let last = found.last().map(|(place, _)| self.period.index(place.start_us));
            let done_to = if is_cut { last.map_or(read_to, |last| last + 1) } else { read_to };
            let mut found = found.into_iter().peekable();
            for index in next..done_to {
                let Some((start_us, end_us)) = self.period.bucket(index) else { break };
                let before = page.len();
                while let Some((place, sums)) = found.next_if(|(place, _)| place.start_us < end_us) {
                    page.push(ActivityRow { start_us, end_us, values: place.values, sums });
                }
                let is_begun = begun.is_some() && index == next;
                if page.len() == before && !is_begun {
                    let values = vec![String::new(); self.selection.groups.len()];
                    page.push(ActivityRow { start_us, end_us, values, sums: Sums::default() });
                }
            }
            next = done_to;
            buckets = buckets.saturating_mul(2);
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Returns up to so many whole buckets that one query reads, as a segment, and the index after them.
    fn run(&self, first: usize, buckets: usize) -> Option<(Segment, usize)> {
        let width = self.period.width;
        if width > self.selection.widest() {
            return None;
        }
        let is_whole = |index| {
            self.period
                .bucket(index)
                .is_some_and(|(start_us, end_us)| width.end_us(start_us) == end_us && width.floor_us(start_us) == start_us)
        };
        let end = self.period.len().min(first.saturating_add(buckets));
        let to = (first..end).find(|index| !is_whole(*index)).unwrap_or(end);
        let (from_us, to_us) = (self.period.bucket(first)?.0, self.period.bucket(to.checked_sub(1)?)?.1);
        (to > first).then_some((Segment { width, from_us, to_us }, to))
    }

    async fn run_rows(&self, segment: Segment, after: Option<&Place>, limit: usize) -> Result<Vec<(Place, Sums)>, sqlx::Error> {
        self.selection.placed(self.reads, segment, after, limit).await
    }

    /// Returns the rows of a bucket that is made up of several segments.
    async fn bucket_rows(&self, index: usize, after: Option<&Place>) -> Result<Vec<(Place, Sums)>, sqlx::Error> {
        let Some((start_us, end_us)) = self.period.bucket(index) else { return Ok(Vec::new()) };
        let widest = if self.period.width == Width::Minute { Width::Minute } else { self.selection.widest() };
        let mut groups: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
        for segment in segments(start_us, end_us, widest) {
            for (values, sums) in self.selection.grouped(self.reads, segment).await? {
                groups.entry(values).or_default().add(&sums);
            }
        }
        // Without a group, a sum over nothing is a row too.
        let placed = groups.into_iter().filter(|(_, sums)| sums.requests > 0).map(|(values, sums)| (Place { start_us, values }, sums));
        Ok(placed.filter(|(place, _)| after.is_none_or(|after| place > after)).collect())
    }
}
