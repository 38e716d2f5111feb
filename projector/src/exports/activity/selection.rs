//! The rows of usage that a report reads: groups, filters, and the table that has them summed already.

use std::collections::BTreeMap;
use std::iter;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};

use super::summed_rows::SummedRows;
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

    /// Returns the fewest dimensions by which rows must tell requests apart.
    fn needed(&self) -> Vec<Dimension> {
        let mut needed: Vec<Dimension> = self.groups.iter().chain(self.filters.keys()).copied().collect();
        needed.retain(|dimension| *dimension != Dimension::All);
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Returns whether one query over many buckets of a width reads only the rows that it returns.
    #[must_use]
    pub fn is_single(&self, width: Width) -> bool {
        matches!(SummedRows::of(&self.needed(), width), SummedRows::Single(_))
    }

    /// Returns the widest rows that are summed for this selection.
    #[must_use]
    pub fn widest(&self) -> Width {
        if matches!(SummedRows::of(&self.needed(), Width::Month), SummedRows::Details) { Width::Day } else { Width::Month }
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

    /// Returns the condition that rows are in a segment, and the values of its parameters from `$2` on.
    ///
    /// Rows of a filter's value are found by each start, and by each value before it in the key. A range would be read with all values.
    /// PostgreSQL has indexes for the latter.
    fn within(&self, rows: SummedRows, segment: Segment, is_sqlite: bool) -> (String, Vec<i64>) {
        let Segment { width, from_us, to_us } = segment;
        let is_filtered = |dimension| self.filters.contains_key(&dimension);
        let leading = rows.leading(is_filtered, is_sqlite);
        let (Some(leading), Some(starts)) = (leading, segment.starts()) else {
            return ("start_us >= $2 AND start_us < $3".to_owned(), vec![from_us, to_us]);
        };
        let each_value = |dimension: Dimension| {
            let (column, width, dimension) = (rows.column(dimension), width.code(), dimension.code());
            let of_segment = format!("width = {width} AND dimension = {dimension} AND start_us >= {from_us} AND start_us < {to_us}");
            format!("{column} IN (SELECT value FROM usage_sums WHERE account = $1 AND {of_segment})")
        };
        let skipped = leading.into_iter().filter(|dimension| !is_filtered(*dimension)).map(each_value);
        (iter::once(format!("start_us IN ({starts})")).chain(skipped).collect::<Vec<_>>().join(" AND "), Vec::new())
    }

    async fn read(&self, reads: &AnyPool, segment: Segment, reading: &Reading<'_>) -> Result<Vec<AnyRow>, sqlx::Error> {
        let rows = SummedRows::of(&self.needed(), segment.width);
        let column = |dimension| rows.column(dimension);
        let (within, bounds) = self.within(rows, segment, is_sqlite(reads));
        let start = reading.by_start.then_some("start_us");
        let keys: Vec<&str> = start.into_iter().chain(self.groups.iter().map(|group| column(*group))).collect();
        // One group is one row already, unless rows are added up over time or over other dimensions.
        let is_summed = !(reading.by_start && rows.is_exact());
        let sums = COLUMNS.map(|name| if is_summed { format!("CAST(COALESCE(SUM({name}), 0) AS BIGINT)") } else { name.to_owned() });
        let selected: Vec<String> = keys.iter().map(|key| (*key).to_owned()).chain(sums).collect();
        let mut parts = vec![format!(
            "SELECT {} FROM {} WHERE account = $1 AND width = {}{} AND {within}",
            selected.join(", "),
            rows.table(),
            segment.width.code(),
            rows.only()
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

/// Returns whether a pool is of SQLite.
fn is_sqlite(reads: &AnyPool) -> bool {
    reads.connect_options().database_url.scheme() == "sqlite"
}

/// The order and the part of the rows that a query returns.
struct Reading<'a> {
    /// Returns a row for each period of the segment, ordered by it and the groups, instead of one row for all.
    by_start: bool,
    after: Option<&'a Place>,
    limit: Option<usize>,
}
