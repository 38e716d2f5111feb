//! Backpressure: while events arrive faster than the ledger and the projector take them over, requests wait before their admission. A
//! gateway that is only busy gets slower and refuses nothing. While the readers or NATS are down, waiting would not help: the spool fills at
//! full speed, which is what it is for.

use std::time::{Duration, Instant};

/// The wait at a full spool. It grows with the square of the fill level above the threshold.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The fill level up to which no request waits.
const THRESHOLD_MIN: f64 = 0.5;
/// The time without progress after which the readers count as down. A large batch may take a slow database seconds.
const STALLED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Backpressure {
    /// The fill level up to which no request waits now. A spool that filled during an outage drains without a wait.
    threshold: f64,
    /// The last progress of the readers, or the start.
    moved: Instant,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self { threshold: THRESHOLD_MIN, moved: Instant::now() }
    }
}

impl Backpressure {
    /// Notes that the readers have taken over events.
    pub(super) const fn note_progress(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Adapts to the fill level, from 0 to 1. Returns the level up to which no request waits from now on.
    pub(super) fn adapt(&mut self, level: f64, now: Instant) -> f64 {
        let threshold = if self.is_stalled(now) { level } else { self.threshold.min(level) };
        self.threshold = threshold.clamp(THRESHOLD_MIN, 1.0);
        self.threshold
    }

    /// Returns the time that a request waits before its admission at a fill level.
    pub(super) fn wait(&self, level: f64, now: Instant) -> Duration {
        if self.is_stalled(now) {
            return Duration::ZERO;
        }
        let above = ((level - self.threshold) / (1.0 - self.threshold).max(f64::EPSILON)).clamp(0.0, 1.0);
        WAIT_MAX.mul_f64(above * above)
    }

    fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved) >= STALLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFTEN: Duration = Duration::from_millis(50);

    /// Observes a series of fill levels, 50 ms apart, and returns the waits.
    fn waits(backpressure: &mut Backpressure, now: &mut Instant, levels: &[f64], has_progress: bool) -> Vec<u128> {
        let observe = |level: &f64| {
            *now += OFTEN;
            if has_progress {
                backpressure.note_progress(*now);
            }
            backpressure.adapt(*level, *now);
            backpressure.wait(*level, *now).as_millis()
        };
        levels.iter().map(observe).collect()
    }

    #[test]
    fn a_spool_that_fills_while_it_is_read_slows_requests_down() {
        let (mut backpressure, mut now) = (Backpressure::default(), Instant::now());
        assert_eq!(waits(&mut backpressure, &mut now, &[0.1, 0.4, 0.5, 0.625, 0.75, 1.0], true), [0, 0, 0, 62, 250, 1_000]);
        assert_eq!(waits(&mut backpressure, &mut now, &[0.75, 0.5, 0.2, 0.75], true), [250, 0, 0, 250], "it depends on the level alone");
    }

    #[test]
    fn a_spool_that_nobody_reads_fills_at_full_speed() {
        let (mut backpressure, mut now) = (Backpressure::default(), Instant::now());
        assert_eq!(waits(&mut backpressure, &mut now, &[0.5, 0.75], true), [0, 250]);
        assert_eq!(backpressure.wait(0.75, now + STALLED.saturating_sub(OFTEN)).as_millis(), 250);
        assert_eq!(backpressure.wait(0.75, now + STALLED).as_millis(), 0, "even if nobody adapts it");
        now += STALLED;
        assert_eq!(waits(&mut backpressure, &mut now, &[0.8, 0.9, 1.0], false), [0, 0, 0]);
    }

    #[test]
    fn a_spool_that_filled_during_an_outage_drains_without_a_wait() {
        let (mut backpressure, mut now) = (Backpressure::default(), Instant::now());
        assert_eq!(waits(&mut backpressure, &mut now, &[0.5], true), [0]);
        now += STALLED;
        assert_eq!(waits(&mut backpressure, &mut now, &[0.8], false), [0]);
        assert_eq!(waits(&mut backpressure, &mut now, &[0.8, 0.7, 0.6, 0.5], true), [0, 0, 0, 0]);
        assert_eq!(waits(&mut backpressure, &mut now, &[0.75], true), [250], "but when it fills again, requests wait");
        now += STALLED;
        assert_eq!(waits(&mut backpressure, &mut now, &[1.0], false), [0]);
        assert_eq!(waits(&mut backpressure, &mut now, &[1.0], true), [0], "a full spool has nothing above it");
    }
}
