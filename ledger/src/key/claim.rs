//! Claims of revisions: they serialize changes that several gateways make to one key, one account or the catalogue of models.

use std::time::Duration;

use eventlog::store::{from_db, to_db};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};
use sqlx::{Any, AnyConnection, Row};

use crate::process::Ledger;

/// The age from which an unused claim counts as abandoned: twice the time for which its owner may use it.
const ABANDONED: Duration = CLAIM_LASTS.saturating_mul(2);

/// Grants the next revision of a thing to a change that is based on the newest one.
pub async fn claim(ledger: &Ledger, claim: &ClaimRevision) -> Result<RevisionClaim, sqlx::Error> {
    let now_us = ledger.clock.now_us();
    let mut transaction = ledger.store.begin_exclusive().await?;
    let key = claim.key.to_string();
    let applied = sqlx::query::<Any>(
        "SELECT revision FROM keys WHERE hash = $1 UNION ALL SELECT revision FROM accounts WHERE id = $1
         UNION ALL SELECT revision FROM revisions WHERE name = $1",
    )
    .bind(key.clone())
    .fetch_optional(&mut *transaction)
    .await?;
    let applied: i64 = applied.map_or(Ok(0), |row| row.try_get("revision"))?;
    let claimed = sqlx::query::<Any>("SELECT revision, claimed_at_us FROM key_claims WHERE hash = $1")
        .bind(key.clone())
        .fetch_optional(&mut *transaction)
        .await?;
    let (claimed, at_us): (i64, i64) =
        claimed.map_or(Ok((0, 0)), |row| Ok::<_, sqlx::Error>((row.try_get("revision")?, row.try_get("claimed_at_us")?)))?;
    let known = to_db(claim.known)?;
    let Some(next) = next(known, claim.wins, applied, claimed, age(now_us, at_us)) else { return Ok(RevisionClaim::Behind) };
    sqlx::query::<Any>(
        "INSERT INTO key_claims (hash, revision, claimed_at_us) VALUES ($1, $2, $3)
         ON CONFLICT (hash) DO UPDATE SET revision = excluded.revision, claimed_at_us = excluded.claimed_at_us",
    )
    .bind(key)
    .bind(next)
    .bind(now_us)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(RevisionClaim::Granted { revision: from_db(next)? })
}

/// Notes an applied revision of a thing that has no table of its own.
pub async fn note(connection: &mut AnyConnection, name: &str, revision: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO revisions (name, revision) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET revision = excluded.revision WHERE excluded.revision > revisions.revision",
    )
    .bind(name.to_owned())
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(())
}

fn age(now_us: i64, at_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_us.saturating_sub(at_us)).unwrap_or(0))
}

/// Returns the revision for a change that is based on `known`; `None` if another change came first. `age` is the age of the last claim.
fn next(known: i64, wins: bool, applied: i64, claimed: i64, age: Duration) -> Option<i64> {
    let newest = applied.max(claimed);
    // A gateway may know a newer revision if the books lag behind the log or were restored from a backup.
    let is_newest = known >= newest;
    let is_abandoned = claimed > applied && known >= applied && age >= ABANDONED;
    (is_newest || is_abandoned || wins).then(|| known.max(newest).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_changes_of_one_state_one_is_granted() {
        assert_eq!(next(3, false, 3, 0, Duration::MAX), Some(4));
        assert_eq!(next(3, false, 3, 4, Duration::ZERO), None, "the other came first");
        assert_eq!(next(4, false, 3, 4, Duration::ZERO), Some(5), "it has recorded its change, and changes again before that was read");
        assert_eq!(next(3, false, 4, 4, Duration::MAX), None, "the other's change is there: it must be read first");
        assert_eq!(next(3, false, 3, 4, ABANDONED), Some(5), "the other died before it recorded anything");
        assert_eq!(next(1, true, 7, 9, Duration::ZERO), Some(10), "what wins comes behind all others");
        assert_eq!(next(9, false, 2, 0, Duration::ZERO), Some(10), "books that are behind");
    }
}
