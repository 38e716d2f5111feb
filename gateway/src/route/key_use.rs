//! The use of one provider key of an account: its requests of the last minute, and its spending by the list price.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::Datelike;
use events::Nanos;
use events::clock::at;
use events::provider_key::ProviderKey;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// The time after which the ledger is asked again for the spending, because other gateways may have added to it.
const STALE_US: i64 = 5 * SECOND_US;

/// The use of a key on this gateway.
#[derive(Debug, Default)]
pub struct KeyUse(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The second and the number of requests, for each of the last 60 seconds.
    seconds: Vec<(i64, u64)>,
    /// The spending in the running day and month.
    spent: [Spent; 2],
    /// The time at which the ledger told the spending.
    noted_us: Option<i64>,
}

/// The spending in one window. The greater of two lower bounds counts: what the ledger has posted, and what it had posted at first together
/// with what this gateway has added since.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    starts_at_us: i64,
    posted: Nanos,
    base: Nanos,
    added: Nanos,
}

impl Spent {
    fn roll(&mut self, starts_at_us: i64) {
        if self.starts_at_us != starts_at_us {
            *self = Self { starts_at_us, ..Self::default() };
        }
    }

    fn amount(self) -> Nanos {
        self.posted.max(self.base.saturating_add(self.added))
    }
}

impl KeyUse {
    /// Returns whether the key's rate and budgets allow another request.
    #[must_use]
    pub fn has_room(&self, key: &ProviderKey, now_us: i64) -> bool {
        self.state().has_room(key, now_us)
    }

    /// Counts a request, unless the key's rate or budgets forbid it.
    #[must_use]
    pub fn take(&self, key: &ProviderKey, now_us: i64) -> bool {
        let mut state = self.state();
        if !state.has_room(key, now_us) {
            return false;
        }
        let second = now_us.div_euclid(SECOND_US);
        state.seconds.retain(|(of, _)| *of > second - 60);
        match state.seconds.iter_mut().find(|(of, _)| *of == second) {
            Some((_, count)) => *count += 1,
            None => state.seconds.push((second, 1)),
        }
        true
    }

    /// Adds the list price of a request that was admitted at a time.
    pub fn add(&self, admitted_at_us: i64, list: Nanos) {
        let mut state = self.state();
        state.roll(admitted_at_us);
        for spent in &mut state.spent {
            spent.added = spent.added.saturating_add(list);
        }
    }

    /// Notes the spending of the running day and month as the ledger has posted it.
    pub fn note(&self, now_us: i64, posted: [Nanos; 2]) {
        let mut state = self.state();
        state.roll(now_us);
        let is_first = state.noted_us.is_none();
        state.noted_us = Some(now_us);
        for (spent, posted) in state.spent.iter_mut().zip(posted) {
            spent.posted = posted;
            if is_first {
                spent.base = posted;
            }
        }
    }

    /// Returns whether the ledger is to be asked for the spending.
    #[must_use]
    pub fn is_stale(&self, now_us: i64) -> bool {
        self.state().noted_us.is_none_or(|noted| now_us.saturating_sub(noted) >= STALE_US)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn roll(&mut self, now_us: i64) {
        let day = now_us.div_euclid(DAY_US).saturating_mul(DAY_US);
        let month = day.saturating_sub(i64::from(at(now_us).day0()).saturating_mul(DAY_US));
        for (spent, starts_at_us) in self.spent.iter_mut().zip([day, month]) {
            spent.roll(starts_at_us);
        }
    }

    fn has_room(&mut self, key: &ProviderKey, now_us: i64) -> bool {
        self.roll(now_us);
        let second = now_us.div_euclid(SECOND_US);
        let recent: u64 = self.seconds.iter().filter(|(of, _)| *of > second - 60).map(|(_, count)| count).sum();
        let budgets = [key.daily_budget_nanos, key.monthly_budget_nanos];
        // A budget that is not known to have room has none.
        let is_known = self.noted_us.is_some() || budgets.iter().all(Option::is_none);
        let is_within = self.spent.iter().zip(budgets).all(|(spent, budget)| budget.is_none_or(|budget| spent.amount() < budget));
        key.rpm_limit.is_none_or(|most| recent < most) && is_known && is_within
    }
}
