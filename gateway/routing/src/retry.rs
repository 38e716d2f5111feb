//! Rounds of tries and the waits between them, within one budget of tries and time.

use std::time::Duration;

use crate::seeded::Seeded;

/// The budget of one request over all its candidates. A round tries each candidate once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// The most rounds, with the first one.
    pub rounds_max: u32,
    /// The most tries in all rounds together.
    pub tries_max: u32,
    /// The latest start of a further round, after the start of the first one.
    pub total: Duration,
    /// The wait before the second round; each further one doubles it.
    pub delay_min: Duration,
    pub delay_max: Duration,
}

/// The part of a budget that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub rounds: u32,
    pub tries: u32,
    pub elapsed: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            rounds_max: 2,
            tries_max: 20,
            total: Duration::from_secs(10),
            delay_min: Duration::from_millis(200),
            delay_max: Duration::from_secs(5),
        }
    }
}

impl RetryBudget {
    /// Returns the wait before the next round, or `None` if the budget is exhausted. The wait is drawn from the upper half of the back-off,
    /// and is at least the provider's `retry_after`.
    #[must_use]
    pub fn next_delay(&self, spent: Spent, seed: u64, retry_after: Duration) -> Option<Duration> {
        if spent.rounds >= self.rounds_max || spent.tries >= self.tries_max {
            return None;
        }
        let doublings = spent.rounds.saturating_sub(1).min(31);
        let backoff = self.delay_min.saturating_mul(1 << doublings).min(self.delay_max);
        let half_us = backoff.as_micros() / 2;
        let jitter_us = u64::try_from(Seeded::new(seed).below(half_us + 1)).unwrap_or(u64::MAX);
        let drawn = (backoff / 2).saturating_add(Duration::from_micros(jitter_us)).min(backoff);
        let delay = drawn.max(retry_after);
        spent.elapsed.checked_add(delay).filter(|start| *start <= self.total).map(|_| delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn spent(rounds: u32, elapsed: Duration) -> Spent {
        Spent { rounds, tries: rounds, elapsed }
    }

    #[test]
    fn waits_double_with_jitter() {
        let budget = RetryBudget { rounds_max: 10, ..RetryBudget::default() };
        for (rounds, backoff_ms) in [(1, 200), (2, 400), (3, 800), (7, 5_000), (9, 5_000)] {
            let backoff = Duration::from_millis(backoff_ms);
            let wait = |seed| budget.next_delay(spent(rounds, Duration::ZERO), seed, Duration::ZERO).unwrap();
            let waits: Vec<Duration> = (0..1_000).map(wait).collect();
            assert!(waits.iter().all(|wait| *wait >= backoff / 2 && *wait <= backoff), "{rounds}");
            assert!(waits.iter().any(|wait| *wait < backoff * 6 / 10) && waits.iter().any(|wait| *wait > backoff * 9 / 10), "{rounds}");
        }
    }

    #[test]
    fn the_budget_ends() {
        let budget = RetryBudget::default();
        let delay = |rounds, elapsed, retry_after| budget.next_delay(spent(rounds, elapsed), 1, retry_after);
        assert_eq!(delay(2, Duration::ZERO, Duration::ZERO), None, "two rounds are the most");
        assert_eq!(delay(1, SECOND * 10, Duration::ZERO), None);
        assert_eq!(delay(1, SECOND, SECOND * 9), Some(SECOND * 9));
        assert_eq!(delay(1, SECOND, SECOND * 10), None);
        assert_eq!(delay(1, Duration::MAX, Duration::MAX), None);
        assert_eq!(budget.next_delay(Spent { rounds: 1, tries: 20, elapsed: SECOND }, 1, Duration::ZERO), None, "20 tries are the most");
        let endless = RetryBudget { rounds_max: u32::MAX, ..budget };
        let last = Spent { rounds: u32::MAX - 1, tries: 1, elapsed: SECOND };
        assert_eq!(endless.next_delay(last, 1, Duration::ZERO).map(|wait| wait <= SECOND * 5), Some(true));
    }
}
