//! The keeper of a purse: fills it before it is empty, gives back what lies idle, renews it, and serves those who wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eventlog::{AskError, Asker};
use events::Nanos;
use events::ask::{AskLease, Denial, LeaseAnswer, LeaseStanding};
use events::clock::Clock;
use events::ids::Ids;
use tokio_util::sync::CancellationToken;

use super::purse::{Denied, Purse, Waiter};
use super::slice::Slice;

/// How often the keeper looks when nobody wakes it.
const TICK: Duration = Duration::from_millis(200);
/// How long the ledger may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait before asking a ledger again that does not answer or is behind.
const RETRY: Duration = Duration::from_millis(20);
/// How long requests wait for a ledger that does not answer or is behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an unused slice is kept while the account has plenty left.
const IDLE_KEPT: Duration = Duration::from_secs(20);
/// Seconds of spending that a slice should last for.
const LASTS_S: i64 = 2;
/// An account has plenty when it could lend this many more such slices.
const PLENTY: i64 = 8;

/// Keeps one purse.
pub struct Keeper {
    purse: Arc<Purse>,
    ledger: Asker,
    holder: String,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// Slices that no hold is taken from any more, until their last hold ends.
    retiring: Vec<Arc<Slice>>,
    renew_at: Instant,
    used: Usage,
    plenty: bool,
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

/// What came of a question.
enum Answered {
    Open,
    Denied(Denial),
    Again,
    Away,
}

impl Keeper {
    /// The keeper of a purse.
    #[must_use]
    pub fn new(purse: Arc<Purse>, ledger: Asker, holder: String, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let now = Instant::now();
        let used = Usage { looked_at: now, spent: Nanos::ZERO, rate: 0, held: 0, holds: 0, last_hold: now };
        Self { purse, ledger, holder, clock, ids, retiring: Vec::new(), renew_at: now, used, plenty: true }
    }

    /// Keeps the purse until `stop`; then nothing is given back here, the end of the boot settles all of it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.look();
            let waiting = !self.purse.waiting().is_empty();
            if waiting {
                self.serve().await;
            } else {
                self.tend().await;
            }
            self.close_retired().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.purse.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Measures how fast money goes.
    fn look(&mut self) {
        let elapsed_ms = i64::try_from(self.used.looked_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let Some(slice) = self.purse.slice() else { return };
        let holds = self.purse.holds.load(Ordering::Relaxed);
        if holds != self.used.holds {
            self.used.holds = holds;
            self.used.last_hold = Instant::now();
        }
        self.used.held = slice.held().0.max(self.used.held - self.used.held / 16);
        if elapsed_ms >= 100 {
            let spent = slice.spent().0.saturating_sub(self.used.spent.0).max(0);
            let rate = spent.saturating_mul(1_000) / elapsed_ms;
            self.used.rate = if rate > self.used.rate { rate } else { (self.used.rate * 7 + rate) / 8 };
            self.used.spent = slice.spent();
            self.used.looked_at = Instant::now();
        }
        let target = self.target();
        self.purse.low_water.store(target / 2, Ordering::Relaxed);
    }

    /// How much should be free: what lasts for some seconds, and as much again as was held at once.
    fn target(&self) -> i64 {
        self.used.rate.saturating_mul(LASTS_S).saturating_add(self.used.held)
    }

    /// Serves those who wait, in order: everybody in full, else as much as there is, else the reason why not.
    async fn serve(&mut self) {
        let since = Instant::now();
        loop {
            let (least, most) = {
                let mut waiting = self.purse.waiting();
                waiting.retain(|waiter| !waiter.answer.is_closed());
                let Some(first) = waiting.front() else { return };
                (first.least, waiting.iter().map(|waiter| waiter.most).sum::<Nanos>())
            };
            match self.ask(least, most, false).await {
                Answered::Open => self.hand_out(),
                Answered::Denied(denial) => {
                    self.hand_out();
                    self.deny(&denial);
                }
                Answered::Again | Answered::Away if since.elapsed() < PATIENCE => tokio::time::sleep(RETRY).await,
                Answered::Again | Answered::Away => {
                    let waiting = std::mem::take(&mut *self.purse.waiting());
                    for waiter in waiting {
                        answer(waiter, Err(Denied::Away));
                    }
                    return;
                }
            }
        }
    }

    /// Gives holds to those who wait, in order, as far as the money goes; the first may get less than it asked for.
    fn hand_out(&self) {
        let Some(slice) = self.purse.slice() else { return };
        let now_us = self.clock.now_us();
        let mut waiting = self.purse.waiting();
        while let Some(first) = waiting.front() {
            let hold = slice.hold(first.most, now_us).or_else(|| {
                let rest = slice.free();
                (rest >= first.least && rest > Nanos::ZERO).then(|| slice.hold(rest.min(first.most), now_us)).flatten()
            });
            let Some(hold) = hold else { return };
            if let Some(waiter) = waiting.pop_front() {
                answer(waiter, Ok(hold));
            }
        }
    }

    /// Refuses everybody who needs at least as much as was denied.
    fn deny(&self, denial: &Denial) {
        let mut waiting = self.purse.waiting();
        let Some(least) = waiting.front().map(|waiter| waiter.least) else { return };
        self.purse.remember(least, denial.clone());
        let (denied, kept): (Vec<Waiter>, Vec<Waiter>) = waiting.drain(..).partition(|waiter| waiter.least >= least);
        waiting.extend(kept);
        drop(waiting);
        for waiter in denied {
            answer(waiter, Err(Denied::Money(denial.clone())));
        }
    }

    /// With nobody waiting: fill up, give back what is too much, renew, or close what lies idle.
    async fn tend(&mut self) {
        let Some(slice) = self.purse.slice() else { return };
        let idle = self.used.last_hold.elapsed();
        if slice.held() <= Nanos::ZERO && idle > if self.plenty { IDLE_KEPT } else { TICK } {
            self.retire(&slice);
            return;
        }
        if !slice.is_usable(self.clock.now_us()) {
            self.retire(&slice);
            return;
        }
        let (free, target) = (slice.free().0, self.target());
        if free < target / 2 {
            self.ask(Nanos::ZERO, Nanos::ZERO, false).await;
        } else if free > target.saturating_mul(4).max(1) && (!self.plenty || idle > Duration::from_secs(1)) && slice.held().0 > 0 {
            slice.withdraw(Nanos(free - target));
            self.ask(Nanos::ZERO, Nanos::ZERO, false).await;
        } else if Instant::now() >= self.renew_at {
            self.ask(Nanos::ZERO, Nanos::ZERO, false).await;
        }
    }

    fn retire(&mut self, slice: &Arc<Slice>) {
        slice.shut();
        self.purse.replace(None);
        self.retiring.push(Arc::clone(slice));
        self.used.spent = Nanos::ZERO;
    }

    /// Gives back what slices that are not used any more still have, once their last hold has ended.
    async fn close_retired(&mut self) {
        for slice in std::mem::take(&mut self.retiring) {
            let done = slice.held() <= Nanos::ZERO && {
                let rest = Nanos(slice.granted().0 - slice.spent().0);
                let question = self.question(&slice, rest, true, [Nanos::ZERO; 3]);
                self.ledger.ask(&question, ASK_TIMEOUT).await.is_ok()
            };
            if !done {
                self.retiring.push(slice);
            }
        }
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

    /// Asks the ledger for the current slice, or for a new one.
    async fn ask(&mut self, least: Nanos, most: Nanos, closing: bool) -> Answered {
        let current = self.purse.slice().filter(|slice| slice.is_usable(self.clock.now_us()));
        if current.is_none()
            && let Some(old) = self.purse.slice()
        {
            self.retire(&old);
        }
        let slice = current.unwrap_or_else(|| Arc::new(Slice::new(self.ids.lease(&*self.clock))));
        let wanted = Nanos(self.target().saturating_add(most.0));
        let question = self.question(&slice, slice.returned(), closing, [least, most, wanted]);
        let sent = Instant::now();
        match self.ledger.ask(&question, ASK_TIMEOUT).await {
            Ok(answer) => self.take(&slice, answer, sent),
            Err(AskError::Away(_)) => Answered::Away,
            Err(AskError::Refused(_, reason)) => {
                tracing::warn!(account = %self.purse.scope.account, reason, "no lease: {reason}");
                Answered::Away
            }
        }
    }

    fn take(&mut self, slice: &Arc<Slice>, answer: LeaseAnswer, sent: Instant) -> Answered {
        let (ttl, window) = (Duration::from_millis(answer.ttl_ms), answer.window_ends_at_us);
        self.plenty = answer.available_nanos.0 / PLENTY > self.target().max(slice.held().0);
        match answer.standing {
            LeaseStanding::Open | LeaseStanding::Denied(_) => {
                slice.grant(answer.granted_nanos, sent, ttl, window);
                self.renew_at = sent + ttl / 3;
                self.purse.replace(Some(Arc::clone(slice)));
            }
            LeaseStanding::Gone => self.retire(slice),
            LeaseStanding::Behind => {}
        }
        match answer.standing {
            LeaseStanding::Open => Answered::Open,
            LeaseStanding::Denied(denial) => Answered::Denied(denial),
            LeaseStanding::Gone | LeaseStanding::Behind => Answered::Again,
        }
    }
}

fn answer(waiter: Waiter, hold: Result<super::slice::Hold, Denied>) {
    if let Err(Ok(hold)) = waiter.answer.send(hold) {
        // The client left while it waited.
        hold.settle(Nanos::ZERO);
    }
}
