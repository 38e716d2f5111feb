//! A sliding window: the sum of what was taken within the last minute or day.
//!
//! Amounts are kept by slots, a hundred milliseconds or ten minutes long. A slot counts until its last instant has left the window, so no
//! window of that length ever holds more than the limit; a place becomes free at most one slot later than an exact clock would say. A leaky
//! bucket needs less memory, but lets twice the limit pass within one window. The memory is bounded by the number of slots, 600 or 144, and
//! by the number of requests.

use std::collections::VecDeque;

/// What was taken within the last minute or day. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct Window {
    length_ms: u64,
    slot_ms: u64,
    /// The amounts by slot, the oldest first; amounts are more than 0.
    slots: VecDeque<(u64, u64)>,
    used: u64,
}

/// The place of an amount in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    slot: u64,
    amount: u64,
}

impl Taken {
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

impl Window {
    /// Returns an empty window of a minute.
    #[must_use]
    pub const fn minute() -> Self {
        Self { length_ms: 60_000, slot_ms: 100, slots: VecDeque::new(), used: 0 }
    }

    /// Returns an empty window of 24 hours.
    #[must_use]
    pub const fn day() -> Self {
        Self { length_ms: 24 * 3_600_000, slot_ms: 600_000, slots: VecDeque::new(), used: 0 }
    }

    #[must_use]
    pub const fn length_ms(&self) -> u64 {
        self.length_ms
    }

    /// Returns the sum within the window that ends now.
    pub fn used(&mut self, now_ms: u64) -> u64 {
        while let Some((slot, amount)) = self.slots.front().copied()
            && self.leaves_at_ms(slot) <= now_ms
        {
            self.used = self.used.saturating_sub(amount);
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
        self.used
    }

    /// Adds an amount, whatever the limit.
    pub fn take(&mut self, amount: u64, now_ms: u64) -> Taken {
        let slot = (now_ms / self.slot_ms).max(self.slots.back().map_or(0, |(last, _)| *last));
        if amount > 0 {
            match self.slots.back_mut().filter(|(last, _)| *last == slot) {
                Some((_, sum)) => *sum = sum.saturating_add(amount),
                None => self.slots.push_back((slot, amount)),
            }
            self.used = self.used.saturating_add(amount);
        }
        Taken { slot, amount }
    }

    /// Replaces an amount by another one at its own time. Nothing happens once it has left the window.
    pub fn correct(&mut self, taken: &mut Taken, amount: u64) {
        let place = self.slots.binary_search_by_key(&taken.slot, |(slot, _)| *slot);
        let before = std::mem::replace(&mut taken.amount, amount);
        let Ok(place) = place else { return };
        let Some((_, sum)) = self.slots.get_mut(place) else { return };
        *sum = sum.saturating_sub(before).saturating_add(amount);
        self.used = self.used.saturating_sub(before).saturating_add(amount);
        if *sum == 0 {
            self.slots.remove(place);
        }
    }

    /// Returns the time from which an amount fits below the limit, if nothing else is taken; the past if it fits already. `None` if it is
    /// larger than the limit.
    #[must_use]
    pub fn fits_at_ms(&self, amount: u64, limit: u64) -> Option<u64> {
        let allowed = limit.checked_sub(amount)?;
        let (mut left, mut at_ms) = (self.used, 0);
        for (slot, sum) in &self.slots {
            if left <= allowed {
                break;
            }
            left = left.saturating_sub(*sum);
            at_ms = self.leaves_at_ms(*slot);
        }
        Some(at_ms)
    }

    /// Returns the time at which the oldest amount leaves the window, or one that is taken now if there is none.
    #[must_use]
    pub fn oldest_leaves_at_ms(&self, now_ms: u64) -> u64 {
        self.leaves_at_ms(self.slots.front().map_or(now_ms / self.slot_ms, |(slot, _)| *slot))
    }

    const fn leaves_at_ms(&self, slot: u64) -> u64 {
        (slot + 1) * self.slot_ms + self.length_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_sliding_minute_has_more_than_the_limit_and_a_retry_passes(
            gaps in proptest::collection::vec(prop_oneof![Just(0_u64), 1..50_u64, 1..5_000_u64, 50_000..70_000_u64], 1..400),
            limit in 1..40_u64,
        ) {
            let (mut window, mut now_ms, mut passed) = (Window::minute(), 0, Vec::new());
            for gap in gaps {
                now_ms += gap;
                if window.used(now_ms) < limit {
                    window.take(1, now_ms);
                    passed.push(now_ms);
                    continue;
                }
                let at_ms = window.fits_at_ms(1, limit).unwrap();
                let exact = passed[passed.len() - usize::try_from(limit).unwrap()] + 60_000;
                prop_assert!(at_ms > now_ms && at_ms > exact && at_ms <= exact + 100, "{at_ms} {exact}");
                // The promised time is true, and not a millisecond too late.
                now_ms = at_ms - 1;
                prop_assert_eq!(window.used(now_ms), limit);
                now_ms = at_ms;
                prop_assert!(window.used(now_ms) < limit);
            }
            for (place, at_ms) in passed.iter().enumerate() {
                let within = passed[..=place].iter().filter(|other| **other + 60_000 > *at_ms).count();
                prop_assert!(u64::try_from(within).unwrap() <= limit);
            }
            prop_assert!(window.slots.len() <= 601);
        }
    }

    #[test]
    fn an_amount_is_corrected_at_its_own_time() {
        let mut window = Window::minute();
        let mut first = window.take(1_000, 50);
        window.take(10, 30_000);
        window.correct(&mut first, 40);
        assert_eq!((window.used(30_000), first.amount()), (50, 40));
        assert_eq!(window.used(60_150), 10, "the correction leaves together with its request");
        window.correct(&mut first, 7);
        assert_eq!(window.used(60_150), 10, "what has left is not corrected");
        let mut last = window.take(5, 60_200);
        window.correct(&mut last, 0);
        assert_eq!((window.used(60_200), window.slots.len()), (10, 1));
        assert_eq!(window.fits_at_ms(100, 50), None, "it never fits");
    }

    #[test]
    fn a_day_has_few_slots() {
        let mut window = Window::day();
        (0..100_000).for_each(|number| assert_eq!(window.take(1, number * 1_000).amount(), 1));
        assert!(window.used(100_000_000) <= 87_000 && window.slots.len() <= 146);
    }
}
