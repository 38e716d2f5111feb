//! A reader's database: SQLite or PostgreSQL with one SQL text, one writer, and the tables that every reader has.

use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{self, MigrationType, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, SqlSafeStr, Transaction};

use crate::timeline::Timeline;

/// The statement that begins a writing transaction on `SQLite`.
const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE";
/// The number of connections for reading.
const READERS: u32 = 8;
/// The number of connections for writing on PostgreSQL; `SQLite` has one writer.
const WRITERS: u32 = 8;
/// The number of concurrent transactions of one reader on PostgreSQL.
const BESIDE: usize = 4;
/// The session settings of a writer.
///
/// Its statements find rows by key and stay prepared. A plan made while a table is nearly empty would scan the whole table, and keep doing
/// so while it grows (2,200 postings a second instead of more). A process that is stopped within a transaction, or whose machine is gone,
/// must not block the others.
const WRITER: &str = "SET enable_seqscan = off; SET jit = off; SET idle_in_transaction_session_timeout = '3s';
    SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3";
/// The longest wait for a connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A database of one reader.
#[derive(Clone)]
pub struct Store {
    /// The connections for reading.
    pub reads: AnyPool,
    writes: AnyPool,
    timeline: Timeline,
    begin: &'static str,
    snapshot: &'static str,
}

/// The reason why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the database {url}: {cause}")]
    Open {
        /// The address without its password.
        url: String,
        cause: sqlx::Error,
    },
    /// Tables that cannot be brought to the schema of this version.
    #[error("cannot bring the tables of {url} up to date: {cause}")]
    Migrate {
        /// The address without its password.
        url: String,
        cause: migrate::MigrateError,
    },
}

/// One migration of a reader's tables: number, name, SQL.
pub type Migration = (i64, &'static str, &'static str);

/// The migrations of the tables that every reader has: positions, sources, and events that could not be applied.
const OWN: [Migration; 5] = [
    (1, "reader", include_str!("../migrations/0001_reader.sql")),
    (1_001, "decisions", include_str!("../migrations/1001_decisions.sql")),
    (1_002, "share", include_str!("../migrations/1002_share.sql")),
    (1_003, "names", include_str!("../migrations/1003_names.sql")),
    (1_004, "readers", include_str!("../migrations/1004_readers.sql")),
];

impl Store {
    /// Opens `sqlite://PATH`, which is created if it is missing, or `postgres://…`, and brings its tables up to date.
    ///
    /// A process numbers its own migrations from 2 to 1,000, or from 2,001 on if they come after the shared ones.
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
                        // FULL: a committed checkpoint must not be lost, because gateways delete the events before it.
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
        migrate_to(&writes, &OWN, migrations).await.map_err(|cause| StoreError::Migrate { url: shown.clone(), cause })?;
        let reads = options(READERS, false).connect(&address).await.map_err(open)?;
        Ok(Self {
            reads,
            writes,
            timeline,
            begin: if sqlite { SQLITE_BEGIN } else { "BEGIN" },
            snapshot: if sqlite { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ" },
        })
    }

    /// Begins a transaction that excludes all other writers. On PostgreSQL several processes may write one database: each waits here until
    /// all others have ended, as on `SQLite` anyway. So the data that a transaction has read is still valid when it writes.
    pub async fn begin_exclusive(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.begin_behind("SELECT CAST(pg_advisory_xact_lock(1) AS TEXT)").await
    }

    /// Begins a transaction that runs concurrently with others of this kind, on PostgreSQL. It must lock the rows that it reads and will
    /// write, in the order of their keys, before it reads anything that depends on them.
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

    /// Closes pooled connections that a failed transaction has made unusable. The database has rolled the transaction back by itself, as on
    /// a full disk, but the connection still counts it as open.
    async fn discard_spoiled(&self) -> Result<(), sqlx::Error> {
        for _ in 0..self.writes.size().max(1) {
            let mut connection = self.writes.acquire().await?;
            connection.close_on_drop();
        }
        Ok(())
    }

    /// Returns the number of transactions of one reader that may run concurrently; one on `SQLite`.
    #[must_use]
    pub fn parallelism(&self) -> usize {
        if self.is_sqlite() { 1 } else { BESIDE }
    }

    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.begin == SQLITE_BEGIN
    }

    /// Begins a reading transaction that sees one consistent state and blocks no writer.
    pub async fn snapshot(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.reads.begin_with(self.snapshot).await
    }

    /// Waits until this process must not use the database any more, because its rows are older than those that decisions were based on. No
    /// transaction begins after that.
    pub async fn fenced(&self) {
        self.timeline.left().await;
    }

    /// Marks the database as having older rows than those that decisions were based on.
    pub fn fence(&self) {
        self.timeline.leave();
    }

    pub async fn close(&self) {
        self.writes.close().await;
        self.reads.close().await;
    }
}

/// Returns whether a connection cannot begin a transaction because it believes that one is open.
fn is_spoiled(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::InvalidSavePointStatement) || error.to_string().contains("transaction depth")
}

/// Brings the tables of a database up to date.
///
/// `COLLATE BYTES` in a migration orders a text column by its bytes. Each database has another name for it. `WITHOUT ROWID` is said to
/// SQLite alone. A migration that begins with `-- SQLite only` or `-- PostgreSQL only` does nothing on the other.
async fn migrate_to(writes: &AnyPool, own: &[Migration], more: &[Migration]) -> Result<(), migrate::MigrateError> {
    const BYTEWISE: &str = "COLLATE BYTES";
    const CLUSTERED: &str = " WITHOUT ROWID";
    const SQLITE_ONLY: &str = "-- SQLite only";
    const POSTGRES_ONLY: &str = "-- PostgreSQL only";
    let is_sqlite = writes.connect_options().database_url.scheme() == "sqlite";
    let of_database = |sql: &str| {
        let of_other = if is_sqlite { POSTGRES_ONLY } else { SQLITE_ONLY };
        if sql.starts_with(of_other) {
            return "SELECT 1".to_owned();
        }
        if is_sqlite { sql.replace(BYTEWISE, "COLLATE BINARY") } else { sql.replace(BYTEWISE, "COLLATE \"C\"").replace(CLUSTERED, "") }
    };
    let migrations = own.iter().chain(more).map(|(number, name, sql)| (number, name, of_database(sql))).map(|(number, name, sql)| {
        migrate::Migration::new(*number, (*name).into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    if !is_sqlite {
        return migrator.run(writes).await;
    }
    // The one connection may sort whole tables: on the disk, not in memory.
    sqlx::raw_sql("PRAGMA temp_store = FILE").execute(writes).await?;
    migrator.run(writes).await?;
    sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(writes).await?;
    Ok(())
}

/// Converts a number for a database, whose integers are signed.
///
/// # Errors
/// The number is larger than `i64::MAX`; this counts as an error of the data.
pub fn to_db(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// Converts a number of a database that is never negative.
///
/// # Errors
/// The number is negative.
pub fn from_db(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Returns whether a transaction failed because of the data to be written, so that a retry is useless. An unavailable, full or busy
/// database is no such failure.
///
/// These are classes 22 (data) and 23 (constraints) of SQLSTATE; on `SQLite` constraints, mismatches and sizes.
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

/// Returns the clause that locks the rows of a SELECT until the transaction ends; empty on `SQLite`, which needs none.
#[must_use]
pub fn for_update(connection: &AnyConnection) -> &'static str {
    if connection.backend_name() == "SQLite" { "" } else { "FOR UPDATE" }
}

/// Returns the placeholders of `rows` rows of `columns` columns: `($1,$2),($3,$4)` on PostgreSQL and `(?,?),(?,?)` on SQLite.
///
/// This is the one place where the two SQL texts differ. SQLite looks up the name of every numbered parameter in a list. For a statement
/// with thousands of parameters, that took 39 % of the whole process's time.
#[must_use]
pub fn placeholders(connection: &AnyConnection, rows: usize, columns: usize) -> String {
    values(connection.backend_name() == "SQLite", rows, columns)
}

/// Splits rows into portions of a few fixed sizes, so that statement texts repeat and stay prepared. The largest portion is a whole batch.
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

/// Returns an address without its password, and without its parameters, which may contain one.
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
    use events::subject::Stream;

    use super::*;
    use crate::reader_id::ReaderId;

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

    #[tokio::test]
    async fn an_older_database_keeps_its_places_its_sources_and_its_quarantine() {
        const RENAMED: Migration = (2_001, "names", "UPDATE checkpoints SET reader = 'postings' WHERE reader = 'USAGE';
            UPDATE sources SET reader = 'postings' WHERE reader = 'USAGE'; UPDATE quarantine SET reader = 'postings' WHERE reader = 'USAGE';");
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("x.db").display());
        install_default_drivers();
        let old = AnyPoolOptions::new().max_connections(1).connect(&format!("{url}?mode=rwc")).await.unwrap();
        migrate_to(&old, &OWN[..3], &[]).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO checkpoints (stream, identity, sequence, event_id, chain) VALUES ('USAGE', 'i', 7, 'e7', 'c');
             INSERT INTO sources (source, stream, watermark, beyond) VALUES ('/gateway/n/b', 'USAGE', 5, '[[7,7]]');
             INSERT INTO quarantine (stream, sequence, event_id, reason, payload, quarantined_at_us, parks) VALUES ('USAGE', 3, 'e3', 'r', 'p', 1, 'acc');
             INSERT INTO members (member, stream, node, beat, sequence, chain) VALUES ('m', 'USAGE', 'n', 2, 7, 'c');",
        )
        .execute(&old)
        .await
        .unwrap();
        old.close().await;
        let store = Store::open(&url, &[RENAMED]).await.unwrap();
        let reader = ReaderId { name: "postings", stream: Stream::Usage };
        let checkpoint = crate::checkpoint::checkpoint(&store, reader).await.unwrap().unwrap();
        assert_eq!((checkpoint.sequence, checkpoint.event_id.as_str()), (7, "e7"));
        let marks = crate::sources::watermarks(&store.reads, "/gateway/n/b", &[reader]).await.unwrap();
        assert_eq!(marks.get(&Stream::Usage), Some(&5));
        let waiting = crate::quarantine::list(&store, None).await.unwrap();
        assert_eq!((waiting[0].projection.as_str(), waiting[0].freezes_account.as_deref()), ("postings", Some("acc")));
        assert!(crate::quarantine::is_frozen(&store, "acc").await.unwrap());
    }
}
