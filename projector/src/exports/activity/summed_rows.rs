//! The tables of sums, and how their rows are found.

use crate::projections::usage::Dimension;
use crate::projections::usage::pair::Pair;
use crate::projections::usage::width::Width;

/// A kind of rows that usage is summed into.
#[derive(Debug, Clone, Copy)]
pub enum SummedRows {
    /// A row for each value of one dimension.
    Single(Dimension),
    /// A row for each two values.
    Pair(Pair),
    /// Rows by all dimensions but the user.
    Mixes,
    /// Rows by all dimensions.
    Details,
}

impl SummedRows {
    /// Returns the fewest rows that tell these dimensions apart; there are none of [`Dimension::All`] among them.
    #[must_use]
    pub fn of(needed: &[Dimension], width: Width) -> Self {
        let is_wide = matches!(width, Width::Day | Width::Month);
        match needed {
            [] => Self::Single(Dimension::All),
            [one] if one.has_sums(width) => Self::Single(*one),
            [one, other] if is_wide && let Some(pair) = Pair::of(*one, *other) => Self::Pair(pair),
            _ if is_wide && !needed.contains(&Dimension::User) => Self::Mixes,
            _ => Self::Details,
        }
    }

    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Single(_) => "usage_sums",
            Self::Pair(_) => "usage_pairs",
            Self::Mixes => "usage_mixes",
            Self::Details => "usage_details",
        }
    }

    /// Returns the condition that a row is of this kind, to stand behind others.
    #[must_use]
    pub fn only(self) -> String {
        match self {
            Self::Single(dimension) => format!(" AND dimension = {}", dimension.code()),
            Self::Pair(pair) => format!(" AND pair = {}", pair.code()),
            Self::Mixes | Self::Details => String::new(),
        }
    }

    /// Returns the column of a dimension; `''` for one that the rows do not tell apart.
    #[must_use]
    pub fn column(self, dimension: Dimension) -> &'static str {
        match self {
            _ if dimension == Dimension::All => "''",
            Self::Single(one) if one == dimension => "value",
            Self::Pair(pair) if pair.first == dimension => "first",
            Self::Pair(pair) if pair.second == dimension => "second",
            Self::Single(_) | Self::Pair(_) => "''",
            Self::Mixes | Self::Details => dimension.column(),
        }
    }

    /// Returns whether a start and a value of each dimension that was needed have one row.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Single(_) | Self::Pair(_))
    }

    /// The dimensions that stand behind the start in the key of the table, as far as rows are found by them. Under a user in one
    /// hour or day there are few rows.
    fn key(self) -> Vec<Dimension> {
        match self {
            Self::Single(dimension) => vec![dimension],
            Self::Pair(pair) => vec![pair.first, pair.second],
            Self::Mixes => vec![Dimension::Model, Dimension::Key, Dimension::Provider, Dimension::App],
            Self::Details => vec![Dimension::User, Dimension::Model],
        }
    }

    /// Returns the dimensions whose values lead, after the start, to the last filter that the key can find; `None` if only a range of
    /// starts can. Dimensions without a filter are among them if `skips` allows it and they have few values: each is tried.
    #[must_use]
    pub fn leading(self, is_filtered: impl Fn(Dimension) -> bool, skips: bool) -> Option<Vec<Dimension>> {
        let mut leading = self.key();
        while let Some(last) = leading.pop() {
            if is_filtered(last) && leading.iter().all(|before| is_filtered(*before) || (skips && before.has_few_values())) {
                return Some(leading);
            }
        }
        None
    }
}
