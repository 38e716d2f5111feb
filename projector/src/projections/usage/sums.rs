//! Sums of usage, their columns in the tables, and the statement that adds them to rows.

use eventlog::store::{placeholders, portions};
use events::Nanos;
use events::request::Outcome;
use events::usage_recorded::UsageRecorded;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::names::{Name, Names, Places};

/// The columns of [`Sums`] in every table.
pub const COLUMNS: [&str; 9] = [
    "requests",
    "errors",
    "spend_nanos",
    "byok_estimate_nanos",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "cache_write_tokens",
];

/// Returns the columns of a table: its key, then [`COLUMNS`]. `M` is their number; another one does not compile.
#[must_use]
pub const fn with_sums<const N: usize, const M: usize>(key: [&'static str; N]) -> [&'static str; M] {
    const { assert!(M == N + COLUMNS.len()) };
    let mut columns = [""; M];
    let mut place = 0;
    while place < M {
        columns[place] = if place < N { key[place] } else { COLUMNS[place - N] };
        place += 1;
    }
    columns
}

/// The most tokens of one request that enter a sum. Counts come from providers: one that no provider can mean must not break the sum.
const TOKENS_MAX: i64 = 1 << 40;

/// Sums over a set of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub requests: i64,
    /// The requests without a complete answer from any candidate.
    pub errors: i64,
    pub spend: Nanos,
    /// The estimated cost of requests that used the account's own provider keys.
    pub byok_estimate: Nanos,
    pub prompt_tokens: i64,
    /// Includes the reasoning tokens.
    pub completion_tokens: i64,
    pub reasoning_tokens: i64,
    /// The prompt tokens that were read from a cache.
    pub cached_tokens: i64,
    /// The prompt tokens that were written to a cache.
    pub cache_write_tokens: i64,
}

impl Sums {
    /// The sums over one request.
    #[must_use]
    pub fn of(usage: &UsageRecorded) -> Self {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).min(TOKENS_MAX);
        let tokens = &usage.tokens;
        Self {
            requests: 1,
            errors: i64::from(usage.outcome == Outcome::Failed),
            spend: usage.cost_nanos,
            byok_estimate: usage.counted_byok().map_or(Nanos::ZERO, |byok| byok.list_cost_nanos),
            prompt_tokens: number(tokens.prompt()),
            completion_tokens: number(tokens.completion()),
            reasoning_tokens: number(tokens.reasoning),
            cached_tokens: number(tokens.cache_read),
            cache_write_tokens: number(tokens.cache_write()),
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        self.spend = self.spend.saturating_add(more.spend);
        self.byok_estimate = self.byok_estimate.saturating_add(more.byok_estimate);
        self.prompt_tokens += more.prompt_tokens;
        self.completion_tokens += more.completion_tokens;
        self.reasoning_tokens += more.reasoning_tokens;
        self.cached_tokens += more.cached_tokens;
        self.cache_write_tokens += more.cache_write_tokens;
    }

    /// Returns the sum of prompt and completion tokens.
    #[must_use]
    pub const fn total_tokens(&self) -> i64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// Reads the columns at `first` and after it.
    pub fn read(row: &AnyRow, first: usize) -> Result<Self, sqlx::Error> {
        let number = |place: usize| row.try_get::<i64, _>(first + place);
        Ok(Self {
            requests: number(0)?,
            errors: number(1)?,
            spend: Nanos(number(2)?),
            byok_estimate: Nanos(number(3)?),
            prompt_tokens: number(4)?,
            completion_tokens: number(5)?,
            reasoning_tokens: number(6)?,
            cached_tokens: number(7)?,
            cache_write_tokens: number(8)?,
        })
    }

    const fn values(&self) -> [i64; 9] {
        [
            self.requests,
            self.errors,
            self.spend.0,
            self.byok_estimate.0,
            self.prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
        ]
    }
}

/// A value of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    Text(Name),
    Number(i64),
}

/// Adds sums to the rows of a table, which are made if they are missing, in the order of their keys.
pub async fn add<const N: usize>(
    connection: &mut AnyConnection,
    table: &str,
    keys: [&str; N],
    rows: impl IntoIterator<Item = ([Cell; N], Sums)>,
    (names, places): (&Names<'_>, &Places),
) -> Result<(), sqlx::Error> {
    let mut rows = Vec::from_iter(rows);
    rows.sort_unstable_by_key(|(cells, _)| {
        cells.map(|cell| match cell {
            Cell::Text(name) => places.of(name),
            Cell::Number(number) => number,
        })
    });
    let added = adding(table);
    for portion in portions(&rows) {
        let sql = format!(
            "INSERT INTO {table} ({}, {}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {added}",
            keys.join(", "),
            COLUMNS.join(", "),
            placeholders(connection, portion.len(), N + COLUMNS.len()),
            keys.join(", "),
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (cells, sums) in portion {
            for cell in cells {
                query = match *cell {
                    Cell::Text(name) => query.bind(names.text(name).to_owned()),
                    Cell::Number(number) => query.bind(number),
                };
            }
            for value in sums.values() {
                query = query.bind(value);
            }
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns the assignments that add a conflicting row to the one that exists.
#[must_use]
pub fn adding(table: &str) -> String {
    COLUMNS.map(|column| format!("{column} = {table}.{column} + excluded.{column}")).join(", ")
}
