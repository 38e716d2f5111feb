//! Two dimensions by which usage is summed together.

use super::Dimension;

/// Two dimensions that have rows in `usage_pairs`, for days and months. The first one has fewer values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub first: Dimension,
    pub second: Dimension,
}

impl Pair {
    /// All pairs without the user, but for model and key: `usage_mixes` has about as many rows as they would.
    pub const ALL: [Self; 5] = [
        Self { first: Dimension::Model, second: Dimension::Provider },
        Self { first: Dimension::Model, second: Dimension::App },
        Self { first: Dimension::Provider, second: Dimension::App },
        Self { first: Dimension::Provider, second: Dimension::Key },
        Self { first: Dimension::App, second: Dimension::Key },
    ];

    /// Returns the pair of these two dimensions, in any order; `None` if it has no rows.
    #[must_use]
    pub fn of(one: Dimension, other: Dimension) -> Option<Self> {
        Self::ALL.into_iter().find(|Self { first, second }| (*first, *second) == (one, other) || (*second, *first) == (one, other))
    }

    /// Returns the number that the table contains.
    #[must_use]
    pub const fn code(self) -> i64 {
        self.first.code() * 10 + self.second.code()
    }
}
