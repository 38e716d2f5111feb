//! The timeline of the PostgreSQL server that a process reads and writes.
//!
//! A server that was promoted, or restored to a point in time, begins a new timeline. Its rows may be older than those that the process
//! based decisions on. Nothing may be built on them before they are brought up to the log.
//!
//! Two cases keep the timeline and are not detected: a restored snapshot of a volume, and a second promotion from the same standby's state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use sqlx::{Any, AnyConnection, Row};
use tokio_util::sync::CancellationToken;

/// The timeline number from the name of the current WAL file, and the server's identifier; empty on a standby.
const NAME: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/' ||
    (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()) END AS timeline";
/// SQLSTATE codes of a server that lacks these functions or forbids their use.
const NOT_TOLD: [&str; 3] = ["42883", "42501", "0A000"];

/// The timeline on which a process began. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    first: Arc<OnceLock<String>>,
    left: CancellationToken,
    is_standby: Arc<AtomicBool>,
}

/// The reason why a connection is not used.
#[derive(Debug, thiserror::Error)]
enum NotOurs {
    #[error("the server is a standby: promote it, or set the database's address to the primary's")]
    Standby,
    #[error("the server is {now} and was {first} (timeline and server): it was promoted, or restored to a point in time")]
    Left { first: String, now: String },
    #[error("this process must not use its database any more")]
    Over,
}

impl Timeline {
    /// Checks a new connection. The first one sets the timeline, and all others must be on the same.
    ///
    /// # Errors
    /// Fails if the connection is to a standby or to another timeline, or if it breaks.
    pub async fn check(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let now: String = match sqlx::query::<Any>(NAME).fetch_one(connection).await {
            Ok(row) => row.try_get("timeline")?,
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| NOT_TOLD.contains(&&*code)) => {
                tracing::warn!(%error, "PostgreSQL does not say its timeline: stop the ledger before a standby is promoted: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.compare(now).map_err(|error| sqlx::Error::Configuration(Box::new(error)))
    }

    /// Returns an error if the database must not be used, as far as is known.
    pub fn holds(&self) -> Result<(), sqlx::Error> {
        if self.left.is_cancelled() { Err(sqlx::Error::Configuration(Box::new(NotOurs::Over))) } else { Ok(()) }
    }

    /// Replaces the timeout of a pool by its reason, if the server is known to be a standby.
    #[must_use]
    pub fn why(&self, error: sqlx::Error) -> sqlx::Error {
        if matches!(error, sqlx::Error::PoolTimedOut) && self.is_standby.load(Ordering::Relaxed) {
            return sqlx::Error::Configuration(Box::new(NotOurs::Standby));
        }
        error
    }

    fn compare(&self, now: String) -> Result<(), NotOurs> {
        if self.left.is_cancelled() {
            return Err(NotOurs::Over);
        }
        self.is_standby.store(now.is_empty(), Ordering::Relaxed);
        if now.is_empty() {
            return Err(NotOurs::Standby);
        }
        let first = self.first.get_or_init(|| now.clone());
        if *first != now {
            self.leave();
            return Err(NotOurs::Left { first: first.clone(), now });
        }
        Ok(())
    }

    /// Marks the database as one that this process must not use any more.
    pub fn leave(&self) {
        self.left.cancel();
    }

    /// Waits until the database must not be used any more.
    pub async fn left(&self) {
        self.left.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_waited_for_and_another_timeline_is_told() {
        let timeline = Timeline::default();
        assert!(matches!(timeline.compare(String::new()), Err(NotOurs::Standby)));
        assert!(timeline.compare("00000001".to_owned()).is_ok());
        assert!(timeline.clone().compare("00000001".to_owned()).is_ok());
        assert!(matches!(timeline.compare(String::new()), Err(NotOurs::Standby)));
        assert!(!timeline.left.is_cancelled() && timeline.holds().is_ok());
        assert!(matches!(timeline.clone().compare("00000002".to_owned()), Err(NotOurs::Left { .. })));
        assert!(timeline.left.is_cancelled() && timeline.holds().is_err());
        assert!(matches!(timeline.compare("00000001".to_owned()), Err(NotOurs::Over)), "one that comes back is not trusted");
    }
}
