//! The time as an argument: one trait, the system's clock, and RFC 3339 at microseconds.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};

/// Civil time in microseconds since 1970-01-01 UTC.
pub trait Clock: Send + Sync {
    /// The time now, in microseconds since 1970-01-01 UTC.
    fn now_us(&self) -> i64;
}

/// The environment variable that moves [`SystemClock`] by so many seconds, in builds with debug assertions only: for tests of what
/// happens when a day turns.
pub const SHIFT_VARIABLE: &str = "AROUTER_CLOCK_SHIFT";

static SHIFT_US: AtomicI64 = AtomicI64::new(0);

/// Moves [`SystemClock`]. False in a release build, where it cannot be moved.
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

/// RFC 3339 with six decimals and `Z`, such as `2026-01-31T12:00:00.000001Z`; the epoch when out of chrono's range.
#[must_use]
pub fn rfc3339(time_us: i64) -> String {
    at(time_us).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The civil time of a microsecond count; the epoch when out of chrono's range.
#[must_use]
pub fn at(time_us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default()
}

/// Microseconds of an RFC 3339 text, or `None` when it is not one.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}
