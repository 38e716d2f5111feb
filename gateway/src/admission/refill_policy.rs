//! The refill policy of a budget: it decides the time and amount of refills, renewals and returns, and which waiting requests are served.
//! It is pure: the time is passed in, and calls to the ledger are returned as values.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use events::rpc::{Denial, LeaseReply, LeaseRequest, LeaseStanding};
use events::{LeaseId, Nanos};

use super::budget::{Budget, Denied, Waiter};
use super::local_lease::{Hold, LocalLease, Moment};

/// The interval at which a budget is checked if its refiller is not woken.
pub const TICK: Duration = Duration::from_millis(200);
/// The longest time that requests wait for a ledger that is unavailable or behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for which an unused local lease is kept while the account has plenty of credit.
const IDLE_KEPT: Duration = Duration::from_secs(20);
/// The seconds of spending that a local lease should cover.
const LASTS_S: i64 = 2;
/// The number of further local leases of the current size that an account must be able to grant to have plenty of credit.
const PLENTY: i64 = 8;

/// The state of the refill policy for one budget.
pub struct RefillPolicy {
    pub budget: Arc<Budget>,
    holder: String,
    /// Closed local leases that wait for their last hold to end.
    retiring: Vec<Arc<LocalLease>>,
    renew_at: Instant,
    used: Usage,
    plenty: bool,
    /// The time since which waiting requests have not been served; `None` while they are.
    unserved: Option<Instant>,
}

/// The measured usage, from which the needed amount is derived.
struct Usage {
    measured_at: Instant,
    spent: Nanos,
    /// The smoothed spending rate in nano-USD per second.
    rate: i64,
    /// The peak of concurrently held money, which decays slowly.
    held: i64,
    holds: u64,
    last_hold: Instant,
}

/// A call to the ledger in progress.
pub struct LeaseCall {
    pub request: LeaseRequest,
    local_lease: Arc<LocalLease>,
    sent: Instant,
}

impl RefillPolicy {
    /// Creates the policy of a budget. The holder is the source of the gateway's boot.
    #[must_use]
    pub fn new(budget: Arc<Budget>, holder: String, now: Instant) -> Self {
        let used = Usage { measured_at: now, spent: Nanos::ZERO, rate: 0, held: 0, holds: 0, last_hold: now };
        Self { budget, holder, retiring: Vec::new(), renew_at: now, used, plenty: true, unserved: None }
    }

    /// Returns whether the budget has no local lease, not even a closing one, and no waiting requests.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.retiring.is_empty() && self.budget.local_lease().is_none() && self.budget.waiting().is_empty()
    }

    /// Measures the spending rate.
    pub fn measure(&mut self, now: Instant) {
        let elapsed_ms = i64::try_from(now.saturating_duration_since(self.used.measured_at).as_millis()).unwrap_or(i64::MAX);
        let Some(local_lease) = self.budget.local_lease() else { return };
        let holds = self.budget.holds.load(Ordering::Relaxed);
        if holds != self.used.holds {
            self.used.holds = holds;
            self.used.last_hold = now;
        }
        self.used.held = local_lease.held().0.max(self.used.held - self.used.held / 16);
        if elapsed_ms >= 100 {
            let spent = local_lease.spent().0.saturating_sub(self.used.spent.0).max(0);
            let rate = spent.saturating_mul(1_000) / elapsed_ms;
            self.used.rate = if rate > self.used.rate { rate } else { (self.used.rate * 7 + rate) / 8 };
            self.used.spent = local_lease.spent();
            self.used.measured_at = now;
        }
        let target = self.target();
        self.budget.low_water.store(target / 2, Ordering::Relaxed);
    }

    /// Returns the amount that should be free: the spending of some seconds, plus the peak of concurrent holds.
    fn target(&self) -> i64 {
        self.used.rate.saturating_mul(LASTS_S).saturating_add(self.used.held)
    }

    /// Returns the call that obtains money for the waiting requests; `None` if none waits.
    pub fn refill_for_waiters(&mut self, at: Moment, new_lease: impl FnOnce() -> LeaseId) -> Option<LeaseCall> {
        let (least, most) = {
            let mut waiting = self.budget.waiting();
            waiting.retain(|waiter| !waiter.answer.is_closed());
            let first = waiting.front()?;
            (first.least, waiting.iter().map(|waiter| waiter.most).sum::<Nanos>())
        };
        Some(self.lease_call(least, most, at, new_lease))
    }

    /// Returns the call to make while no request waits: refill, return of excess money, or renewal. Retires a local lease that is idle or
    /// expired.
    pub fn tick(&mut self, at: Moment) -> Option<LeaseCall> {
        let local_lease = self.budget.local_lease()?;
        let idle = at.instant.saturating_duration_since(self.used.last_hold);
        let is_idle = local_lease.held() <= Nanos::ZERO && idle > if self.plenty { IDLE_KEPT } else { TICK };
        if is_idle || !local_lease.is_usable(at) {
            self.retire(&local_lease);
            return None;
        }
        let (free, target) = (local_lease.free().0, self.target());
        let is_too_much =
            free > target.saturating_mul(4).max(1) && (!self.plenty || idle > Duration::from_secs(1)) && local_lease.held().0 > 0;
        if is_too_much {
            local_lease.withdraw(Nanos(free - target));
        }
        let is_due = free < target / 2 || is_too_much || at.instant >= self.renew_at;
        let lease = local_lease.lease.clone();
        is_due.then(|| self.lease_call(Nanos::ZERO, Nanos::ZERO, at, || lease))
    }

    /// Returns the calls that close retired local leases whose last hold has ended. They go first, because the money that they return may
    /// be what a request waits for.
    pub fn closings(&mut self, at: Moment) -> Vec<LeaseCall> {
        if let Some(local_lease) = self.budget.local_lease().filter(|local_lease| !local_lease.is_usable(at)) {
            self.retire(&local_lease);
        }
        let (done, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retiring).into_iter().partition(|local_lease| local_lease.held() <= Nanos::ZERO);
        self.retiring = still;
        let closing = |local_lease: Arc<LocalLease>| {
            let rest = Nanos(local_lease.granted().0 - local_lease.spent().0);
            LeaseCall { request: self.request(&local_lease, rest, true, [Nanos::ZERO; 3]), local_lease, sent: at.instant }
        };
        done.into_iter().map(closing).collect()
    }

    /// Handles a reply of the ledger: applies grants, then serves or denies waiting requests. Returns whether to call again soon.
    pub fn answered(&mut self, call: &LeaseCall, answer: LeaseReply, at: Moment) -> bool {
        if call.request.closing {
            return false;
        }
        let (local_lease, ttl) = (&call.local_lease, Duration::from_millis(answer.ttl_ms));
        self.plenty = answer.available_nanos.0 / PLENTY > self.target().max(local_lease.held().0);
        match answer.standing {
            LeaseStanding::Open | LeaseStanding::Denied(_) => {
                local_lease.grant(answer.granted_nanos, call.sent, ttl, answer.window_ends_at_us);
                self.renew_at = call.sent + ttl / 3;
                self.budget.replace(Some(Arc::clone(local_lease)));
                self.unserved = None;
                self.hand_out(at);
            }
            LeaseStanding::Gone => self.retire(local_lease),
            LeaseStanding::Behind => {}
        }
        match answer.standing {
            LeaseStanding::Open => false,
            LeaseStanding::Denied(denial) => {
                self.deny(&denial, at.instant);
                false
            }
            LeaseStanding::Gone | LeaseStanding::Behind => self.not_served(at.instant),
        }
    }

    /// Handles a call without a reply. Returns whether to call again soon.
    pub fn failed(&mut self, call: LeaseCall, now: Instant) -> bool {
        if call.request.closing {
            self.retiring.push(call.local_lease);
            return false;
        }
        self.not_served(now)
    }

    /// Rejects the waiting requests if they have waited long enough; otherwise returns true to retry soon.
    fn not_served(&mut self, now: Instant) -> bool {
        let since = *self.unserved.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return true;
        }
        self.unserved = None;
        let waiting = std::mem::take(&mut *self.budget.waiting());
        for waiter in waiting {
            notify(waiter, Err(Denied::Away));
        }
        false
    }

    /// Gives holds to waiting requests in order, as far as the money lasts. A request may get less than its full amount.
    fn hand_out(&self, at: Moment) {
        let Some(local_lease) = self.budget.local_lease() else { return };
        let mut waiting = self.budget.waiting();
        while let Some(first) = waiting.front() {
            let hold = local_lease.hold(first.most, at).or_else(|| {
                let rest = local_lease.free();
                (rest >= first.least && rest > Nanos::ZERO).then(|| local_lease.hold(rest.min(first.most), at)).flatten()
            });
            let Some(hold) = hold else { return };
            if let Some(waiter) = waiting.pop_front() {
                notify(waiter, Ok(hold));
            }
        }
    }

    /// Denies every waiting request that needs at least as much as the first one.
    fn deny(&self, denial: &Denial, now: Instant) {
        let mut waiting = self.budget.waiting();
        let Some(least) = waiting.front().map(|waiter| waiter.least) else { return };
        self.budget.remember(least, denial.clone(), now);
        let (denied, kept): (Vec<Waiter>, Vec<Waiter>) = waiting.drain(..).partition(|waiter| waiter.least >= least);
        waiting.extend(kept);
        drop(waiting);
        for waiter in denied {
            notify(waiter, Err(Denied::Money(denial.clone())));
        }
    }

    fn retire(&mut self, local_lease: &Arc<LocalLease>) {
        local_lease.shut();
        self.budget.replace(None);
        self.retiring.push(Arc::clone(local_lease));
        self.used.spent = Nanos::ZERO;
    }

    fn request(&self, local_lease: &LocalLease, returned: Nanos, closing: bool, [needed, preferred, wanted]: [Nanos; 3]) -> LeaseRequest {
        LeaseRequest {
            lease: local_lease.lease.clone(),
            account: self.budget.scope.account.clone(),
            key: self.budget.scope.key.as_ref().map(|(hash, _)| hash.clone()),
            key_revision: self.budget.scope.key.as_ref().map_or(0, |(_, revision)| *revision),
            holder: self.holder.clone(),
            free_nanos: local_lease.free(),
            needed_nanos: needed,
            preferred_nanos: preferred,
            wanted_nanos: wanted,
            returned_nanos: returned,
            spent_nanos: local_lease.spent(),
            closing,
        }
    }

    /// Builds a call for the current local lease, or for a new one.
    fn lease_call(&mut self, least: Nanos, most: Nanos, at: Moment, new_lease: impl FnOnce() -> LeaseId) -> LeaseCall {
        let current = self.budget.local_lease().filter(|local_lease| local_lease.is_usable(at));
        if current.is_none()
            && let Some(old) = self.budget.local_lease()
        {
            self.retire(&old);
        }
        let local_lease = current.unwrap_or_else(|| Arc::new(LocalLease::new(new_lease(), at.instant)));
        let wanted = Nanos(self.target().saturating_add(most.0));
        let request = self.request(&local_lease, local_lease.returned(), false, [least, most, wanted]);
        LeaseCall { request, local_lease, sent: at.instant }
    }
}

fn notify(waiter: Waiter, hold: Result<Hold, Denied>) {
    // If the client left while it waited, the hold is dropped here and frees its money.
    drop(waiter.answer.send(hold));
}
