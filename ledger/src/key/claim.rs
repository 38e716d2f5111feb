//! Claims of revisions: they serialize changes that several gateways make to one key, one account or the catalogue of models.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::store::{from_db, placeholders, portions, to_db};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use crate::process::Ledger;

/// The age from which an unused claim counts as abandoned: twice the time for which its owner may use it.
const ABANDONED: Duration = CLAIM_LASTS.saturating_mul(2);

/// Grants the next revision of a thing to a change that is based on the newest one. Claims that arrive together share a transaction.
pub async fn claim(ledger: &Ledger, claim: &ClaimRevision) -> Result<RevisionClaim, sqlx::Error> {
    ledger.claims.run(claim.clone(), |claims| decide(ledger, claims)).await
}

async fn decide(ledger: &Ledger, claims: Vec<ClaimRevision>) -> Result<Vec<RevisionClaim>, sqlx::Error> {
    let now_us = ledger.clock.now_us();
    let mut transaction = ledger.store.begin_exclusive().await?;
    let mut states = states(&mut transaction, &claims).await?;
    let mut replies = Vec::with_capacity(claims.len());
    for claim in &claims {
        let state = states.entry(claim.key.as_str()).or_default();
        let next = next(to_db(claim.known)?, claim.wins, state.applied, state.claimed, age(now_us, state.claimed_at_us));
        if let Some(next) = next {
            (state.claimed, state.claimed_at_us, state.is_new) = (next, now_us, true);
        }
        replies.push(match next {
            Some(next) => RevisionClaim::Granted { revision: from_db(next)? },
            None => RevisionClaim::Behind,
        });
    }
    let granted: Vec<_> = states.into_iter().filter(|(_, state)| state.is_new).collect();
    for portion in portions(&granted) {
        let sql = format!(
            "INSERT INTO key_claims (hash, revision, claimed_at_us) VALUES {}
             ON CONFLICT (hash) DO UPDATE SET revision = excluded.revision, claimed_at_us = excluded.claimed_at_us",
            placeholders(&transaction, portion.len(), 3),
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (key, state) in portion {
            query = query.bind((*key).to_owned()).bind(state.claimed).bind(state.claimed_at_us);
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(replies)
}

/// The revisions of a thing.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The newest revision that was read from the log.
    applied: i64,
    /// The revision that was claimed last.
    claimed: i64,
    claimed_at_us: i64,
    /// The transaction has claimed a revision of it.
    is_new: bool,
}

/// Reads the revisions of the things that are claimed; one that is nowhere is absent.
async fn states<'a>(connection: &mut AnyConnection, claims: &'a [ClaimRevision]) -> Result<BTreeMap<&'a str, State>, sqlx::Error> {
    const APPLIED: [&str; 3] = [
        "SELECT hash, revision FROM keys WHERE hash",
        "SELECT id, revision FROM accounts WHERE id",
        "SELECT name, revision FROM revisions WHERE name",
    ];
    const CLAIMED: &str = "SELECT hash, revision, claimed_at_us FROM key_claims WHERE hash";
    let mut states: BTreeMap<&str, State> = claims.iter().map(|claim| (claim.key.as_str(), State::default())).collect();
    let names: Vec<String> = states.keys().map(|name| (*name).to_owned()).collect();
    for portion in portions(&names) {
        let list = placeholders(connection, 1, portion.len());
        for sql in APPLIED {
            for row in rows(connection, format!("{sql} IN {list}"), portion).await? {
                if let Some(state) = states.get_mut(row.try_get::<&str, _>(0)?) {
                    state.applied = state.applied.max(row.try_get(1)?);
                }
            }
        }
        for row in rows(connection, format!("{CLAIMED} IN {list}"), portion).await? {
            if let Some(state) = states.get_mut(row.try_get::<&str, _>(0)?) {
                (state.claimed, state.claimed_at_us) = (row.try_get(1)?, row.try_get(2)?);
            }
        }
    }
    Ok(states)
}

async fn rows(connection: &mut AnyConnection, sql: String, names: &[String]) -> Result<Vec<AnyRow>, sqlx::Error> {
    let query = names.iter().fold(sqlx::query::<Any>(AssertSqlSafe(sql)), |query, name| query.bind(name.clone()));
    query.fetch_all(connection).await
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
