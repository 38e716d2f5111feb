//! What gateways are lent credit on.

use serde::Deserialize;

/// How long leases last, and what becomes of requests whose gateway never came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// How long a gateway may use a lease after asking, seconds.
    pub ttl_seconds: u32,
    /// How long the lease of a gateway that vanished stays frozen, seconds.
    pub frozen_seconds: u32,
    /// What its requests are charged that started and never ended.
    pub orphans: Orphans,
}

/// What a request is charged whose gateway never came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// What its last progress says was relayed.
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
    /// How long a gateway may use a lease after asking, microseconds.
    #[must_use]
    pub const fn ttl_us(self) -> i64 {
        self.ttl_seconds as i64 * 1_000_000
    }

    /// How long the lease of a gateway that vanished stays frozen, microseconds.
    #[must_use]
    pub const fn frozen_us(self) -> i64 {
        self.frozen_seconds as i64 * 1_000_000
    }
}
