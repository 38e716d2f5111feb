//! The health of an endpoint: its recent answers, and its circuit breaker. Threads share it; a record is a short critical section.

pub mod window;
pub mod breaker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use breaker::{Breaker, Pass, RECENT_REQUESTS_MIN, Verdict};
pub use breaker::{BreakerChange, BreakerState, Cause, Opening};
use window::{Counts, Histogram, Ring};

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
/// The window of outages and of the breaker's failure rate.
pub const RECENT_US: i64 = 30 * SECOND_US;
/// An endpoint with so many failures in the recent window, and no more successes than failures, has an outage.
pub const OUTAGE_FAILURES_MIN: u32 = 2;
/// The window of percentiles.
const MEASURED_US: i64 = 30 * MINUTE_US;
/// Percentiles are computed again after this time.
const PERCENTILES_STALE_US: i64 = SECOND_US;

/// The end of one request, as far as the endpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    /// A fault of the provider: 5xx, timeout, no connection, an answer that is cut or malformed.
    Failed,
    /// 429. It is no outage.
    RateLimited {
        retry_after_us: Option<i64>,
    },
    /// A fault of the caller, a client that left, or a wrong credential: it says nothing about the endpoint.
    Neutral,
}

/// The figures of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub outcome: Outcome,
    /// The time to the first token, of a stream.
    pub ttft_us: Option<u64>,
    pub output_tokens: u64,
    /// The time from sending the request to the end of the answer.
    pub duration_us: u64,
}

impl Sample {
    /// Returns the sample of a request without an answer.
    #[must_use]
    pub const fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, ttft_us: None, output_tokens: 0, duration_us: 0 }
    }
}

/// Percentiles: so many percent of the requests do at least as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    pub p50: u64,
    pub p75: u64,
    pub p90: u64,
    pub p99: u64,
}

/// The number of attempts by their outcome, since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    pub succeeded: u64,
    pub failed: u64,
    pub rate_limited: u64,
    pub neutral: u64,
}

impl Attempts {
    const fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Failed => &mut self.failed,
            Outcome::RateLimited { .. } => &mut self.rate_limited,
            Outcome::Neutral => &mut self.neutral,
        };
        *count = count.saturating_add(1);
    }

    /// Returns each outcome as a code with its number.
    #[must_use]
    pub const fn by_outcome(&self) -> [(&'static str, u64); 4] {
        [("succeeded", self.succeeded), ("failed", self.failed), ("rate_limited", self.rate_limited), ("neutral", self.neutral)]
    }
}

/// The health of an endpoint at one time. The default is that of an endpoint without requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthView {
    pub breaker: BreakerState,
    /// The time and the reason of its opening; `None` while it is closed.
    pub opening: Option<Opening>,
    /// The ends of all attempts so far.
    pub attempts: Attempts,
    /// Whether at least half of the requests of the last 30 s failed, and more than one.
    pub has_outage: bool,
    /// Shares of successes in hundredths of a percent; `None` without requests.
    pub uptime_5m_bp: Option<u32>,
    pub uptime_30m_bp: Option<u32>,
    pub uptime_1d_bp: Option<u32>,
    /// Time to the first token over 30 minutes.
    pub ttft_us: Option<Percentiles>,
    /// Time to the end of the answer over 30 minutes.
    pub latency_us: Option<Percentiles>,
    /// Output tokens per second after the first token, in thousandths, over 30 minutes.
    pub throughput_milli: Option<Percentiles>,
}

/// The health of one endpoint, shared between threads.
#[derive(Debug)]
pub struct EndpointHealth(Mutex<State>);

#[derive(Debug)]
struct State {
    breaker: Breaker,
    attempts: Attempts,
    /// Slots of 1 s for 30 s.
    recent: Ring<Counts, 32>,
    /// Slots of 10 s for 5 minutes.
    minutes: Ring<Counts, 32>,
    /// Slots of 1 minute for 30 minutes.
    half_hour: Ring<Counts, 32>,
    /// Slots of 30 minutes for one day.
    day: Ring<Counts, 50>,
    /// Slots of 5 minutes for 30 minutes.
    figures: Box<Ring<Figures, 8>>,
    percentiles: CachedPercentiles,
}

#[derive(Debug, Clone, Default)]
struct Figures {
    ttft_us: Histogram,
    latency_us: Histogram,
    throughput_milli: Histogram,
}

#[derive(Debug, Clone, Copy, Default)]
struct CachedPercentiles {
    computed_us: Option<i64>,
    ttft_us: Option<Percentiles>,
    latency_us: Option<Percentiles>,
    throughput_milli: Option<Percentiles>,
}

/// The right to send one request to an endpoint. Dropped without a verdict, it frees its place for another probe.
#[derive(Debug)]
#[must_use = "dropping the permit releases the probe"]
pub struct Permit {
    health: Arc<EndpointHealth>,
    pass: Pass,
}

impl Default for EndpointHealth {
    fn default() -> Self {
        Self(Mutex::new(State {
            breaker: Breaker::default(),
            attempts: Attempts::default(),
            recent: Ring::new(SECOND_US),
            minutes: Ring::new(10 * SECOND_US),
            half_hour: Ring::new(MINUTE_US),
            day: Ring::new(30 * MINUTE_US),
            figures: Box::new(Ring::new(5 * MINUTE_US)),
            percentiles: CachedPercentiles::default(),
        }))
    }
}

impl EndpointHealth {
    /// Returns the right to send a request, unless the breaker is open or a probe is on its way.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, now_us: i64) -> Option<Permit> {
        let pass = self.state().breaker.try_pass(now_us)?;
        Some(Permit { health: Arc::clone(self), pass })
    }

    /// Records a request that was sent without a permit. It can open the breaker; only a probe's success closes it.
    #[must_use = "other gateways are to be told"]
    pub fn record(&self, now_us: i64, sample: &Sample) -> Option<BreakerChange> {
        self.state().record(now_us, Pass::Ordinary, sample)
    }

    /// Applies the report of another gateway, as a hint.
    pub fn apply_remote(&self, now_us: i64, change: BreakerChange) {
        self.state().breaker.apply_remote(now_us, change);
    }

    /// Closes the breaker and forgets the recent failures, on behalf of the operator.
    pub fn reset(&self) {
        let mut state = self.state();
        state.breaker.reset();
        state.recent.clear();
    }

    #[must_use]
    pub fn view(&self, now_us: i64) -> HealthView {
        self.state().view(now_us)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts are valid after every instruction, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.pass, Pass::Probe(_))
    }

    /// Records the end of the request. A change of the breaker is returned, so that other gateways can be told.
    #[must_use = "other gateways are to be told"]
    pub fn finish(self, now_us: i64, sample: &Sample) -> Option<BreakerChange> {
        self.health.state().record(now_us, self.pass, sample)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe() {
            self.health.state().breaker.release(self.pass);
        }
    }
}

impl State {
    fn record(&mut self, now_us: i64, pass: Pass, sample: &Sample) -> Option<BreakerChange> {
        self.attempts.add(sample.outcome);
        let verdict = match sample.outcome {
            Outcome::Succeeded => {
                self.count(now_us, true);
                self.measure(now_us, sample);
                Verdict::Succeeded
            }
            Outcome::Failed => {
                self.count(now_us, false);
                Verdict::Failed
            }
            Outcome::RateLimited { retry_after_us } => Verdict::RateLimited { retry_after_us },
            Outcome::Neutral => Verdict::Neutral,
        };
        let recent = if verdict == Verdict::Failed { self.recent(now_us) } else { Counts::default() };
        let has_failed_often = recent.total() >= RECENT_REQUESTS_MIN && recent.failed >= recent.succeeded;
        let change = self.breaker.judge(now_us, pass, verdict, has_failed_often);
        if change == Some(BreakerChange::Closed) {
            // The failures before the recovery must not open the breaker again.
            self.recent.clear();
        }
        change
    }

    fn count(&mut self, now_us: i64, is_success: bool) {
        let slots = [self.recent.slot(now_us), self.minutes.slot(now_us), self.half_hour.slot(now_us), self.day.slot(now_us)];
        slots.into_iter().flatten().for_each(|counts| counts.add(is_success));
    }

    fn measure(&mut self, now_us: i64, sample: &Sample) {
        let Some(figures) = self.figures.slot(now_us) else { return };
        if let Some(ttft_us) = sample.ttft_us {
            figures.ttft_us.add(ttft_us);
        }
        figures.latency_us.add(sample.duration_us);
        let generation_us = sample.duration_us.saturating_sub(sample.ttft_us.unwrap_or(0));
        let milli = sample.output_tokens.saturating_mul(1_000_000_000).checked_div(generation_us);
        if let Some(milli) = milli.filter(|_| sample.output_tokens > 0) {
            figures.throughput_milli.add(milli);
        }
    }

    fn recent(&self, now_us: i64) -> Counts {
        Counts::sum(self.recent.last(now_us, RECENT_US))
    }

    fn view(&mut self, now_us: i64) -> HealthView {
        let recent = self.recent(now_us);
        let is_fresh = |computed_us: i64| (0..PERCENTILES_STALE_US).contains(&now_us.saturating_sub(computed_us));
        if !self.percentiles.computed_us.is_some_and(is_fresh) {
            self.percentiles = self.percentiles(now_us);
        }
        HealthView {
            breaker: self.breaker.state(now_us),
            opening: self.breaker.opening(),
            attempts: self.attempts,
            has_outage: recent.failed >= OUTAGE_FAILURES_MIN && recent.failed >= recent.succeeded,
            uptime_5m_bp: Counts::sum(self.minutes.last(now_us, 5 * MINUTE_US)).uptime_bp(),
            uptime_30m_bp: Counts::sum(self.half_hour.last(now_us, 30 * MINUTE_US)).uptime_bp(),
            uptime_1d_bp: Counts::sum(self.day.last(now_us, 24 * 60 * MINUTE_US)).uptime_bp(),
            ttft_us: self.percentiles.ttft_us,
            latency_us: self.percentiles.latency_us,
            throughput_milli: self.percentiles.throughput_milli,
        }
    }

    fn percentiles(&self, now_us: i64) -> CachedPercentiles {
        let mut sum = Figures::default();
        for figures in self.figures.last(now_us, MEASURED_US) {
            sum.ttft_us.merge(&figures.ttft_us);
            sum.latency_us.merge(&figures.latency_us);
            sum.throughput_milli.merge(&figures.throughput_milli);
        }
        let named = |[p50, p75, p90, p99]: [u64; 4]| Percentiles { p50, p75, p90, p99 };
        CachedPercentiles {
            computed_us: Some(now_us),
            ttft_us: sum.ttft_us.quantiles([50, 75, 90, 99]).map(named),
            latency_us: sum.latency_us.quantiles([50, 75, 90, 99]).map(named),
            // High throughput is good: 90 % of the requests reach what 10 % do not.
            throughput_milli: sum.throughput_milli.quantiles([50, 25, 10, 1]).map(named),
        }
    }
}

#[cfg(test)]
mod tests;
