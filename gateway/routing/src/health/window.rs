//! Counts and distributions over sliding windows: rings of time slots of fixed memory.

/// A ring of `SLOTS` slots. A slot is cleared when its time comes round again.
#[derive(Debug, Clone)]
pub struct Ring<T, const SLOTS: usize> {
    slot_us: i64,
    slots: [(i64, T); SLOTS],
}

impl<T: Default, const SLOTS: usize> Ring<T, SLOTS> {
    #[must_use]
    pub fn new(slot_us: i64) -> Self {
        Self { slot_us: slot_us.max(1), slots: std::array::from_fn(|_| (i64::MIN, T::default())) }
    }

    /// Returns the current slot. A time before the slot's own, from a clock that went back, counts in the slot as it is.
    pub fn slot(&mut self, now_us: i64) -> Option<&mut T> {
        let number = now_us.div_euclid(self.slot_us);
        let place = usize::try_from(number.rem_euclid(i64::try_from(SLOTS).unwrap_or(1))).ok()?;
        let (at, slot) = self.slots.get_mut(place)?;
        if *at < number {
            (*at, *slot) = (number, T::default());
        }
        Some(slot)
    }

    /// Returns the slots of the last `window_us`, with the current one.
    pub fn last(&self, now_us: i64, window_us: i64) -> impl Iterator<Item = &T> {
        let newest = now_us.div_euclid(self.slot_us);
        let oldest = now_us.saturating_sub(window_us).div_euclid(self.slot_us);
        self.slots.iter().filter(move |(at, _)| *at > oldest && *at <= newest).map(|(_, slot)| slot)
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.slot_us);
    }
}

/// Counts of requests by their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub succeeded: u32,
    pub failed: u32,
}

impl Counts {
    pub fn add(&mut self, is_success: bool) {
        let count = if is_success { &mut self.succeeded } else { &mut self.failed };
        *count = count.saturating_add(1);
    }

    #[must_use]
    pub fn sum<'a>(counts: impl Iterator<Item = &'a Self>) -> Self {
        counts.fold(Self::default(), |sum, count| Self {
            succeeded: sum.succeeded.saturating_add(count.succeeded),
            failed: sum.failed.saturating_add(count.failed),
        })
    }

    #[must_use]
    pub const fn total(self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }

    /// Returns the share of successes in hundredths of a percent; `None` without requests.
    #[must_use]
    pub fn uptime_bp(self) -> Option<u32> {
        let share = (u64::from(self.succeeded) * 10_000).checked_div(u64::from(self.total()))?;
        u32::try_from(share).ok()
    }
}

/// Each octave has this many buckets, so that a value is known to a sixteenth.
const PER_OCTAVE: usize = 8;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
const BUCKETS: usize = 34 * PER_OCTAVE;

/// A distribution of values, counted in logarithmic buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Histogram {
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket_of(value)) {
            *count = count.saturating_add(1);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// Returns the values below which the given shares of all values lie, in percent; `None` without values.
    #[must_use]
    pub fn quantiles<const N: usize>(&self, percents: [u64; N]) -> Option<[u64; N]> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let quantile = |percent: u64| {
            let rank = (total * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let found = self.counts.iter().position(|count| {
                seen += u64::from(*count);
                seen >= rank
            });
            found.map_or(0, middle_of)
        };
        (total > 0).then(|| percents.map(quantile))
    }
}

fn bucket_of(value: u64) -> usize {
    let octave = value.max(1).ilog2();
    let Some(shift) = octave.checked_sub(OCTAVE_BITS) else { return usize::try_from(value).unwrap_or(0) };
    let within = usize::try_from(value >> shift).unwrap_or(0) % PER_OCTAVE;
    let first = usize::try_from(shift + 1).unwrap_or(0) * PER_OCTAVE;
    (first + within).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> u64 {
    let (octave, within) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
    let within = u64::try_from(within).unwrap_or(0);
    let Some(shift) = octave.checked_sub(1) else { return within };
    let low = (within + u64::try_from(PER_OCTAVE).unwrap_or(0)) << shift;
    low + (1_u64 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn windows_forget() {
        let mut ring: Ring<Counts, 8> = Ring::new(10);
        let failed = |ring: &Ring<Counts, 8>, now, window| Counts::sum(ring.last(now, window)).failed;
        ring.slot(5).unwrap().add(false);
        ring.slot(19).unwrap().add(false);
        assert_eq!((failed(&ring, 19, 20), failed(&ring, 25, 20), failed(&ring, 39, 20)), (2, 1, 0));
        ring.slot(85).unwrap().add(false);
        assert_eq!(failed(&ring, 85, 70), 1, "the slot of 5 is used again");
        ring.slot(5).unwrap().add(false);
        assert_eq!(failed(&ring, 85, 70), 2, "a clock that goes back clears nothing");
        ring.clear();
        assert_eq!(failed(&ring, 85, 70), 0);
    }

    #[test]
    fn buckets_hold_their_middle_and_an_eighth() {
        let mut seeded = Seeded::new(7);
        let values = (0..10_000).map(|_| seeded.number() >> 31 >> (seeded.number() % 33));
        for value in values.chain([0, 1, 7, 8, 15, 16, (1 << 33) - 1]) {
            let middle = middle_of(bucket_of(value));
            assert!(middle.abs_diff(value) <= value / 16 + u64::from(value >= 16), "{value} is shown as {middle}");
            assert_eq!(bucket_of(middle), bucket_of(value));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantiles([50]), None);
        (1..=1_000).for_each(|value| histogram.add(value * 1_000));
        for (found, exact) in histogram.quantiles([1, 50, 75, 90, 99]).unwrap().into_iter().zip([10, 500, 750, 900, 990]) {
            assert!(found.abs_diff(exact * 1_000) <= exact * 1_000 / 8, "{found} {exact}");
        }
    }
}
