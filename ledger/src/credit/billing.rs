//! The terms of purchases: the fee on top of bought credit, and how long that credit lasts.

use events::Nanos;
use serde::Deserialize;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// Longer than any credit lasts; more days would leave the range of times.
const DAYS_MAX: u32 = 1_000_000;

/// The terms of purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Billing {
    /// Days after which bought credit expires; 0 = never.
    pub purchase_expires_days: u32,
    /// The fee on top of bought credit, in hundredths of a percent of it.
    pub fee_basis_points: u32,
}

impl Default for Billing {
    fn default() -> Self {
        Self { purchase_expires_days: 365, fee_basis_points: 0 }
    }
}

impl Billing {
    /// Returns the fee for a purchase, rounded half up to the nano; `None` if it is out of range.
    #[must_use]
    pub fn fee(self, amount: Nanos) -> Option<Nanos> {
        i64::try_from((i128::from(amount.0) * i128::from(self.fee_basis_points) + 5_000) / 10_000).ok().map(Nanos)
    }

    /// Returns the expiry of credit that is bought now, in microseconds since 1970.
    #[must_use]
    pub fn expires_at_us(self, now_us: i64) -> Option<i64> {
        (self.purchase_expires_days > 0).then(|| now_us + i64::from(self.purchase_expires_days.min(DAYS_MAX)) * DAY_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_rounded_half_up_and_never_wraps() {
        let billing = Billing { fee_basis_points: 550, ..Billing::default() };
        assert_eq!(billing.fee(Nanos(20_000_000_000)), Some(Nanos(1_100_000_000)));
        assert_eq!(Billing { fee_basis_points: 1, ..billing }.fee(Nanos(5_000)), Some(Nanos(1)), "half a nano");
        assert_eq!(Billing { fee_basis_points: 1, ..billing }.fee(Nanos(4_999)), Some(Nanos(0)));
        assert_eq!(Billing { fee_basis_points: 1_000_000, ..billing }.fee(Nanos(i64::MAX)), None);
    }
}
