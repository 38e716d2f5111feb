//! Lease requests of gateways: give back, extend, renew and close, in one transaction.

use events::rpc::{Denial, LeaseReply, LeaseRequest, LeaseStanding, LimitSource};
use events::{Failpoint, Nanos, failpoint};

use super::{Lease, State};
use crate::account::Account;
use crate::byok;
use crate::decide::{self, Command, Reply};
use crate::key::Period;
use crate::key::repo::{Window, WindowId};
use crate::process::Ledger;

/// The key's limit, which bounds a grant in addition to the account's credit.
#[derive(Debug, Clone, Copy)]
struct KeyBound {
    limit: Nanos,
    window: Window,
    ends_at_us: Option<i64>,
}

/// Executes a lease request.
///
/// # Errors
/// Returns `RowNotFound` if another process changed the account concurrently; the caller retries.
pub async fn grant(ledger: &Ledger, request: &LeaseRequest) -> Result<LeaseReply, sqlx::Error> {
    let mut transaction = ledger.store.begin_shared().await?;
    let now_us = ledger.clock.now_us();
    let mut state = ledger.state();
    state.load_lease_request(&mut transaction, request, now_us).await?;
    let mut answer = match state.apply(&Command::Lease(request.clone()), now_us) {
        Reply::Lease(answer) => answer,
        Reply::Credit(_) | Reply::Done => without(LeaseStanding::Gone),
    };
    if !request.closing {
        answer.byok = Some(byok::month(&mut transaction, request.account.as_str(), now_us).await?);
    }
    state.save(&mut transaction, ledger).await?;
    failpoint(Failpoint::LeaseSaved);
    transaction.commit().await?;
    failpoint(Failpoint::LeaseCommitted);
    Ok(answer)
}

impl decide::State {
    pub(crate) fn lease(&mut self, request: &LeaseRequest, now_us: i64) -> LeaseReply {
        let Some(account) = self.accounts.get(request.account.as_str()) else {
            return without(LeaseStanding::Behind);
        };
        let account_id = account.id.clone();
        let window_now = match &request.key {
            None => None,
            Some(hash) => match self.keys.get(hash.as_str()) {
                Some(row) if row.revision >= request.key_revision => Some((hash.to_string(), row.period, row.period.start_us(now_us))),
                Some(_) | None => return without(LeaseStanding::Behind),
            },
        };
        let mut lease = match self.leases.get(request.lease.as_str()) {
            Some(lease) if lease.state == State::Closed || (lease.state == State::Frozen && !request.closing) => return self.gone(lease),
            Some(lease) if lease.holder != request.holder || lease.account != account_id => return without(LeaseStanding::Gone),
            Some(lease) => lease.clone(),
            None if request.closing => return without(LeaseStanding::Gone),
            None => Lease::new(request.lease.as_str(), &account_id, window_now.clone(), &request.holder),
        };
        lease.expires_at_us = now_us + self.terms.ttl_us();
        lease.spent = lease.spent.max(request.spent_nanos);
        let back = lease.give_back(request.returned_nanos);
        if request.closing {
            lease.stop();
        }
        self.move_to_lease(&lease, Nanos(-back.0), now_us);
        // A lease counts against one window only. If the window ended, or the key's limit was added, removed or given another period, the
        // gateway needs a new lease.
        if request.closing || lease.window != window_now {
            let answer = self.gone(&lease);
            self.put_lease(lease);
            return answer;
        }
        self.grant(request, lease, now_us)
    }

    /// Lends the requested amount, as far as the account and the key allow.
    fn grant(&mut self, request: &LeaseRequest, mut lease: Lease, now_us: i64) -> LeaseReply {
        let bound = self.bound(&lease);
        let Some(account) = self.accounts.get(&lease.account) else { return without(LeaseStanding::Behind) };
        let amount = grant_amount(account, bound, self.other_leases.holders + 1, request);
        let denial = amount.is_none().then(|| {
            let own = lease.unposted();
            let bound = bound.map(|bound| bound.after(self.other_leases.unposted_in_window.saturating_add(own)));
            denial(&account.after(self.other_leases.unposted.saturating_add(own)), bound, request.needed_nanos)
        });
        let amount = amount.unwrap_or_default();
        if amount > Nanos::ZERO {
            lease.granted = lease.granted.saturating_add(amount);
            self.move_to_lease(&lease, amount, now_us);
        }
        let answer = LeaseReply {
            granted_nanos: lease.granted,
            ttl_ms: u64::from(self.terms.ttl_seconds) * 1_000,
            window_ends_at_us: bound.and_then(|bound| bound.ends_at_us),
            available_nanos: self.available(&lease),
            byok: None,
            standing: denial.map_or(LeaseStanding::Open, LeaseStanding::Denied),
        };
        self.put_lease(lease);
        answer
    }

    /// Returns the bound that the key's limit sets; `None` if the key has no limit.
    fn bound(&self, lease: &Lease) -> Option<KeyBound> {
        let window = lease.window.as_ref()?;
        let limit = self.keys.get(&window.0)?.limit?;
        Some(KeyBound { limit, window: self.windows.get(window).copied().unwrap_or_default(), ends_at_us: window_end(window) })
    }

    fn available(&self, lease: &Lease) -> Nanos {
        self.accounts.get(&lease.account).map_or(Nanos::ZERO, |account| account.available)
    }

    fn gone(&self, lease: &Lease) -> LeaseReply {
        LeaseReply { granted_nanos: lease.granted, available_nanos: self.available(lease), ..without(LeaseStanding::Gone) }
    }
}

/// Returns the amount to lend; `None` if not even the needed minimum is available.
/// Waiting requests get their preferred amount in full, or all that is left if that covers the minimum. Headroom beyond that is at most
/// half of an equal share, so that no gateway holds the last of the credit.
fn grant_amount(account: &Account, bound: Option<KeyBound>, holders: i64, request: &LeaseRequest) -> Option<Nanos> {
    let used = |window: Window| window.counted().saturating_add(window.held);
    let room =
        bound.map_or(account.available, |bound| account.available.min(bound.limit.saturating_sub(used(bound.window)))).max(Nanos::ZERO);
    let missing = |amount: Nanos| amount.saturating_sub(request.free_nanos).max(Nanos::ZERO);
    let needed = missing(request.needed_nanos);
    if room < needed {
        return None;
    }
    let share = Nanos(room.0 / (2 * holders));
    let headroom = missing(request.wanted_nanos).min(share);
    Some(missing(request.preferred_nanos).max(headroom).max(needed).min(room))
}

impl KeyBound {
    /// Returns the bound as it will be after the unposted cost is posted.
    fn after(self, unposted: Nanos) -> Self {
        let Window { spent, held, .. } = self.window;
        Self { window: Window { spent: spent.saturating_add(unposted), held: held.saturating_sub(unposted), ..self.window }, ..self }
    }
}

/// Returns the reason for a denial: credit or limit is exhausted, or requests in flight hold the money.
fn denial(account: &Account, bound: Option<KeyBound>, needed: Nanos) -> Denial {
    if let Some(bound) = bound {
        let free = bound.limit.saturating_sub(bound.window.counted());
        if free.saturating_sub(bound.window.held) < needed {
            let source = if free >= needed { LimitSource::InFlightBudget } else { LimitSource::KeyLimit };
            return Denial {
                source,
                limit_nanos: bound.limit,
                spent_nanos: bound.window.counted(),
                held_nanos: bound.window.held,
                resets_at_us: bound.ends_at_us,
            };
        }
    }
    let source = if account.balance() >= needed { LimitSource::InFlightBudget } else { LimitSource::Credits };
    Denial { source, limit_nanos: account.credited, spent_nanos: account.spent, held_nanos: account.held, resets_at_us: None }
}

fn window_end(window: &WindowId) -> Option<i64> {
    let (_, period, starts): &(String, Period, i64) = window;
    period.end_us(*starts)
}

const fn without(standing: LeaseStanding) -> LeaseReply {
    LeaseReply { granted_nanos: Nanos::ZERO, ttl_ms: 0, window_ends_at_us: None, available_nanos: Nanos::ZERO, byok: None, standing }
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
            credited: Nanos(available + held),
        }
    }

    fn request(needed: i64, preferred: i64, wanted: i64) -> LeaseRequest {
        LeaseRequest {
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
        assert_eq!(grant_amount(&account(100, 0), None, 1, &request(1, 1, 1_000)), Some(Nanos(50)));
        assert_eq!(grant_amount(&account(100, 0), None, 5, &request(1, 1, 1_000)), Some(Nanos(10)));
        assert_eq!(grant_amount(&account(100, 0), None, 5, &request(1, 80, 1_000)), Some(Nanos(80)));
        assert_eq!(grant_amount(&account(100, 0), None, 5, &request(1, 800, 1_000)), Some(Nanos(100)));
        assert_eq!(grant_amount(&account(100, 0), None, 5, &request(0, 0, 0)), Some(Nanos(0)));
        assert_eq!(grant_amount(&account(10, 0), None, 1, &request(11, 11, 0)), None);
        assert_eq!(grant_amount(&account(10, 5), None, 1, &LeaseRequest { free_nanos: Nanos(5), ..request(11, 12, 0) }), Some(Nanos(7)));
        assert_eq!(grant_amount(&account(100, 0), bound(45, 0), 1, &request(6, 6, 0)), None);
        assert_eq!(grant_amount(&account(100, 0), bound(40, 5), 1, &request(5, 100, 0)), Some(Nanos(5)));
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands where a key may have no limit")]
    fn bound(spent: i64, held: i64) -> Option<KeyBound> {
        Some(KeyBound {
            limit: Nanos(50),
            window: Window { spent: Nanos(spent), held: Nanos(held), ..Window::default() },
            ends_at_us: None,
        })
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
