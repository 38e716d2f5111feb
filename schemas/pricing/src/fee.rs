//! The fee for requests with an account's own provider key: a share of the list price.

use events::money::scaled;

/// The decimals of a percentage.
const DECIMALS: i32 = 6;
/// The number of parts of a list price.
pub(crate) const WHOLE: i128 = 100 * 1_000_000;

/// A share of the list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee(i128);

/// A text that is no percentage from 0 to 100.
#[derive(Debug, thiserror::Error)]
#[error("it must be a percentage from 0 to 100 with at most 6 decimals")]
pub struct BadFee;

impl Fee {
    pub const NONE: Self = Self(0);

    /// Reads a percentage such as `5` or `0.25`.
    ///
    /// # Errors
    /// Fails if it is no number from 0 to 100, or has more than 6 decimals.
    pub fn parse(percent: &str) -> Result<Self, BadFee> {
        let parts = scaled(percent, DECIMALS).map_err(|_| BadFee)?;
        if (0..=WHOLE).contains(&parts) { Ok(Self(parts)) } else { Err(BadFee) }
    }

    /// Returns the parts of [`WHOLE`].
    pub(crate) const fn share(self) -> i128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use events::{Nanos, Tokens, UnitPrices};

    use super::*;
    use crate::fee;

    #[test]
    fn a_fee_is_a_share_of_the_list_price_rounded_once_half_up() {
        let of = |percent: &str, input: u64| {
            let prices = UnitPrices { input: 1_000, ..UnitPrices::default() };
            fee(&Tokens { input, ..Tokens::default() }, &prices, Fee::parse(percent).unwrap())
        };
        assert_eq!((of("5", 20), of("5", 10), of("5", 9)), (Nanos(1), Nanos(1), Nanos(0)));
        assert_eq!((of("0.25", 1_000), of("0", 1_000), of("100", 7)), (Nanos(3), Nanos(0), Nanos(7)));
        for bad in ["", "-1", "100.1", "five", "0.0000001"] {
            assert!(Fee::parse(bad).is_err(), "{bad}");
        }
    }
}
