//! A reader's database: SQLite or PostgreSQL behind one SQL text, one writer, and the tables that every reader has.

use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{self, MigrationType, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, SqlSafeStr, Transaction};

use crate::timeline::Timeline;

/// How a transaction that writes begins on `SQLite`.
const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE";
/// Connections for reading.
const READERS: u32 = 8;
/// Connections for writing on PostgreSQL; `SQLite` has one writer.
const WRITERS: u32 = 8;
/// Transactions of one reader beside each other on PostgreSQL.
const BESIDE: usize = 4;
/// What a writer's session is. Its statements find rows by key and stay prepared: a plan that was made while a table was nearly empty
/// would read all of it, and keep doing so while it grows (2,200 postings a second instead of more). A process that is stopped within a
/// transaction, or whose machine is gone, must not keep the others waiting.
const WRITER: &str = "SET enable_seqscan = off; SET jit = off; SET idle_in_transaction_session_timeout = '3s';
    SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3";
/// How long to wait for a connection before saying that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A database of one reader.
#[derive(Clone)]
pub struct Store {
    /// For reading.
    pub reads: AnyPool,
    writes: AnyPool,
    timeline: Timeline,
    begin: &'static str,
    snapshot: &'static str,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not open.
    #[error("cannot open the database {url}: {cause}")]
    Open {
        /// Where, without a password.
        url: String,
        /// Why.
        cause: sqlx::Error,
    },
    /// Its tables are not what this version needs.
    #[error("cannot bring the tables of {url} up to date: {cause}")]
    Migrate {
        /// Where, without a password.
        url: String,
        /// Why.
        cause: migrate::MigrateError,
    },
}

/// One migration of a reader's tables: number, name, SQL.
pub type Migration = (i64, &'static str, &'static str);

/// The tables that every reader has: positions, sources, and what could not be applied.
const OWN: [Migration; 5] = [
    (1, "reader", include_str!("../migrations/0001_reader.sql")),
    (1_001, "decisions", include_str!("../migrations/1001_decisions.sql")),
    (1_002, "share", include_str!("../migrations/1002_share.sql")),
    (1_003, "names", include_str!("../migrations/1003_names.sql")),
    (1_004, "readers", include_str!("../migrations/1004_readers.sql")),
];

impl Store {
    /// Opens `sqlite://PATH` (made when missing) or `postgres://…` and brings its tables up to date. Migrations of a process number from
    /// 2 to 1,000, or from 2,001 on where they come after the shared ones.
    ///
    /// # Errors
    /// When it does not open, or its tables cannot be brought up to date.
    pub async fn open(url: &str, migrations: &[Migration]) -> Result<Self, StoreError> {
        install_default_drivers();
        let shown = without_password(url);
        let sqlite = url.starts_with("sqlite:");
        let address = if sqlite && !url.contains('?') { format!("{url}?mode=rwc") } else { url.to_owned() };
        let timeline = Timeline::default();
        let options = |connections, is_writer| {
            let timeline = timeline.clone();
            AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(move |connection, _| {
                let timeline = timeline.clone();
                Box::pin(async move {
                    if sqlite {
                        // Full: a checkpoint that is committed must not be forgotten, gateways drop what lies below it.
                        sqlx::raw_sql(
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
                        )
                        .execute(connection)
                        .await?;
                        return Ok(());
                    }
                    if is_writer {
                        sqlx::raw_sql(WRITER).execute(&mut *connection).await?;
                    }
                    timeline.check(connection).await?;
                    Ok(())
                })
            })
        };
        let open = |cause| StoreError::Open { url: shown.clone(), cause: timeline.why(cause) };
        let writes = options(if sqlite { 1 } else { WRITERS }, true).connect(&address).await.map_err(open)?;
        let migrations = OWN.iter().chain(migrations).map(|(number, name, sql)| {
            migrate::Migration::new(*number, (*name).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect())
            .run(&writes)
            .await
            .map_err(|cause| StoreError::Migrate { url: shown.clone(), cause })?;
        let reads = options(READERS, false).connect(&address).await.map_err(open)?;
        Ok(Self {
            reads,
            writes,
            timeline,
            begin: if sqlite { SQLITE_BEGIN } else { "BEGIN" },
            snapshot: if sqlite { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ" },
        })
    }

    /// Begins a transaction of the one writer. With PostgreSQL several may write one database: each waits here until all others have
    /// ended, as `SQLite` has it anyway, so that what a transaction read is still so when it writes.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin_exclusive(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.begin_behind("SELECT CAST(pg_advisory_xact_lock(1) AS TEXT)").await
    }

    /// Begins a transaction beside others of this kind, on PostgreSQL. It must lock the rows that it reads and will write, in the order
    /// of their keys, before it reads anything that depends on them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin_shared(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.begin_behind("SELECT CAST(pg_advisory_xact_lock_shared(1) AS TEXT)").await
    }

    async fn begin_behind(&self, lock: &'static str) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let mut transaction = match self.writes.begin_with(self.begin).await {
            Err(error) if is_spoiled(&error) => {
                self.discard_spoiled().await?;
                self.writes.begin_with(self.begin).await?
            }
            begun => begun?,
        };
        self.timeline.holds()?;
        if !self.is_sqlite() {
            sqlx::query::<Any>(lock).execute(&mut *transaction).await?;
        }
        Ok(transaction)
    }

    /// Closes pooled connections that a failed transaction has spoiled: the database has rolled it back by itself, a full disk makes it do so,
    /// and the connection still counts it as open.
    async fn discard_spoiled(&self) -> Result<(), sqlx::Error> {
        for _ in 0..self.writes.size().max(1) {
            let mut connection = self.writes.acquire().await?;
            connection.close_on_drop();
        }
        Ok(())
    }

    /// How many transactions of one reader may run beside each other; one on `SQLite`.
    #[must_use]
    pub fn parallelism(&self) -> usize {
        if self.is_sqlite() { 1 } else { BESIDE }
    }

    fn is_sqlite(&self) -> bool {
        self.begin == SQLITE_BEGIN
    }

    /// Begins a transaction that reads one state of everything and keeps nobody from writing.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn snapshot(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.reads.begin_with(self.snapshot).await
    }

    /// Returns when the database must not be used any more by this process: it has older rows than were decided on. No transaction begins
    /// from then on.
    pub async fn fenced(&self) {
        self.timeline.left().await;
    }

    /// Says that the database has older rows than were decided on.
    pub fn fence(&self) {
        self.timeline.leave();
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.writes.close().await;
        self.reads.close().await;
    }
}

/// Whether a connection cannot begin a transaction because it believes that it is in one.
fn is_spoiled(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::InvalidSavePointStatement) || error.to_string().contains("transaction depth")
}

/// Whether a transaction failed for what was to be written, and not because the database is away, full or busy: trying again is of no use.
/// Classes 22 (data) and 23 (constraints) of SQLSTATE; on `SQLite` constraints, mismatches and sizes.
#[must_use]
pub fn is_data_error(error: &sqlx::Error) -> bool {
    let of_code = |code: &str| {
        let sqlstate = code.len() == 5 && (code.starts_with("22") || code.starts_with("23"));
        // The low byte of SQLite's extended codes: TOOBIG, CONSTRAINT, MISMATCH.
        let sqlite = code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)) && code.len() < 5;
        sqlstate || sqlite
    };
    matches!(error, sqlx::Error::Encode(_))
        || error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| of_code(&code))
}

/// What keeps the rows of a SELECT from being changed by others until the transaction ends: nothing is needed on `SQLite`.
#[must_use]
pub fn for_update(connection: &AnyConnection) -> &'static str {
    if connection.backend_name() == "SQLite" { "" } else { "FOR UPDATE" }
}

/// `($1,$2),($3,$4)` on PostgreSQL and `(?,?),(?,?)` on SQLite: the values of `rows` rows of `columns` columns.
///
/// This is the one place where the two texts differ: SQLite looks the name of every numbered parameter up in a list, which for a
/// statement with thousands of them took 39 % of the whole process's time.
#[must_use]
pub fn placeholders(connection: &AnyConnection, rows: usize, columns: usize) -> String {
    values(connection.backend_name() == "SQLite", rows, columns)
}

/// Rows in portions of a few sizes only, so that the text of a statement comes again and stays prepared. The largest is a whole batch.
pub fn portions<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = [500, 256, 64, 16, 4, 1].into_iter().find(|size| *size <= rest.len())?;
        let (portion, others) = rest.split_at(size);
        rest = others;
        Some(portion)
    })
}

fn values(sqlite: bool, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (columns * 5 + 3));
    let mut number = 0;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            number += 1;
            if column > 0 {
                text.push(',');
            }
            if sqlite {
                text.push('?');
            } else {
                text.push('$');
                text.push_str(&number.to_string());
            }
        }
        text.push(')');
    }
    text
}

/// An address as it may be shown: no password, and no parameters, which may hold one.
fn without_password(url: &str) -> String {
    let address = url.split(['?', '#']).next().unwrap_or_default();
    match (address.find("://"), address.rfind('@')) {
        (Some(start), Some(at)) if at > start => {
            let user = address[start + 3..at].split(':').next().unwrap_or_default();
            format!("{}://{user}@{}", &address[..start], &address[at + 1..])
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("postgres://u:secret@h:5/d"), "postgres://u@h:5/d");
        assert_eq!(without_password("sqlite:///a/b.db"), "sqlite:///a/b.db");
        assert_eq!(without_password("postgres://h/d?user=u&password=secret"), "postgres://h/d");
        assert!(!without_password("postgres://u:se?cret@h/d").contains("cret"));
    }

    #[test]
    fn portions_are_all_rows_in_order() {
        for count in [0, 1, 3, 5, 63, 64, 499, 500, 1_200] {
            let rows: Vec<usize> = (0..count).collect();
            assert_eq!(portions(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        }
        assert_eq!(portions(&[0; 850]).map(<[_]>::len).collect::<Vec<_>>(), [500, 256, 64, 16, 4, 4, 4, 1, 1]);
    }

    #[test]
    fn placeholders_count_on() {
        assert_eq!(values(false, 2, 3), "($1,$2,$3),($4,$5,$6)");
        assert_eq!(values(true, 2, 3), "(?,?,?),(?,?,?)");
    }
}
