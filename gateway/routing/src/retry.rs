//! Waiting between tries, within one budget of tries and time.

use std::time::Duration;

use crate::seeded::Seeded;

/// The budget of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// The most tries, with the first one.
    pub tries_max: u32,
    /// The latest start of a try, after the start of the first one.
    pub total: Duration,
    /// The wait before the second try; each further one doubles it.
    pub delay_min: Duration,
    pub delay_max: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tries_max: 3, total: Duration::from_secs(10), delay_min: Duration::from_millis(100), delay_max: Duration::from_secs(5) }
    }
}

impl RetryBudget {
    /// Returns the wait before the next try, or `None` if the budget is exhausted. `tried` is the number of tries so far. The wait is drawn
    /// from the upper half of the back-off, and is at least the provider's `retry_after`.
    #[must_use]
    pub fn next_delay(&self, tried: u32, elapsed: Duration, seed: u64, retry_after: Option<Duration>) -> Option<Duration> {
        if tried >= self.tries_max {
            return None;
        }
        let doublings = tried.saturating_sub(1).min(31);
        let backoff = self.delay_min.saturating_mul(1 << doublings).min(self.delay_max);
        let half_us = backoff.as_micros() / 2;
        let jitter_us = u64::try_from(Seeded::new(seed).below(half_us + 1)).unwrap_or(u64::MAX);
        let drawn = (backoff / 2).saturating_add(Duration::from_micros(jitter_us)).min(backoff);
        let delay = retry_after.map_or(drawn, |least| drawn.max(least));
        elapsed.checked_add(delay).filter(|start| *start <= self.total).map(|_| delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter() {
        let budget = RetryBudget { tries_max: 10, ..RetryBudget::default() };
        for (tried, backoff_ms) in [(1, 100), (2, 200), (3, 400), (7, 5_000), (9, 5_000)] {
            let backoff = Duration::from_millis(backoff_ms);
            let waits: Vec<Duration> = (0..1_000).map(|seed| budget.next_delay(tried, Duration::ZERO, seed, None).unwrap()).collect();
            assert!(waits.iter().all(|wait| *wait >= backoff / 2 && *wait <= backoff), "{tried}");
            assert!(waits.iter().any(|wait| *wait < backoff * 6 / 10) && waits.iter().any(|wait| *wait > backoff * 9 / 10), "{tried}");
        }
    }

    #[test]
    fn the_budget_ends() {
        let budget = RetryBudget::default();
        let second = Duration::from_secs(1);
        assert_eq!(budget.next_delay(3, Duration::ZERO, 1, None), None);
        assert_eq!(budget.next_delay(1, second * 10, 1, None), None);
        assert_eq!(budget.next_delay(1, second, 1, Some(second * 9)), Some(second * 9));
        assert_eq!(budget.next_delay(1, second, 1, Some(second * 10)), None);
        assert_eq!(budget.next_delay(1, Duration::MAX, 1, Some(Duration::MAX)), None);
        assert_eq!(
            RetryBudget { tries_max: u32::MAX, ..budget }.next_delay(u32::MAX - 1, second, 1, None).map(|wait| wait <= second * 5),
            Some(true)
        );
    }
}
