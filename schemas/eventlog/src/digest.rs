//! Digests of tables: two tables with the same rows have the same digest, whatever the database and the order of its rows.

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

/// A table and those of its rows and columns that enter the digest.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [&'static str],
    /// The SQL condition of the rows that every rebuild has; the others are about to be deleted.
    pub kept: &'static str,
}

impl Table {
    /// A table of which every row enters the digest.
    #[must_use]
    pub const fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Self { name, columns, kept: "1 = 1" }
    }

    /// Leaves out the rows that do not meet the condition.
    #[must_use]
    pub const fn kept(self, kept: &'static str) -> Self {
        Self { kept, ..self }
    }
}

/// The digest of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The number of rows.
    pub rows: u64,
    /// The wrapping sum of the first 16 bytes of each row's SHA-256 hash.
    pub sum: u128,
}

/// Reads a whole table as the transaction of this connection sees it.
pub async fn digest(connection: &mut AnyConnection, table: Table) -> Result<Held, sqlx::Error> {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("COALESCE(CAST({column} AS TEXT), '\u{1}')")).collect();
    let sql = format!("SELECT {} AS line FROM {} WHERE {}", columns.join(" || '\u{2}' || "), table.name, table.kept);
    let mut rows = sqlx::query::<Any>(AssertSqlSafe(sql)).fetch(connection);
    let mut held = Held { rows: 0, sum: 0 };
    while let Some(row) = rows.try_next().await? {
        let hash = Sha256::digest(row.try_get::<&str, _>("line")?.as_bytes());
        let half: [u8; 16] = std::array::from_fn(|index| hash[index]);
        held.rows += 1;
        held.sum = held.sum.wrapping_add(u128::from_le_bytes(half));
    }
    Ok(held)
}
