//! The terms on which gateways borrow credit.

use serde::Deserialize;

/// The durations of leases and the rule for requests whose gateway never came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// The time for which a gateway may use a lease after a request, in seconds.
    pub ttl_seconds: u32,
    /// The time for which the lease of a vanished gateway stays frozen, in seconds.
    pub frozen_seconds: u32,
    /// The rule for requests of a vanished gateway that started and never ended.
    pub orphans: Orphans,
}

/// The charge for a request whose gateway never came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// The amount that its last progress event reports as relayed.
    ChargeProgress,
    /// Nothing.
    Release,
    /// The most that it could have cost.
    ChargeHold,
}

impl Default for Terms {
    fn default() -> Self {
        Self { ttl_seconds: 60, frozen_seconds: 15 * 60, orphans: Orphans::ChargeProgress }
    }
}

impl Terms {
    /// Returns the time for which a gateway may use a lease after a request, in microseconds.
    #[must_use]
    pub const fn ttl_us(self) -> i64 {
        self.ttl_seconds as i64 * 1_000_000
    }

    /// Returns the time for which the lease of a vanished gateway stays frozen, in microseconds.
    #[must_use]
    pub const fn frozen_us(self) -> i64 {
        self.frozen_seconds as i64 * 1_000_000
    }
}
