//! The time as an argument: a clock trait, the system's clock, and RFC 3339 texts with microseconds.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};

/// A clock that returns civil time in microseconds since 1970-01-01 UTC.
pub trait Clock: Send + Sync {
    /// Returns the time now, in microseconds since 1970-01-01 UTC.
    fn now_us(&self) -> i64;
}

/// The environment variable that moves [`SystemClock`] by a number of seconds, in builds with debug assertions only. It is for tests of the
/// change from one day to the next.
pub const SHIFT_VARIABLE: &str = "AROUTER_CLOCK_SHIFT";

static SHIFT_US: AtomicI64 = AtomicI64::new(0);

/// Moves [`SystemClock`]. Returns false in a release build, where the clock cannot be moved.
#[must_use]
pub fn shift(seconds: i64) -> bool {
    SHIFT_US.store(seconds.saturating_mul(1_000_000), Ordering::Relaxed);
    cfg!(debug_assertions)
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now_us(&self) -> i64 {
        let shift_us = if cfg!(debug_assertions) { SHIFT_US.load(Ordering::Relaxed) } else { 0 };
        Utc::now().timestamp_micros() + shift_us
    }
}

/// Formats a time as RFC 3339 with six decimals and `Z`, such as `2026-01-31T12:00:00.000001Z`; the epoch if it is out of chrono's range.
#[must_use]
pub fn rfc3339(time_us: i64) -> String {
    at(time_us).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Converts a microsecond count to civil time; the epoch if it is out of chrono's range.
#[must_use]
pub fn at(time_us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default()
}

/// Parses an RFC 3339 text into microseconds since 1970; `None` if it is malformed.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}
