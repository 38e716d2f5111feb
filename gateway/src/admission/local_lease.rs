//! A lease as the gateway uses it: free money in one atomic, and holds taken by compare-and-set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::{Clock, LeaseId, Nanos};

/// A point in time, on the monotonic clock and on the calendar.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The monotonic time, for durations.
    pub instant: Instant,
    /// The calendar time in microseconds since 1970, for the windows of limits.
    pub civil_us: i64,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self { instant: Instant::now(), civil_us: clock.now_us() }
    }
}

/// The offset added to `free` of a closed lease, so that no hold can be taken from it.
const SHUT: i64 = i64::MIN / 2;

/// A lease as the gateway uses it. Invariant: `granted = returned + spent + free + held`.
#[derive(Debug)]
pub struct LocalLease {
    pub lease: LeaseId,
    free: AtomicI64,
    granted: AtomicI64,
    returned: AtomicI64,
    spent: AtomicI64,
    /// The start of the period that `usable_for_ms` measures.
    born: Instant,
    /// The milliseconds after `born` until which holds may be taken.
    usable_for_ms: AtomicU64,
    /// The end of the key's limit window, in microseconds since 1970.
    window_ends_at_us: AtomicI64,
}

/// Money reserved for one request.
#[derive(Debug)]
pub struct Hold {
    local_lease: Arc<LocalLease>,
    amount: Nanos,
}

impl LocalLease {
    /// Creates a lease to which nothing has been granted yet.
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

    /// Records the total that the ledger has granted, and the time until which it may be used.
    pub fn grant(&self, granted: Nanos, sent: Instant, ttl: Duration, window_ends_at_us: Option<i64>) {
        let before = self.granted.swap(granted.0, Ordering::AcqRel);
        // Holds stop one second before the ledger may take the lease back.
        let until = sent.saturating_duration_since(self.born) + ttl.saturating_sub(Duration::from_secs(1));
        self.usable_for_ms.store(u64::try_from(until.as_millis()).unwrap_or(0), Ordering::Release);
        self.window_ends_at_us.store(window_ends_at_us.unwrap_or(i64::MAX), Ordering::Release);
        self.free.fetch_add(granted.0 - before, Ordering::AcqRel);
    }

    /// Returns whether holds may be taken at this time.
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

    /// Returns the free amount.
    #[must_use]
    pub fn free(&self) -> Nanos {
        Nanos(self.free.load(Ordering::Acquire).max(0))
    }

    /// Returns the total that the ledger has granted.
    #[must_use]
    pub fn granted(&self) -> Nanos {
        Nanos(self.granted.load(Ordering::Acquire))
    }

    /// Returns the total that was returned to the ledger.
    #[must_use]
    pub fn returned(&self) -> Nanos {
        Nanos(self.returned.load(Ordering::Acquire))
    }

    /// Returns the total that was charged.
    #[must_use]
    pub fn spent(&self) -> Nanos {
        Nanos(self.spent.load(Ordering::Acquire))
    }

    /// Returns the sum of the holds. It is never too low, but concurrent changes may make it too high for a moment.
    #[must_use]
    pub fn held(&self) -> Nanos {
        let free = self.free.load(Ordering::Acquire);
        let free = if free < SHUT / 2 { free - SHUT } else { free };
        Nanos(self.granted().0 - self.returned().0 - self.spent().0 - free)
    }

    /// Takes free money, at most `most`, out of the lease to return it to the ledger.
    pub fn withdraw(&self, most: Nanos) {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > 0).then(|| free - free.min(most.0)));
        if let Ok(free) = taken {
            self.returned.fetch_add(free.min(most.0), Ordering::AcqRel);
        }
    }

    /// Closes the lease: no more holds are taken from it.
    pub fn shut(&self) {
        let shut = |free: i64| (free > SHUT / 2).then_some(free + SHUT);
        // The result is ignored, because closing a closed lease is harmless.
        let _before = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, shut);
    }
}

impl Hold {
    /// Returns the reserved amount.
    #[must_use]
    pub const fn amount(&self) -> Nanos {
        self.amount
    }

    /// Returns the lease that the hold is taken from.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        &self.local_lease.lease
    }

    /// Ends the hold: `cost` is spent, and the rest becomes free again.
    pub fn settle(mut self, cost: Nanos) {
        self.local_lease.spent.fetch_add(cost.0, Ordering::AcqRel);
        let held = std::mem::take(&mut self.amount);
        self.local_lease.free.fetch_add(held.0 - cost.0, Ordering::AcqRel);
    }
}

impl Drop for Hold {
    /// Frees the whole amount of a hold that was not settled, because its request left and spent nothing.
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
