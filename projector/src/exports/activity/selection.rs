//! The rows of usage that a report reads: groups, filters, and the table that has them summed already.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};

use crate::exports::period::Segment;
use crate::projections::usage::Dimension;
use crate::projections::usage::sums::{COLUMNS, Sums};
use crate::projections::usage::width::Width;

/// Groups and filters over one account.
#[derive(Debug, Clone)]
pub struct Selection {
    pub account: String,
    /// The dimensions of a group, in order.
    pub groups: Vec<Dimension>,
    /// The one value that a dimension must have.
    pub filters: BTreeMap<Dimension, String>,
}

/// The place of a row among those of a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub start_us: i64,
    /// A value for each dimension of the groups.
    pub values: Vec<String>,
}

impl Selection {
    /// The same requests in one group.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { groups: Vec::new(), ..self.clone() }
    }

    /// Returns the one dimension that the rows need; `None` if they need several.
    fn single(&self) -> Option<Dimension> {
        let mut needed: Vec<Dimension> = self.groups.iter().chain(self.filters.keys()).copied().collect();
        needed.retain(|dimension| *dimension != Dimension::All);
        needed.sort_unstable();
        needed.dedup();
        match needed.as_slice() {
            [] => Some(Dimension::All),
            [one] => Some(*one),
            [..] => None,
        }
    }

    /// Returns whether one query over many buckets reads only the rows that it returns.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.single().is_some()
    }

    /// Returns the widest rows that are summed for this selection.
    #[must_use]
    pub fn widest(&self) -> Width {
        if self.is_of_users() && !self.is_single() { Width::Day } else { Width::Month }
    }

    fn is_of_users(&self) -> bool {
        self.groups.contains(&Dimension::User) || self.filters.contains_key(&Dimension::User)
    }

    /// Returns all groups of a segment.
    pub async fn grouped(&self, reads: &AnyPool, segment: Segment) -> Result<Vec<(Vec<String>, Sums)>, sqlx::Error> {
        let rows = self.read(reads, segment, &Reading { by_start: false, after: None, limit: None }).await?;
        rows.iter().map(|row| self.row(row, 0)).collect()
    }

    /// Returns the groups of a segment in the order of their places, from the one after a place on.
    pub async fn placed(
        &self,
        reads: &AnyPool,
        segment: Segment,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, Sums)>, sqlx::Error> {
        let rows = self.read(reads, segment, &Reading { by_start: true, after, limit: Some(limit) }).await?;
        let placed = |row: &AnyRow| {
            let (values, sums) = self.row(row, 1)?;
            Ok((Place { start_us: row.try_get(0)?, values }, sums))
        };
        rows.iter().map(placed).collect()
    }

    fn row(&self, row: &AnyRow, first: usize) -> Result<(Vec<String>, Sums), sqlx::Error> {
        let values = (0..self.groups.len()).map(|place| row.try_get(first + place)).collect::<Result<_, _>>()?;
        Ok((values, Sums::read(row, first + self.groups.len())?))
    }

    async fn read(&self, reads: &AnyPool, segment: Segment, reading: &Reading<'_>) -> Result<Vec<AnyRow>, sqlx::Error> {
        let single = self.single();
        let (table, only, after_start) = match (single, segment.width) {
            (Some(dimension), _) => ("usage_sums", format!(" AND dimension = {}", dimension.code()), Some(dimension)),
            (None, Width::Day | Width::Month) if !self.is_of_users() => ("usage_mixes", String::new(), Some(Dimension::Model)),
            (None, Width::Minute | Width::Hour | Width::Day | Width::Month) => ("usage_details", String::new(), Some(Dimension::User)),
        };
        // The rows of a value that stands after the start in the key are found by each start. A range would be read with all values.
        let starts = segment.starts().filter(|_| after_start.is_some_and(|dimension| self.filters.contains_key(&dimension)));
        let (within, bounds) = match &starts {
            Some(starts) => (format!("start_us IN ({starts})"), Vec::new()),
            None => ("start_us >= $2 AND start_us < $3".to_owned(), vec![segment.from_us, segment.to_us]),
        };
        let column = |dimension: Dimension| match single {
            Some(one) if one == dimension && one != Dimension::All => "value",
            Some(_) => "''",
            None => dimension.column(),
        };
        let start = reading.by_start.then_some("start_us");
        let keys: Vec<&str> = start.into_iter().chain(self.groups.iter().map(|group| column(*group))).collect();
        // One group is one row already, unless groups are added up over time.
        let is_summed = single.is_none() || !reading.by_start || self.groups.iter().all(|group| *group == Dimension::All);
        let sums = COLUMNS.map(|name| if is_summed { format!("CAST(COALESCE(SUM({name}), 0) AS BIGINT)") } else { name.to_owned() });
        let selected: Vec<String> = keys.iter().map(|key| (*key).to_owned()).chain(sums).collect();
        let mut parts = vec![format!(
            "SELECT {} FROM {table} WHERE account = $1 AND width = {}{only} AND {within}",
            selected.join(", "),
            segment.width.code()
        )];
        let mut texts: Vec<String> = Vec::new();
        let before = 1 + bounds.len();
        for (dimension, value) in &self.filters {
            texts.push(value.clone());
            parts.push(format!("AND {} = ${}", column(*dimension), texts.len() + before));
        }
        // A constant is no key to SQL.
        let ordered: Vec<&str> = keys.iter().copied().filter(|key| *key != "''").collect();
        let after = reading.after.filter(|_| reading.by_start);
        if let Some(place) = after {
            let values = self.groups.iter().zip(&place.values).filter(|(group, _)| column(**group) != "''");
            let mut compared = vec![place.start_us.to_string()];
            for (_, value) in values {
                texts.push(value.clone());
                compared.push(format!("${}", texts.len() + before));
            }
            parts.push(format!("AND ({}) > ({})", ordered.join(", "), compared.join(", ")));
        }
        if is_summed && !ordered.is_empty() {
            parts.push(format!("GROUP BY {}", ordered.join(", ")));
        }
        if reading.by_start {
            parts.push(format!("ORDER BY {}", ordered.join(", ")));
        }
        if let Some(limit) = reading.limit {
            parts.push(format!("LIMIT {limit}"));
        }
        let query = sqlx::query::<Any>(AssertSqlSafe(parts.join(" "))).bind(self.account.clone());
        let query = bounds.into_iter().fold(query, sqlx::query::Query::bind);
        texts.into_iter().fold(query, sqlx::query::Query::bind).fetch_all(reads).await
    }
}

/// The order and the part of the rows that a query returns.
struct Reading<'a> {
    /// Returns a row for each period of the segment, ordered by it and the groups, instead of one row for all.
    by_start: bool,
    after: Option<&'a Place>,
    limit: Option<usize>,
}
