//! An account's money as a value: each method makes one kind of transaction and keeps `available + held + spent = credited`.

use events::Nanos;

/// An account's money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    /// The number of the account's transactions.
    pub version: i64,
    /// Credit that is free to be lent.
    pub available: Nanos,
    /// Credit that is lent to gateways.
    pub held: Nanos,
    /// The total of all charges.
    pub spent: Nanos,
    /// The total of all credit that came in, corrections included.
    pub credited: Nanos,
}

/// The parts of a charge by who pays them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// The part from credit that the lease held.
    pub from_held: Nanos,
    /// The part from available credit, because the lease was settled before.
    pub from_available: Nanos,
    /// The part that nobody pays: the operator's loss.
    pub overdraft: Nanos,
}

impl Account {
    /// Returns the balance as users understand it: all credit that is not spent.
    #[must_use]
    pub const fn balance(&self) -> Nanos {
        self.available.saturating_add(self.held)
    }

    /// Returns the account as it will be after the unposted cost of ended requests is posted.
    #[must_use]
    pub fn after(&self, unposted: Nanos) -> Self {
        Self { held: self.held.saturating_sub(unposted), spent: self.spent.saturating_add(unposted), ..self.clone() }
    }

    /// Moves credit into a lease; at most the available credit.
    pub fn lend(&mut self, amount: Nanos) {
        debug_assert!(amount <= self.available && amount >= Nanos::ZERO);
        self.available = self.available.saturating_sub(amount);
        self.held = self.held.saturating_add(amount);
        self.version += 1;
    }

    /// Moves unused credit of a lease back.
    pub fn take_back(&mut self, amount: Nanos) {
        debug_assert!(amount <= self.held && amount >= Nanos::ZERO);
        self.held = self.held.saturating_sub(amount);
        self.available = self.available.saturating_add(amount);
        self.version += 1;
    }

    /// Charges a cost of which the lease covers `covered`.
    pub fn charge(&mut self, cost: Nanos, covered: Nanos) -> Paid {
        let from_held = covered.min(cost);
        let late = cost.saturating_sub(from_held);
        let from_available = late.min(self.available);
        let overdraft = late.saturating_sub(from_available);
        self.held = self.held.saturating_sub(from_held);
        self.available = self.available.saturating_sub(from_available);
        self.spent = self.spent.saturating_add(from_held).saturating_add(from_available);
        self.version += 1;
        Paid { from_held, from_available, overdraft }
    }

    /// Adds credit, or subtracts it if the amount is negative; returns false if less is available.
    #[must_use]
    pub fn credit(&mut self, amount: Nanos) -> bool {
        let (Some(available), Some(credited)) = (self.available.checked_add(amount), self.credited.checked_add(amount)) else {
            return false;
        };
        if available < Nanos::ZERO {
            return false;
        }
        self.available = available;
        self.credited = credited;
        self.version += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { id: "a".into(), version: 0, available: Nanos(100), held: Nanos(0), spent: Nanos(0), credited: Nanos(100) }
    }

    #[test]
    fn money_only_moves() {
        let mut account = account();
        account.lend(Nanos(60));
        account.take_back(Nanos(10));
        let paid = account.charge(Nanos(50), Nanos(50));
        assert_eq!(paid, Paid { from_held: Nanos(50), from_available: Nanos(0), overdraft: Nanos(0) });
        assert_eq!((account.available, account.held, account.spent), (Nanos(50), Nanos(0), Nanos(50)));
    }

    #[test]
    fn a_late_charge_never_makes_credit_negative() {
        let mut account = account();
        let paid = account.charge(Nanos(130), Nanos(0));
        assert_eq!(paid, Paid { from_held: Nanos(0), from_available: Nanos(100), overdraft: Nanos(30) });
        assert_eq!(account.available.0 + account.held.0 + account.spent.0, account.credited.0);
    }

    #[test]
    fn a_correction_takes_no_more_than_is_available() {
        let mut account = account();
        assert!(!account.credit(Nanos(-101)));
        assert!(account.credit(Nanos(-100)));
        assert_eq!(account.balance(), Nanos(0));
    }
}
