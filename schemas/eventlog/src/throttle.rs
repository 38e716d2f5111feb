//! The throttle of retries: it backs off, and reports a lasting failure once a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The interval at which a lasting failure is reported.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// The first and the longest wait. A service that comes back is used within seconds.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// The state of an operation that is retried.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said_at: Option<Instant>,
    unsaid: u64,
    tries: u32,
}

impl Throttle {
    /// Creates a throttle without failures.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { said_at: None, unsaid: 0, tries: 0 }))
    }

    /// Records a failure. Returns the time to wait and, if the failure should be reported now, the number of unreported failures before it.
    pub fn failed(&self) -> (Duration, Option<u64>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = WAITS.0.saturating_mul(1 << state.tries.min(8)).min(WAITS.1);
        state.tries = state.tries.saturating_add(1);
        if state.said_at.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            state.unsaid += 1;
            return (wait, None);
        }
        state.said_at = Some(Instant::now());
        (wait, Some(std::mem::take(&mut state.unsaid)))
    }

    /// Records a success: after the next failure the wait is the first one again.
    pub fn succeeded(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_lasts_is_said_once_and_waited_for_ever_longer() {
        let throttle = Throttle::new();
        let all: Vec<_> = (0..10).map(|_| throttle.failed()).collect();
        assert_eq!(all[0], (WAITS.0, Some(0)));
        assert!(all[1..].iter().all(|(_, said)| said.is_none()));
        assert_eq!(all[9].0, WAITS.1);
        throttle.succeeded();
        assert_eq!(throttle.failed(), (WAITS.0, None));
    }
}
