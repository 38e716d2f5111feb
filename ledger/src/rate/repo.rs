//! Shares of rate limits in the database.

use eventlog::store::{from_db, to_db};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AnyPool, Row};

use super::shares::{Holder, Share, Shares, over_if_renewed_before_us};

/// Returns a gateway's last call.
pub async fn holder(connection: &mut AnyConnection, holder: &str) -> Result<Option<Holder>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT sequence, renewed_at_us FROM rate_holders WHERE holder = $1").bind(holder.to_owned());
    row.fetch_optional(connection).await?.map(|row| read_holder(&row)).transpose()
}

fn read_holder(row: &AnyRow) -> Result<Holder, sqlx::Error> {
    Ok(Holder { sequence: from_db(row.try_get("sequence")?)?, renewed_at_us: row.try_get("renewed_at_us")? })
}

/// Loads all shares of a limit and their holders.
pub async fn load(connection: &mut AnyConnection, state: &mut Shares, limit: &str) -> Result<(), sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT s.holder, s.window_ms, s.share, s.used, s.needs, s.least, s.short_since_us, h.sequence, h.renewed_at_us
         FROM rate_shares s JOIN rate_holders h ON h.holder = s.holder WHERE s.limit_id = $1",
    );
    let of_limit = state.limits.entry(limit.to_owned()).or_default();
    for row in rows.bind(limit.to_owned()).fetch_all(connection).await? {
        let name: String = row.try_get("holder")?;
        let share = Share {
            window_ms: from_db(row.try_get("window_ms")?)?,
            share: from_db(row.try_get("share")?)?,
            used: from_db(row.try_get("used")?)?,
            needs: from_db(row.try_get("needs")?)?,
            least: from_db(row.try_get("least")?)?,
            short_since_us: row.try_get("short_since_us")?,
        };
        state.holders.insert(name.clone(), read_holder(&row)?);
        of_limit.insert(name, share);
    }
    Ok(())
}

/// Saves a gateway's call and the shares that it changed.
pub async fn save(connection: &mut AnyConnection, holder: &str, before: &Shares, after: &Shares) -> Result<(), sqlx::Error> {
    if let Some(own) = after.holders.get(holder) {
        sqlx::query::<Any>(
            "INSERT INTO rate_holders (holder, sequence, renewed_at_us) VALUES ($1, $2, $3)
             ON CONFLICT (holder) DO UPDATE SET sequence = excluded.sequence, renewed_at_us = excluded.renewed_at_us",
        )
        .bind(holder.to_owned())
        .bind(to_db(own.sequence)?)
        .bind(own.renewed_at_us)
        .execute(&mut *connection)
        .await?;
    }
    for (limit, shares) in &after.limits {
        let (old, new) = (before.limits.get(limit), shares.get(holder));
        for gone in old.into_iter().flat_map(|old| old.keys()).filter(|holder| !shares.contains_key(*holder)) {
            sqlx::query::<Any>("DELETE FROM rate_shares WHERE limit_id = $1 AND holder = $2")
                .bind(limit.clone())
                .bind(gone.clone())
                .execute(&mut *connection)
                .await?;
        }
        if let Some(share) = new.filter(|new| old.and_then(|old| old.get(holder)) != Some(*new)) {
            upsert(connection, (limit, holder), share).await?;
        }
    }
    Ok(())
}

async fn upsert(connection: &mut AnyConnection, (limit, holder): (&str, &str), share: &Share) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO rate_shares (limit_id, holder, window_ms, share, used, needs, least, short_since_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (limit_id, holder) DO UPDATE SET window_ms = excluded.window_ms, share = excluded.share, used = excluded.used,
         needs = excluded.needs, least = excluded.least, short_since_us = excluded.short_since_us",
    )
    .bind(limit.to_owned())
    .bind(holder.to_owned())
    .bind(to_db(share.window_ms)?)
    .bind(to_db(share.share)?)
    .bind(to_db(share.used)?)
    .bind(to_db(share.needs)?)
    .bind(to_db(share.least)?)
    .bind(share.short_since_us)
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the limits of which a gateway holds a share and another one needs more than it has.
pub async fn contended(connection: &mut AnyConnection, holder: &str, now_us: i64) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT DISTINCT mine.limit_id FROM rate_shares short JOIN rate_shares mine ON mine.limit_id = short.limit_id
         JOIN rate_holders h ON h.holder = short.holder
         WHERE short.short_since_us IS NOT NULL AND short.holder <> $1 AND mine.holder = $1 AND h.renewed_at_us >= $2",
    );
    let rows = rows.bind(holder.to_owned()).bind(over_if_renewed_before_us(now_us, 0)).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("limit_id")).collect()
}

/// Returns the gateways that were renewed last before a time.
pub async fn silent(pool: &AnyPool, before_us: i64) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query::<Any>("SELECT holder FROM rate_holders WHERE renewed_at_us < $1");
    rows.bind(before_us).fetch_all(pool).await?.iter().map(|row| row.try_get("holder")).collect()
}

const OVER: &str = "SELECT s.window_ms FROM rate_holders h LEFT JOIN rate_shares s ON s.holder = h.holder WHERE h.holder = $1
    ORDER BY s.window_ms LIMIT 1";

/// Returns whether a silent gateway has a share that is over, or none at all.
pub async fn is_over(pool: &AnyPool, holder: &str, now_us: i64) -> Result<bool, sqlx::Error> {
    let Some(row) = sqlx::query::<Any>(OVER).bind(holder.to_owned()).fetch_optional(pool).await? else { return Ok(false) };
    let Some(window_ms) = row.try_get::<Option<i64>, _>("window_ms")? else { return Ok(true) };
    let before_us = over_if_renewed_before_us(now_us, from_db(window_ms)?);
    Ok(silent(pool, before_us).await?.iter().any(|silent| silent == holder))
}

/// Deletes the shares of a gateway that are over, and the gateway after its last one.
pub async fn delete_over(connection: &mut AnyConnection, holder: &str, now_us: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "DELETE FROM rate_shares WHERE holder = $1
         AND (SELECT renewed_at_us FROM rate_holders h WHERE h.holder = rate_shares.holder) < $2 - window_ms * 1000",
    )
    .bind(holder.to_owned())
    .bind(over_if_renewed_before_us(now_us, 0))
    .execute(&mut *connection)
    .await?;
    sqlx::query::<Any>(
        "DELETE FROM rate_holders WHERE holder = $1 AND renewed_at_us < $2 AND NOT EXISTS (SELECT 1 FROM rate_shares s WHERE s.holder = $1)",
    )
    .bind(holder.to_owned())
    .bind(over_if_renewed_before_us(now_us, 0))
    .execute(connection)
    .await?;
    Ok(())
}
