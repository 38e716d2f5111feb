//! Spending limits and limit windows of keys in the database.

use std::collections::{BTreeMap, BTreeSet};

use eventlog::store::{from_db, placeholders, portions, to_db};
use events::Nanos;
use events::control::{Key, LimitReset};
use events::rpc::{KeySpend, PeriodSums};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row};

use super::Period;

/// A key's limit and revision as the ledger knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The most that the key may spend in one window; `None` if it has no limit.
    pub limit: Option<Nanos>,
    pub period: Period,
    /// The number of the key's latest change.
    pub revision: u64,
}

/// The totals of one window of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// The amount charged in the window.
    pub spent: Nanos,
    /// The amount lent to gateways in the window.
    pub held: Nanos,
    /// The part of `spent` that does not count towards the limit.
    pub exempt: Nanos,
    /// The list price of requests with own provider keys.
    pub byok: Nanos,
}

impl Window {
    /// Returns the spending that counts towards the limit.
    #[must_use]
    pub const fn counted(self) -> Nanos {
        self.spent.saturating_sub(self.exempt)
    }

    /// Adds amounts; negative amounts subtract.
    pub fn add(&mut self, more: Self) {
        self.spent = self.spent.saturating_add(more.spent);
        self.held = self.held.saturating_add(more.held);
        self.exempt = self.exempt.saturating_add(more.exempt);
        self.byok = self.byok.saturating_add(more.byok);
    }
}

/// A window's identity: key hash, period, start in microseconds since 1970.
pub type WindowId = (String, Period, i64);

/// Returns the key with this hash if it belongs to the account.
pub async fn find(connection: &mut AnyConnection, hash: &str, account: &str) -> Result<Option<KeyRow>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT limit_nanos, limit_reset, revision FROM keys WHERE hash = $1 AND account = $2")
        .bind(hash.to_owned())
        .bind(account.to_owned())
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let reset: Option<String> = row.try_get("limit_reset")?;
        Ok(KeyRow {
            limit: row.try_get::<Option<i64>, _>("limit_nanos")?.map(Nanos),
            period: reset.map_or(Period::Lifetime, |word| Period::named(&word)),
            revision: from_db(row.try_get("revision")?)?,
        })
    })
    .transpose()
}

/// Inserts or updates a key, unless the database has the same or a newer revision.
pub async fn upsert(connection: &mut AnyConnection, key: &Key) -> Result<(), sqlx::Error> {
    let reset: Option<LimitReset> = key.limit_reset;
    sqlx::query::<Any>(
        "INSERT INTO keys (hash, account, limit_nanos, limit_reset, revision) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (hash) DO UPDATE SET limit_nanos = excluded.limit_nanos, limit_reset = excluded.limit_reset, revision = excluded.revision
         WHERE keys.revision < excluded.revision",
    )
    .bind(key.hash.to_string())
    .bind(key.account.to_string())
    .bind(key.limit_nanos.map(|limit| limit.0))
    .bind(reset.map(|reset| Period::of(Some(reset)).as_str()))
    .bind(to_db(key.revision)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a window; all zeros if nothing was spent in it.
pub async fn window(connection: &mut AnyConnection, id: &WindowId) -> Result<Window, sqlx::Error> {
    let sql = "SELECT spent_nanos, held_nanos, exempt_nanos, byok_nanos FROM key_windows
         WHERE key_hash = $1 AND period = $2 AND starts_at_us = $3";
    let row = sqlx::query::<Any>(sql).bind(id.0.clone()).bind(id.1.as_str()).bind(id.2).fetch_optional(connection).await?;
    row.map_or(Ok(Window::default()), |row| {
        Ok(Window {
            spent: Nanos(row.try_get("spent_nanos")?),
            held: Nanos(row.try_get("held_nanos")?),
            exempt: Nanos(row.try_get("exempt_nanos")?),
            byok: Nanos(row.try_get("byok_nanos")?),
        })
    })
}

/// Adds amounts to windows; negative amounts subtract.
///
/// # Errors
/// Fails if a window would return more than was lent in it.
pub async fn add(connection: &mut AnyConnection, windows: &[(&WindowId, Window)]) -> Result<(), sqlx::Error> {
    for portion in portions(windows) {
        let sql = format!(
            "WITH new (key_hash, period, starts_at_us, spent, held, exempt, byok) AS (VALUES {})
             UPDATE key_windows SET spent_nanos = spent_nanos + new.spent, held_nanos = held_nanos + new.held,
                exempt_nanos = exempt_nanos + new.exempt, byok_nanos = byok_nanos + new.byok FROM new
             WHERE key_windows.key_hash = new.key_hash AND key_windows.period = new.period AND key_windows.starts_at_us = new.starts_at_us
             RETURNING key_windows.key_hash, key_windows.period, key_windows.starts_at_us",
            placeholders(connection, portion.len(), 7)
        );
        let known = bind(&sql, portion).fetch_all(&mut *connection).await?;
        if known.len() == portion.len() {
            continue;
        }
        let mut ids = BTreeSet::new();
        for row in &known {
            ids.insert((row.try_get("key_hash")?, Period::named(row.try_get("period")?), row.try_get("starts_at_us")?));
        }
        let opened: Vec<_> = portion.iter().filter(|(id, _)| !ids.contains(*id)).copied().collect();
        for portion in portions(&opened) {
            let sql = format!(
                "INSERT INTO key_windows (key_hash, period, starts_at_us, spent_nanos, held_nanos, exempt_nanos, byok_nanos) VALUES {}",
                placeholders(connection, portion.len(), 7)
            );
            bind(&sql, portion).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn bind<'q>(sql: &str, windows: &[(&WindowId, Window)]) -> Query<'q, Any, AnyArguments> {
    let query = sqlx::query::<Any>(AssertSqlSafe(sql.to_owned()));
    windows.iter().fold(query, |query, ((key, period, starts), more)| {
        let query = query.bind(key.clone()).bind(period.as_str()).bind(*starts);
        query.bind(more.spent.0).bind(more.held.0).bind(more.exempt.0).bind(more.byok.0)
    })
}

/// Returns the amounts that keys have spent in the windows that contain `now_us`.
pub async fn spending(pool: &AnyPool, keys: &[events::KeyHash], now_us: i64) -> Result<BTreeMap<events::KeyHash, KeySpend>, sqlx::Error> {
    let mut all = BTreeMap::new();
    let mut connection = pool.acquire().await?;
    for key in keys {
        let mut of = [Window::default(); Period::ALL.len()];
        for (period, own) in Period::ALL.into_iter().zip(&mut of) {
            *own = window(&mut connection, &(key.to_string(), period, period.start_us(now_us))).await?;
        }
        let sums = |amount: fn(Window) -> Nanos| {
            let [daily, weekly, monthly, total] = of.map(amount);
            PeriodSums { total, daily, weekly, monthly }
        };
        let PeriodSums { total, daily, weekly, monthly } = sums(|window| window.spent);
        let (byok, exempt) = (sums(|window| window.byok), sums(|window| window.exempt));
        all.insert(key.clone(), KeySpend { total, daily, weekly, monthly, byok, exempt });
    }
    Ok(all)
}
