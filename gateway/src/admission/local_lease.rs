//! A lease as the gateway uses it: free money in one atomic, holds taken by compare-and-set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::{Clock, LeaseId, Nanos};

/// A moment, on the clock that only goes forward and on the calendar.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For how long something lasts.
    pub instant: Instant,
    /// For windows: microseconds since 1970.
    pub civil_us: i64,
}

impl Moment {
    /// The moment on these clocks now.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self { instant: Instant::now(), civil_us: clock.now_us() }
    }
}

/// `free` of a local_lease from which nothing may be taken any more.
const SHUT: i64 = i64::MIN / 2;

/// A lease as the gateway uses it. `granted = returned + spent + free + held`.
#[derive(Debug)]
pub struct LocalLease {
    /// The lease.
    pub lease: LeaseId,
    free: AtomicI64,
    granted: AtomicI64,
    returned: AtomicI64,
    spent: AtomicI64,
    /// Since this moment `usable_for` counts.
    born: Instant,
    /// Milliseconds after `born` until which holds may be taken.
    usable_for_ms: AtomicU64,
    /// When the key's window ends, microseconds since 1970.
    window_ends_at_us: AtomicI64,
}

/// Money set aside for one request.
#[derive(Debug)]
pub struct Hold {
    local_lease: Arc<LocalLease>,
    amount: Nanos,
}

impl LocalLease {
    /// A lease that nothing was granted to yet.
    #[must_use]
    pub fn new(lease: LeaseId, now: Instant) -> Self {
        Self {
            lease,
            free: AtomicI64::new(0),
            granted: AtomicI64::new(0),
            returned: AtomicI64::new(0),
            spent: AtomicI64::new(0),
            born: now,
            usable_for_ms: AtomicU64::new(0),
            window_ends_at_us: AtomicI64::new(i64::MAX),
        }
    }

    /// Notes what the ledger has granted in total, and until when it may be used.
    pub fn grant(&self, granted: Nanos, sent: Instant, ttl: Duration, window_ends_at_us: Option<i64>) {
        let before = self.granted.swap(granted.0, Ordering::AcqRel);
        // A second before the ledger may take it back.
        let until = sent.saturating_duration_since(self.born) + ttl.saturating_sub(Duration::from_secs(1));
        self.usable_for_ms.store(u64::try_from(until.as_millis()).unwrap_or(0), Ordering::Release);
        self.window_ends_at_us.store(window_ends_at_us.unwrap_or(i64::MAX), Ordering::Release);
        self.free.fetch_add(granted.0 - before, Ordering::AcqRel);
    }

    /// Whether holds may be taken at this moment.
    #[must_use]
    pub fn is_usable(&self, at: Moment) -> bool {
        let age_ms = u64::try_from(at.instant.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX);
        age_ms < self.usable_for_ms.load(Ordering::Acquire) && at.civil_us < self.window_ends_at_us.load(Ordering::Acquire)
    }

    /// Takes a hold if that much is free.
    #[must_use]
    pub fn hold(self: &Arc<Self>, amount: Nanos, at: Moment) -> Option<Hold> {
        if !self.is_usable(at) {
            return None;
        }
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free >= amount.0).then_some(free - amount.0));
        taken.ok().map(|_| Hold { local_lease: Arc::clone(self), amount })
    }

    /// What is free.
    #[must_use]
    pub fn free(&self) -> Nanos {
        Nanos(self.free.load(Ordering::Acquire).max(0))
    }

    /// What the ledger has granted in total.
    #[must_use]
    pub fn granted(&self) -> Nanos {
        Nanos(self.granted.load(Ordering::Acquire))
    }

    /// What was given back in total.
    #[must_use]
    pub fn returned(&self) -> Nanos {
        Nanos(self.returned.load(Ordering::Acquire))
    }

    /// What was charged in total.
    #[must_use]
    pub fn spent(&self) -> Nanos {
        Nanos(self.spent.load(Ordering::Acquire))
    }

    /// What holds have taken. Never less than the truth, though for a moment it may be more.
    #[must_use]
    pub fn held(&self) -> Nanos {
        let free = self.free.load(Ordering::Acquire);
        let free = if free < SHUT / 2 { free - SHUT } else { free };
        Nanos(self.granted().0 - self.returned().0 - self.spent().0 - free)
    }

    /// Takes free money out, to be given back to the ledger; at most `most`.
    pub fn withdraw(&self, most: Nanos) {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > 0).then(|| free - free.min(most.0)));
        if let Ok(free) = taken {
            self.returned.fetch_add(free.min(most.0), Ordering::AcqRel);
        }
    }

    /// No hold is taken from it any more.
    pub fn shut(&self) {
        let shut = |free: i64| (free > SHUT / 2).then_some(free + SHUT);
        // Shut already is as good.
        let _before = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, shut);
    }
}

impl Hold {
    /// What is set aside.
    #[must_use]
    pub const fn amount(&self) -> Nanos {
        self.amount
    }

    /// The lease it is taken from.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        &self.local_lease.lease
    }

    /// Ends the hold: `cost` of it is spent, the rest is free again.
    pub fn settle(mut self, cost: Nanos) {
        self.local_lease.spent.fetch_add(cost.0, Ordering::AcqRel);
        let held = std::mem::take(&mut self.amount);
        self.local_lease.free.fetch_add(held.0 - cost.0, Ordering::AcqRel);
    }
}

impl Drop for Hold {
    /// Nothing was spent of a hold that nobody settled: whoever waited for it left.
    fn drop(&mut self) {
        self.local_lease.free.fetch_add(self.amount.0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(civil_us: i64) -> Moment {
        Moment { instant: Instant::now(), civil_us }
    }

    fn local_lease(granted: i64) -> Arc<LocalLease> {
        let local_lease = Arc::new(LocalLease::new("l".into(), Instant::now()));
        local_lease.grant(Nanos(granted), Instant::now(), Duration::from_mins(1), None);
        local_lease
    }

    #[test]
    fn racing_holds_never_take_more_than_was_granted() {
        let local_lease = local_lease(1_000);
        let taken: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| (0..1_000).filter_map(|_| local_lease.hold(Nanos(7), at(0))).map(|hold| hold.settle(Nanos(7))).count())
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000 / 7);
        assert_eq!((local_lease.spent(), local_lease.free(), local_lease.held()), (Nanos(994), Nanos(6), Nanos(0)));
    }

    #[test]
    fn a_repeated_grant_adds_nothing() {
        let local_lease = local_lease(100);
        local_lease.grant(Nanos(100), Instant::now(), Duration::from_mins(1), None);
        assert_eq!(local_lease.free(), Nanos(100));
    }

    #[test]
    fn a_shut_slice_gives_nothing_and_still_settles() {
        let local_lease = local_lease(100);
        let hold = local_lease.hold(Nanos(30), at(0)).unwrap();
        local_lease.shut();
        assert!(local_lease.hold(Nanos(1), at(0)).is_none());
        assert_eq!(local_lease.held(), Nanos(30));
        hold.settle(Nanos(10));
        assert_eq!((local_lease.held(), local_lease.spent()), (Nanos(0), Nanos(10)));
    }

    #[test]
    fn a_hold_that_nobody_settles_gives_its_money_back() {
        let local_lease = local_lease(100);
        drop(local_lease.hold(Nanos(30), at(0)));
        assert_eq!((local_lease.free(), local_lease.held(), local_lease.spent()), (Nanos(100), Nanos(0), Nanos(0)));
    }

    #[test]
    fn nothing_is_taken_after_its_time_or_its_window() {
        let local_lease = Arc::new(LocalLease::new("l".into(), Instant::now()));
        local_lease.grant(Nanos(10), Instant::now(), Duration::from_secs(1), None);
        assert!(local_lease.hold(Nanos(1), at(0)).is_none());
        local_lease.grant(Nanos(10), Instant::now(), Duration::from_mins(1), Some(5));
        assert!(local_lease.hold(Nanos(1), at(5)).is_none() && local_lease.hold(Nanos(1), at(4)).is_some());
    }
}
