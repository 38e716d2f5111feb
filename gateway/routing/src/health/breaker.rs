//! The circuit breaker as a state machine: closed, open, half-open, probing.

/// The breaker opens after so many failures in a row.
pub const CONSECUTIVE_FAILURES_MAX: u32 = 5;
/// The breaker opens if half of at least so many recent requests failed.
pub const RECENT_REQUESTS_MIN: u32 = 5;
/// The first back-off; each failed probe doubles it.
pub const BACKOFF_MIN_US: i64 = 1_000_000;
/// The longest wait between two probes: an endpoint that is well again is used within a minute, whenever it recovered.
pub const PROBE_WAIT_MAX_US: i64 = 30_000_000;
/// The longest time that a breaker stays open, as a `Retry-After` may ask.
pub const BACKOFF_MAX_US: i64 = 60_000_000;
/// A probe that takes longer is written off, and another one may start.
pub const PROBE_MAX_US: i64 = 60_000_000;
/// The longest time that another gateway's report keeps the breaker open. After it, this gateway asks the endpoint itself.
pub const REMOTE_MAX_US: i64 = 10_000_000;
/// The time after a successful probe of this gateway for which reports of others do not open the breaker.
pub const PROVEN_US: i64 = 60_000_000;

/// The state of a breaker at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BreakerState {
    #[default]
    Closed,
    /// No request is let through before this time.
    Open { until_us: i64 },
    /// The back-off is over; one request is let through as a probe.
    HalfOpen,
    /// A probe is on its way; no other request is let through.
    Probing,
}

/// The reason why a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// [`CONSECUTIVE_FAILURES_MAX`] failures in a row.
    FailedInARow,
    /// Half of the recent requests failed.
    FailedOften,
    ProbeFailed,
    /// The endpoint asked to be left alone for a while.
    RateLimited,
    /// A report of another gateway.
    Remote,
}

impl Cause {
    /// Returns the cause as a code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailedInARow => "failures_in_a_row",
            Self::FailedOften => "half_failed",
            Self::ProbeFailed => "probe_failed",
            Self::RateLimited => "rate_limited",
            Self::Remote => "other_gateway",
        }
    }
}

/// The beginning of the time in which a breaker is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The time at which it opened first.
    pub since_us: i64,
    /// The newest cause.
    pub cause: Cause,
}

/// A change of a breaker's state, to be told to other gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    Opened { until_us: i64 },
    Closed,
}

/// The verdict of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    Failed,
    /// The provider is alive, and wants no request for so long; `None` if it did not say for how long.
    RateLimited {
        retry_after_us: Option<i64>,
    },
    /// The request says nothing about the provider.
    Neutral,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Closed,
    /// Open until a time, half-open afterwards.
    Open {
        until_us: i64,
    },
    Probing {
        since_us: i64,
    },
}

/// A circuit breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    consecutive_failures: u32,
    /// The number of failed probes since the breaker was closed.
    failed_probes: u32,
    /// The number of the newest probe.
    probe: u64,
    /// The opening; `None` while the breaker is closed.
    opening: Option<Opening>,
    /// The time of the last successful probe of this gateway.
    proven_us: Option<i64>,
}

/// The right to send one request: an ordinary one, or the probe of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Ordinary,
    Probe(u64),
}

impl Breaker {
    #[must_use]
    pub fn state(&self, now_us: i64) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            // A time further away than the longest back-off comes from a clock that went back.
            State::Open { until_us } if now_us < until_us && until_us.saturating_sub(now_us) <= BACKOFF_MAX_US => {
                BreakerState::Open { until_us }
            }
            State::Probing { since_us } if now_us >= since_us && now_us.saturating_sub(since_us) < PROBE_MAX_US => BreakerState::Probing,
            State::Open { .. } | State::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns when and why the breaker opened, unless it is closed.
    #[must_use]
    pub const fn opening(&self) -> Option<Opening> {
        self.opening
    }

    /// Closes the breaker and forgets its failures.
    pub fn reset(&mut self) {
        *self = Self { probe: self.probe, proven_us: self.proven_us, ..Self::default() };
    }

    /// Lets a request through, or not.
    pub fn try_pass(&mut self, now_us: i64) -> Option<Pass> {
        match self.state(now_us) {
            BreakerState::Closed => Some(Pass::Ordinary),
            BreakerState::HalfOpen => {
                self.state = State::Probing { since_us: now_us };
                self.probe = self.probe.wrapping_add(1);
                Some(Pass::Probe(self.probe))
            }
            BreakerState::Open { .. } | BreakerState::Probing => None,
        }
    }

    /// Applies the verdict of a request. `has_failed_often` tells whether half of the recent requests failed, with this one. Late verdicts of
    /// ordinary requests do not change a breaker that is not closed.
    pub fn judge(&mut self, now_us: i64, pass: Pass, verdict: Verdict, has_failed_often: bool) -> Option<BreakerChange> {
        match (self.state, pass) {
            (State::Closed, Pass::Ordinary | Pass::Probe(_)) => self.judge_closed(now_us, verdict, has_failed_often),
            (State::Probing { .. }, Pass::Probe(number)) if number == self.probe => self.judge_probe(now_us, verdict),
            (State::Open { .. } | State::Probing { .. }, Pass::Ordinary | Pass::Probe(_)) => None,
        }
    }

    /// Makes a probe without a verdict void: another one may start at once.
    pub fn release(&mut self, pass: Pass) {
        if let (State::Probing { since_us }, Pass::Probe(number)) = (self.state, pass)
            && number == self.probe
        {
            self.state = State::Open { until_us: since_us };
        }
    }

    /// Applies the report of another gateway, which is only a hint: it opens a closed breaker for a short time, never prolongs an open one,
    /// and never contradicts a recent probe of this gateway. A running probe is not disturbed.
    pub fn apply_remote(&mut self, now_us: i64, change: BreakerChange) {
        match (self.state, change) {
            (State::Closed | State::Open { .. }, BreakerChange::Closed) => self.reset(),
            (State::Closed, BreakerChange::Opened { until_us }) if until_us > now_us && !self.is_proven(now_us) => {
                self.open(now_us, until_us.saturating_sub(now_us).min(REMOTE_MAX_US), Cause::Remote);
            }
            (State::Closed | State::Open { .. } | State::Probing { .. }, BreakerChange::Opened { .. })
            | (State::Probing { .. }, BreakerChange::Closed) => {}
        }
    }

    fn is_proven(&self, now_us: i64) -> bool {
        self.proven_us.is_some_and(|at_us| (0..PROVEN_US).contains(&now_us.saturating_sub(at_us)))
    }

    fn judge_closed(&mut self, now_us: i64, verdict: Verdict, has_failed_often: bool) -> Option<BreakerChange> {
        match verdict {
            Verdict::Succeeded => self.consecutive_failures = 0,
            Verdict::Failed => {
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                if self.consecutive_failures >= CONSECUTIVE_FAILURES_MAX {
                    return Some(self.open(now_us, BACKOFF_MIN_US, Cause::FailedInARow));
                }
                if has_failed_often {
                    return Some(self.open(now_us, BACKOFF_MIN_US, Cause::FailedOften));
                }
            }
            Verdict::RateLimited { retry_after_us: Some(wait_us) } => return Some(self.open(now_us, wait_us, Cause::RateLimited)),
            Verdict::RateLimited { retry_after_us: None } | Verdict::Neutral => {}
        }
        None
    }

    fn judge_probe(&mut self, now_us: i64, verdict: Verdict) -> Option<BreakerChange> {
        match verdict {
            Verdict::Succeeded => {
                self.reset();
                self.proven_us = Some(now_us);
                Some(BreakerChange::Closed)
            }
            Verdict::Failed => {
                self.failed_probes = self.failed_probes.saturating_add(1);
                let doubled = BACKOFF_MIN_US.checked_shl(self.failed_probes.min(16)).unwrap_or(PROBE_WAIT_MAX_US);
                Some(self.open(now_us, doubled.min(PROBE_WAIT_MAX_US), Cause::ProbeFailed))
            }
            Verdict::RateLimited { retry_after_us } => {
                Some(self.open(now_us, retry_after_us.unwrap_or(BACKOFF_MIN_US), Cause::RateLimited))
            }
            Verdict::Neutral => {
                self.state = State::Open { until_us: now_us };
                None
            }
        }
    }

    fn open(&mut self, now_us: i64, wait_us: i64, cause: Cause) -> BreakerChange {
        let until_us = now_us.saturating_add(wait_us.clamp(0, BACKOFF_MAX_US));
        self.state = State::Open { until_us };
        self.opening = Some(Opening { since_us: self.opening.map_or(now_us, |opening| opening.since_us), cause });
        BreakerChange::Opened { until_us }
    }
}
