//! A gateway's question about a lease: give back, extend, renew, close — in one transaction.

use events::Nanos;
use events::ask::{AskLease, Denial, LeaseAnswer, LeaseStanding, LimitSource};
use events::ledger::LeaseGranted;
use sqlx::AnyConnection;

use super::{Lease, State, TTL_US, repo, settle};
use crate::account::{self, Account};
use crate::books::{self, Kind, Movement};
use crate::key::repo::Window;
use crate::key::{self, Period};
use crate::outbox;
use crate::process::Ledger;

/// What bounds a grant besides the account's credit.
#[derive(Debug, Clone, Copy)]
struct KeyBound {
    limit: Nanos,
    window: Window,
    ends_at_us: Option<i64>,
}

/// Answers the question.
///
/// # Errors
/// When the database is away, or somebody else moved the account meanwhile: ask again.
pub async fn ask(ledger: &Ledger, ask: &AskLease) -> Result<LeaseAnswer, sqlx::Error> {
    let mut transaction = ledger.store.begin().await?;
    let answer = within(&mut transaction, ledger, ask).await?;
    transaction.commit().await?;
    Ok(answer)
}

async fn within(connection: &mut AnyConnection, ledger: &Ledger, ask: &AskLease) -> Result<LeaseAnswer, sqlx::Error> {
    let now_us = ledger.clock.now_us();
    let Some(account) = account::repo::find(connection, ask.account.as_str()).await? else {
        return Ok(without(LeaseStanding::Behind));
    };
    let bound = match &ask.key {
        None => None,
        Some(hash) => match key::repo::find(connection, hash.as_str(), &account.id).await? {
            Some(row) if row.revision >= ask.key_revision => Some((hash, row)),
            Some(_) | None => return Ok(without(LeaseStanding::Behind)),
        },
    };
    let window_now = bound.as_ref().map(|(hash, row)| (hash.to_string(), row.period, row.period.start_us(now_us)));
    let known = repo::find(connection, ask.lease.as_str()).await?;
    let mut lease = match known {
        Some(lease) if lease.state == State::Closed || (lease.state == State::Frozen && !ask.closing) => return Ok(gone(&lease, &account)),
        Some(lease) if lease.holder != ask.holder || lease.account != account.id => return Ok(without(LeaseStanding::Gone)),
        Some(lease) => lease,
        None if ask.closing => return Ok(without(LeaseStanding::Gone)),
        None => Lease {
            id: ask.lease.to_string(),
            account: account.id.clone(),
            window: window_now.clone(),
            holder: ask.holder.clone(),
            state: State::Open,
            granted: Nanos::ZERO,
            consumed: Nanos::ZERO,
            returned: Nanos::ZERO,
            spent: Nanos::ZERO,
            expires_at_us: 0,
        },
    };
    lease.expires_at_us = now_us + TTL_US;
    lease.spent = lease.spent.max(ask.spent_nanos);
    let back = lease.give_back(ask.returned_nanos);
    if ask.closing {
        lease.stop();
    }
    settle::book(connection, ledger, &lease, back).await?;
    if ask.closing {
        return Ok(gone(&lease, &account));
    }
    if lease.window != window_now {
        // The window turned, or the key's limit came, went or changed its period: another lease counts against the right window.
        return Ok(gone(&lease, &account));
    }
    let bound = match (&lease.window, bound) {
        (Some(window), Some((_, row))) => match row.limit {
            Some(limit) => Some(KeyBound { limit, window: key::repo::window(connection, window).await?, ends_at_us: window_end(window) }),
            None => None,
        },
        _ => None,
    };
    grant(connection, ledger, ask, lease, bound).await
}

/// Lends what is asked for, as far as account and key allow.
async fn grant(
    connection: &mut AnyConnection,
    ledger: &Ledger,
    ask: &AskLease,
    mut lease: Lease,
    bound: Option<KeyBound>,
) -> Result<LeaseAnswer, sqlx::Error> {
    let mut account = account::repo::find(connection, &lease.account).await?.ok_or(sqlx::Error::RowNotFound)?;
    let holders = repo::holders(connection, &account.id).await?.max(1);
    let ends_at_us = bound.and_then(|bound| bound.ends_at_us);
    let amount = decide(&account, bound, holders, ask);
    let denial = if amount.is_some() {
        None
    } else {
        let unposted = repo::unposted(connection, &account.id, None).await?;
        let unposted_in_window = repo::unposted(connection, &account.id, lease.window.as_ref()).await?;
        Some(denial(&account.after(unposted), bound.map(|bound| bound.after(unposted_in_window)), ask.needed_nanos))
    };
    let amount = amount.unwrap_or_default();
    if amount > Nanos::ZERO {
        let before = account.version;
        account.lend(amount);
        lease.granted = lease.granted.saturating_add(amount);
        account::repo::save(connection, &account, before).await?;
        repo::save(connection, &lease).await?;
        if let Some(window) = &lease.window {
            key::repo::add(connection, window, Nanos::ZERO, amount).await?;
        }
        books::write(connection, &[movement(ledger, &account, &lease, amount)]).await?;
        let granted = LeaseGranted {
            lease: ask.lease.clone(),
            account: ask.account.clone(),
            key: ask.key.clone(),
            amount_nanos: amount,
            granted_nanos: lease.granted,
        };
        outbox::write(connection, ledger, &account.id, &lease.id, &granted).await?;
    }
    Ok(LeaseAnswer {
        granted_nanos: lease.granted,
        ttl_ms: u64::try_from(TTL_US / 1_000).unwrap_or_default(),
        window_ends_at_us: ends_at_us,
        available_nanos: account.available,
        standing: denial.map_or(LeaseStanding::Open, LeaseStanding::Denied),
    })
}

/// How much to lend; `None` when not even the least is there. Whoever waits gets what they asked for in full if it is there, else all that is left if that is enough to go on;
/// headroom beyond that is at most half of an equal share, so that no gateway sits on the last of the credit.
fn decide(account: &Account, bound: Option<KeyBound>, holders: i64, ask: &AskLease) -> Option<Nanos> {
    let used = |window: Window| window.spent.saturating_add(window.held);
    let room =
        bound.map_or(account.available, |bound| account.available.min(bound.limit.saturating_sub(used(bound.window)))).max(Nanos::ZERO);
    let missing = |amount: Nanos| amount.saturating_sub(ask.free_nanos).max(Nanos::ZERO);
    let needed = missing(ask.needed_nanos);
    if room < needed {
        return None;
    }
    let share = Nanos(room.0 / (2 * holders));
    let headroom = missing(ask.wanted_nanos).min(share);
    Some(missing(ask.preferred_nanos).max(headroom).max(needed).min(room))
}

impl KeyBound {
    /// The same once what is on its way is posted.
    fn after(self, unposted: Nanos) -> Self {
        let Window { spent, held } = self.window;
        Self { window: Window { spent: spent.saturating_add(unposted), held: held.saturating_sub(unposted) }, ..self }
    }
}

/// Why there is no money: what could ever be free is told from what never can.
fn denial(account: &Account, bound: Option<KeyBound>, needed: Nanos) -> Denial {
    if let Some(bound) = bound {
        let free = bound.limit.saturating_sub(bound.window.spent);
        if free.saturating_sub(bound.window.held) < needed {
            let source = if free >= needed { LimitSource::InFlightBudget } else { LimitSource::KeyLimit };
            return Denial {
                source,
                limit_nanos: bound.limit,
                spent_nanos: bound.window.spent,
                held_nanos: bound.window.held,
                resets_at_us: bound.ends_at_us,
            };
        }
    }
    let source = if account.balance() >= needed { LimitSource::InFlightBudget } else { LimitSource::Credits };
    Denial { source, limit_nanos: account.bought, spent_nanos: account.spent, held_nanos: account.held, resets_at_us: None }
}

fn movement(ledger: &Ledger, account: &Account, lease: &Lease, amount: Nanos) -> Movement {
    Movement {
        id: ledger.ids.uuid(&*ledger.clock).to_string(),
        content_hash: String::new(),
        account: account.id.clone(),
        version: account.version,
        kind: Kind::LeaseGranted,
        amount: Nanos::ZERO,
        balance_after: account.balance(),
        description: String::new(),
        created_at_us: ledger.clock.now_us(),
        request: None,
        key_hash: None,
        lease: Some(lease.id.clone()),
        legs: vec![(books::credit(&account.id), Nanos(-amount.0)), (books::held(&account.id), amount)],
    }
}

fn window_end(window: &key::repo::WindowId) -> Option<i64> {
    let (_, period, starts): &(String, Period, i64) = window;
    period.end_us(*starts)
}

fn gone(lease: &Lease, account: &Account) -> LeaseAnswer {
    LeaseAnswer { granted_nanos: lease.granted, available_nanos: account.available, ..without(LeaseStanding::Gone) }
}

const fn without(standing: LeaseStanding) -> LeaseAnswer {
    LeaseAnswer { granted_nanos: Nanos::ZERO, ttl_ms: 0, window_ends_at_us: None, available_nanos: Nanos::ZERO, standing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(available: i64, held: i64) -> Account {
        Account {
            id: "a".into(),
            version: 0,
            available: Nanos(available),
            held: Nanos(held),
            spent: Nanos(0),
            bought: Nanos(available + held),
        }
    }

    fn ask(needed: i64, preferred: i64, wanted: i64) -> AskLease {
        AskLease {
            lease: "l".into(),
            account: "a".into(),
            key: None,
            key_revision: 0,
            holder: "g".into(),
            free_nanos: Nanos(0),
            needed_nanos: Nanos(needed),
            preferred_nanos: Nanos(preferred),
            wanted_nanos: Nanos(wanted),
            returned_nanos: Nanos(0),
            spent_nanos: Nanos(0),
            closing: false,
        }
    }

    #[test]
    fn headroom_is_half_an_equal_share_and_a_waiting_request_comes_first() {
        assert_eq!(decide(&account(100, 0), None, 1, &ask(1, 1, 1_000)), Some(Nanos(50)));
        assert_eq!(decide(&account(100, 0), None, 5, &ask(1, 1, 1_000)), Some(Nanos(10)));
        assert_eq!(decide(&account(100, 0), None, 5, &ask(1, 80, 1_000)), Some(Nanos(80)));
        assert_eq!(decide(&account(100, 0), None, 5, &ask(1, 800, 1_000)), Some(Nanos(100)));
        assert_eq!(decide(&account(100, 0), None, 5, &ask(0, 0, 0)), Some(Nanos(0)));
        assert_eq!(decide(&account(10, 0), None, 1, &ask(11, 11, 0)), None);
        assert_eq!(decide(&account(10, 5), None, 1, &AskLease { free_nanos: Nanos(5), ..ask(11, 12, 0) }), Some(Nanos(7)));
        assert_eq!(decide(&account(100, 0), bound(45, 0), 1, &ask(6, 6, 0)), None);
        assert_eq!(decide(&account(100, 0), bound(40, 5), 1, &ask(5, 100, 0)), Some(Nanos(5)));
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands where a key may have no limit")]
    fn bound(spent: i64, held: i64) -> Option<KeyBound> {
        Some(KeyBound { limit: Nanos(50), window: Window { spent: Nanos(spent), held: Nanos(held) }, ends_at_us: None })
    }

    #[test]
    fn the_three_denials_are_told_apart() {
        let source = |account: &Account, bound, needed| denial(account, bound, Nanos(needed)).source;
        assert_eq!(source(&account(10, 0), None, 11), LimitSource::Credits);
        assert_eq!(source(&account(10, 90), None, 11), LimitSource::InFlightBudget);
        assert_eq!(source(&account(10, 90).after(Nanos(90)), None, 11), LimitSource::Credits);
        assert_eq!(source(&account(100, 0), bound(45, 0), 6), LimitSource::KeyLimit);
        assert_eq!(source(&account(100, 0), bound(40, 5), 6), LimitSource::InFlightBudget);
        assert_eq!(source(&account(100, 0), bound(40, 5).map(|bound| bound.after(Nanos(5))), 6), LimitSource::KeyLimit);
    }
}
