//! Grants as values: the sum of their remaining amounts is the account's balance.

use events::Nanos;

/// The priority of a grant that names none; lower priorities are spent first.
pub const PRIORITY_DEFAULT: i64 = 100;

/// The origin of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Credit that the operator gave, or added by a correction.
    Given,
    /// Credit that was paid for.
    Bought,
}

impl Origin {
    /// Returns the name that is stored in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "grant",
            Self::Bought => "credit",
        }
    }

    /// Parses a stored name; an unknown one gives [`Origin::Given`], which is never refunded.
    #[must_use]
    pub fn named(word: &str) -> Self {
        if word == Self::Bought.as_str() { Self::Bought } else { Self::Given }
    }
}

/// Credit that came in by one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The id of the command that brought the credit.
    pub id: String,
    pub account: String,
    pub origin: Origin,
    /// The priority; lower ones are spent first.
    pub priority: i64,
    /// The time at which the rest expires, in microseconds since 1970; `None` = never.
    pub expires_at_us: Option<i64>,
    /// The time in microseconds since 1970.
    pub created_at_us: i64,
    /// The initial amount.
    pub amount: Nanos,
    /// The amount that is not spent yet.
    pub remaining: Nanos,
}

impl Grant {
    /// Returns the sort key among an account's grants: priority, expiry, creation; the id breaks ties.
    fn order(&self) -> (i64, i64, i64, &str) {
        (self.priority, self.expires_at_us.unwrap_or(i64::MAX), self.created_at_us, &self.id)
    }

    #[must_use]
    pub fn is_expired(&self, now_us: i64) -> bool {
        self.expires_at_us.is_some_and(|expires| expires <= now_us)
    }
}

/// The grants of one account that have something left, in the order in which they are spent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Sorts the grants into the order in which they are spent.
    #[must_use]
    pub fn new(mut grants: Vec<Grant>) -> Self {
        grants.sort_by(|a, b| a.order().cmp(&b.order()));
        Self(grants)
    }

    /// Iterates over the grants; the next to be spent comes first.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Returns the sum of the remaining amounts.
    #[must_use]
    pub fn remaining(&self) -> Nanos {
        self.0.iter().map(|grant| grant.remaining).sum()
    }

    pub fn add(&mut self, grant: Grant) {
        let at = self.0.partition_point(|other| other.order() < grant.order());
        self.0.insert(at, grant);
    }

    /// Spends an amount from the grants in their order; returns the changed grants.
    pub fn burn(&mut self, amount: Nanos) -> Vec<Grant> {
        let mut left = amount;
        let mut changed = Vec::new();
        for grant in &mut self.0 {
            if left <= Nanos::ZERO {
                break;
            }
            let taken = left.min(grant.remaining);
            grant.remaining = grant.remaining.saturating_sub(taken);
            left = left.saturating_sub(taken);
            changed.push(grant.clone());
        }
        debug_assert!(left <= Nanos::ZERO, "{left} were spent that no grant had");
        self.0.retain(|grant| grant.remaining > Nanos::ZERO);
        changed
    }

    /// Takes at most `most` from one grant; returns the amount taken and the changed grant.
    pub fn take(&mut self, id: &str, most: Nanos) -> Option<(Nanos, Grant)> {
        let grant = self.0.iter_mut().find(|grant| grant.id == id)?;
        let taken = grant.remaining.min(most).max(Nanos::ZERO);
        grant.remaining = grant.remaining.saturating_sub(taken);
        let now = grant.clone();
        self.0.retain(|grant| grant.remaining > Nanos::ZERO);
        Some((taken, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: &str, priority: i64, expires_at_us: Option<i64>, created_at_us: i64) -> Grant {
        Grant {
            id: id.into(),
            account: "a".into(),
            origin: Origin::Given,
            priority,
            expires_at_us,
            created_at_us,
            amount: Nanos(10),
            remaining: Nanos(10),
        }
    }

    #[test]
    fn priority_burns_before_expiry_and_expiry_before_creation() {
        let mut grants = Grants::new(vec![
            grant("never", 100, None, 1),
            grant("late", 100, Some(9), 2),
            grant("soon, newer", 100, Some(5), 4),
            grant("soon, older", 100, Some(5), 3),
            grant("last", 200, Some(1), 0),
        ]);
        grants.add(grant("first", 1, None, 9));
        let order: Vec<&str> = grants.iter().map(|grant| grant.id.as_str()).collect();
        assert_eq!(order, ["first", "soon, older", "soon, newer", "late", "never", "last"]);
        let changed = grants.burn(Nanos(25));
        let left: Vec<(&str, i64)> = changed.iter().map(|grant| (grant.id.as_str(), grant.remaining.0)).collect();
        assert_eq!(left, [("first", 0), ("soon, older", 0), ("soon, newer", 5)]);
        assert_eq!(grants.remaining(), Nanos(35));
        assert_eq!(grants.iter().next().map(|grant| grant.id.as_str()), Some("soon, newer"));
    }

    #[test]
    fn no_more_is_taken_from_a_grant_than_it_has() {
        let mut grants = Grants::new(vec![grant("a", 100, None, 1)]);
        assert_eq!(grants.take("a", Nanos(4)).map(|(taken, grant)| (taken.0, grant.remaining.0)), Some((4, 6)));
        assert_eq!(grants.take("a", Nanos(40)).map(|(taken, grant)| (taken.0, grant.remaining.0)), Some((6, 0)));
        assert_eq!(grants.take("a", Nanos(1)), None, "nothing is left of it");
    }
}
