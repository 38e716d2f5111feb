//! How a purse is kept: when to fill it, how much to ask for, when to renew, what to give back, and who of those who wait is served.
//! Pure: the time comes from outside, and what is to be asked goes out as a value.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use events::ask::{AskLease, Denial, LeaseAnswer, LeaseStanding};
use events::{LeaseId, Nanos};

use super::purse::{Denied, Purse, Waiter};
use super::slice::{Hold, Moment, Slice};

/// How often a purse is looked at when nobody wakes its keeper.
pub const TICK: Duration = Duration::from_millis(200);
/// How long requests wait for a ledger that does not answer or is behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an unused slice is kept while the account has plenty left.
const IDLE_KEPT: Duration = Duration::from_secs(20);
/// Seconds of spending that a slice should last for.
const LASTS_S: i64 = 2;
/// An account has plenty when it could lend this many more such slices.
const PLENTY: i64 = 8;

/// The state of keeping one purse.
pub struct Keeping {
    /// The purse.
    pub purse: Arc<Purse>,
    holder: String,
    /// Slices that no hold is taken from any more, until their last hold ends.
    retiring: Vec<Arc<Slice>>,
    renew_at: Instant,
    used: Usage,
    plenty: bool,
    /// Since when those who wait are not served.
    unserved: Option<Instant>,
}

/// How much is used, to know how much is needed.
struct Usage {
    looked_at: Instant,
    spent: Nanos,
    /// Nano-USD a second, smoothed.
    rate: i64,
    /// The most that was held at once, slowly forgotten.
    held: i64,
    holds: u64,
    last_hold: Instant,
}

/// A question to the ledger that is on its way.
pub struct Asking {
    /// The question.
    pub question: AskLease,
    slice: Arc<Slice>,
    sent: Instant,
}

impl Keeping {
    /// Begins to keep a purse for a holder: the source of the gateway's boot.
    #[must_use]
    pub fn new(purse: Arc<Purse>, holder: String, now: Instant) -> Self {
        let used = Usage { looked_at: now, spent: Nanos::ZERO, rate: 0, held: 0, holds: 0, last_hold: now };
        Self { purse, holder, retiring: Vec::new(), renew_at: now, used, plenty: true, unserved: None }
    }

    /// Whether it has no slice, not even one whose last hold has to end, and nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.retiring.is_empty() && self.purse.slice().is_none() && self.purse.waiting().is_empty()
    }

    /// Measures how fast money goes.
    pub fn look(&mut self, now: Instant) {
        let elapsed_ms = i64::try_from(now.saturating_duration_since(self.used.looked_at).as_millis()).unwrap_or(i64::MAX);
        let Some(slice) = self.purse.slice() else { return };
        let holds = self.purse.holds.load(Ordering::Relaxed);
        if holds != self.used.holds {
            self.used.holds = holds;
            self.used.last_hold = now;
        }
        self.used.held = slice.held().0.max(self.used.held - self.used.held / 16);
        if elapsed_ms >= 100 {
            let spent = slice.spent().0.saturating_sub(self.used.spent.0).max(0);
            let rate = spent.saturating_mul(1_000) / elapsed_ms;
            self.used.rate = if rate > self.used.rate { rate } else { (self.used.rate * 7 + rate) / 8 };
            self.used.spent = slice.spent();
            self.used.looked_at = now;
        }
        let target = self.target();
        self.purse.low_water.store(target / 2, Ordering::Relaxed);
    }

    /// How much should be free: what lasts for some seconds, and as much again as was held at once.
    fn target(&self) -> i64 {
        self.used.rate.saturating_mul(LASTS_S).saturating_add(self.used.held)
    }

    /// What to ask for those who wait, when somebody does.
    pub fn for_waiting(&mut self, at: Moment, new_lease: impl FnOnce() -> LeaseId) -> Option<Asking> {
        let (least, most) = {
            let mut waiting = self.purse.waiting();
            waiting.retain(|waiter| !waiter.answer.is_closed());
            let first = waiting.front()?;
            (first.least, waiting.iter().map(|waiter| waiter.most).sum::<Nanos>())
        };
        Some(self.ask(least, most, at, new_lease))
    }

    /// What to ask with nobody waiting: fill up, give back what is too much, or renew. Retires what lies idle or has run out.
    pub fn tend(&mut self, at: Moment) -> Option<Asking> {
        let slice = self.purse.slice()?;
        let idle = at.instant.saturating_duration_since(self.used.last_hold);
        let is_idle = slice.held() <= Nanos::ZERO && idle > if self.plenty { IDLE_KEPT } else { TICK };
        if is_idle || !slice.is_usable(at) {
            self.retire(&slice);
            return None;
        }
        let (free, target) = (slice.free().0, self.target());
        let is_too_much = free > target.saturating_mul(4).max(1) && (!self.plenty || idle > Duration::from_secs(1)) && slice.held().0 > 0;
        if is_too_much {
            slice.withdraw(Nanos(free - target));
        }
        let is_due = free < target / 2 || is_too_much || at.instant >= self.renew_at;
        let lease = slice.lease.clone();
        is_due.then(|| self.ask(Nanos::ZERO, Nanos::ZERO, at, || lease))
    }

    /// What to ask to close slices that are not used any more and whose last hold has ended. Asked before anything else: what they give
    /// back may be what somebody waits for.
    pub fn closings(&mut self, at: Moment) -> Vec<Asking> {
        if let Some(slice) = self.purse.slice().filter(|slice| !slice.is_usable(at)) {
            self.retire(&slice);
        }
        let (done, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retiring).into_iter().partition(|slice| slice.held() <= Nanos::ZERO);
        self.retiring = still;
        let closing = |slice: Arc<Slice>| {
            let rest = Nanos(slice.granted().0 - slice.spent().0);
            Asking { question: self.question(&slice, rest, true, [Nanos::ZERO; 3]), slice, sent: at.instant }
        };
        done.into_iter().map(closing).collect()
    }

    /// The ledger has answered: grants are taken, and those who wait are served or refused. Gives back whether to ask again soon.
    pub fn answered(&mut self, asking: &Asking, answer: LeaseAnswer, at: Moment) -> bool {
        if asking.question.closing {
            return false;
        }
        let (slice, ttl) = (&asking.slice, Duration::from_millis(answer.ttl_ms));
        self.plenty = answer.available_nanos.0 / PLENTY > self.target().max(slice.held().0);
        match answer.standing {
            LeaseStanding::Open | LeaseStanding::Denied(_) => {
                slice.grant(answer.granted_nanos, asking.sent, ttl, answer.window_ends_at_us);
                self.renew_at = asking.sent + ttl / 3;
                self.purse.replace(Some(Arc::clone(slice)));
                self.unserved = None;
                self.hand_out(at);
            }
            LeaseStanding::Gone => self.retire(slice),
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

    /// The ledger has not answered. Gives back whether to ask again soon.
    pub fn failed(&mut self, asking: Asking, now: Instant) -> bool {
        if asking.question.closing {
            self.retiring.push(asking.slice);
            return false;
        }
        self.not_served(now)
    }

    /// Refuses those who wait when they have waited long enough.
    fn not_served(&mut self, now: Instant) -> bool {
        let since = *self.unserved.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return true;
        }
        self.unserved = None;
        let waiting = std::mem::take(&mut *self.purse.waiting());
        for waiter in waiting {
            tell(waiter, Err(Denied::Away));
        }
        false
    }

    /// Gives holds to those who wait, in order, as far as the money goes; the first may get less than it asked for.
    fn hand_out(&self, at: Moment) {
        let Some(slice) = self.purse.slice() else { return };
        let mut waiting = self.purse.waiting();
        while let Some(first) = waiting.front() {
            let hold = slice.hold(first.most, at).or_else(|| {
                let rest = slice.free();
                (rest >= first.least && rest > Nanos::ZERO).then(|| slice.hold(rest.min(first.most), at)).flatten()
            });
            let Some(hold) = hold else { return };
            if let Some(waiter) = waiting.pop_front() {
                tell(waiter, Ok(hold));
            }
        }
    }

    /// Refuses everybody who needs at least as much as was denied.
    fn deny(&self, denial: &Denial, now: Instant) {
        let mut waiting = self.purse.waiting();
        let Some(least) = waiting.front().map(|waiter| waiter.least) else { return };
        self.purse.remember(least, denial.clone(), now);
        let (denied, kept): (Vec<Waiter>, Vec<Waiter>) = waiting.drain(..).partition(|waiter| waiter.least >= least);
        waiting.extend(kept);
        drop(waiting);
        for waiter in denied {
            tell(waiter, Err(Denied::Money(denial.clone())));
        }
    }

    fn retire(&mut self, slice: &Arc<Slice>) {
        slice.shut();
        self.purse.replace(None);
        self.retiring.push(Arc::clone(slice));
        self.used.spent = Nanos::ZERO;
    }

    fn question(&self, slice: &Slice, returned: Nanos, closing: bool, [needed, preferred, wanted]: [Nanos; 3]) -> AskLease {
        AskLease {
            lease: slice.lease.clone(),
            account: self.purse.scope.account.clone(),
            key: self.purse.scope.key.as_ref().map(|(hash, _)| hash.clone()),
            key_revision: self.purse.scope.key.as_ref().map_or(0, |(_, revision)| *revision),
            holder: self.holder.clone(),
            free_nanos: slice.free(),
            needed_nanos: needed,
            preferred_nanos: preferred,
            wanted_nanos: wanted,
            returned_nanos: returned,
            spent_nanos: slice.spent(),
            closing,
        }
    }

    /// A question about the current slice, or about a new one.
    fn ask(&mut self, least: Nanos, most: Nanos, at: Moment, new_lease: impl FnOnce() -> LeaseId) -> Asking {
        let current = self.purse.slice().filter(|slice| slice.is_usable(at));
        if current.is_none()
            && let Some(old) = self.purse.slice()
        {
            self.retire(&old);
        }
        let slice = current.unwrap_or_else(|| Arc::new(Slice::new(new_lease(), at.instant)));
        let wanted = Nanos(self.target().saturating_add(most.0));
        let question = self.question(&slice, slice.returned(), false, [least, most, wanted]);
        Asking { question, slice, sent: at.instant }
    }
}

fn tell(waiter: Waiter, hold: Result<Hold, Denied>) {
    // When the client left while it waited, the hold comes back and gives its money back.
    drop(waiter.answer.send(hold));
}
