//! A lease as a value: granted = consumed + returned + remaining; it is closed once.

use events::Nanos;
pub use events::ledger::LeaseState as State;

use crate::key::Period;
use crate::key::repo::WindowId;

/// A part of an account's credit that is lent to one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The id; the gateway makes it.
    pub id: String,
    pub account: String,
    /// The window of the key whose limit the lease counts against; `None` for a key without a limit.
    pub window: Option<WindowId>,
    /// The source name of the gateway.
    pub holder: String,
    pub state: State,
    /// The total ever lent.
    pub granted: Nanos,
    /// The total charged against the lease.
    pub consumed: Nanos,
    /// The total returned to the account.
    pub returned: Nanos,
    /// The cost of ended requests as reported by the gateway, posted or not.
    pub spent: Nanos,
    /// The time at which an open lease freezes or a frozen one is settled, in microseconds since 1970.
    pub expires_at_us: i64,
}

impl Lease {
    /// Creates an open lease without credit.
    #[must_use]
    pub fn new(id: &str, account: &str, window: Option<WindowId>, holder: &str) -> Self {
        Self {
            id: id.to_owned(),
            account: account.to_owned(),
            window,
            holder: holder.to_owned(),
            state: State::Open,
            granted: Nanos::ZERO,
            consumed: Nanos::ZERO,
            returned: Nanos::ZERO,
            spent: Nanos::ZERO,
            expires_at_us: 0,
        }
    }

    /// Returns the amount that is still held for the lease.
    #[must_use]
    pub const fn remaining(&self) -> Nanos {
        self.granted.saturating_sub(self.consumed).saturating_sub(self.returned)
    }

    /// Returns the cost of ended requests that is not posted yet.
    #[must_use]
    pub fn unposted(&self) -> Nanos {
        match self.state {
            State::Closing => self.remaining(),
            State::Open | State::Frozen => self.spent.saturating_sub(self.consumed).max(Nanos::ZERO),
            State::Closed => Nanos::ZERO,
        }
    }

    /// Charges a cost against the remaining amount; returns the part that it covers.
    pub fn consume(&mut self, cost: Nanos) -> Nanos {
        let covered = cost.min(self.remaining());
        self.consumed = self.consumed.saturating_add(covered);
        self.close_if_settled();
        covered
    }

    /// Takes credit back, up to the total that the gateway states; returns the newly returned amount.
    pub fn give_back(&mut self, returned_total: Nanos) -> Nanos {
        let more = returned_total.saturating_sub(self.returned).max(Nanos::ZERO).min(self.remaining());
        self.returned = self.returned.saturating_add(more);
        self.close_if_settled();
        more
    }

    /// Takes all remaining credit back and closes the lease; returns the newly returned amount.
    pub fn settle(&mut self) -> Nanos {
        let rest = self.remaining();
        self.returned = self.returned.saturating_add(rest);
        self.state = State::Closed;
        rest
    }

    /// Marks the lease as closing: the gateway takes no more from it.
    pub fn stop(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closing;
            self.close_if_settled();
        }
    }

    fn close_if_settled(&mut self) {
        if self.state == State::Closing && self.remaining() == Nanos::ZERO {
            self.state = State::Closed;
        }
    }

    /// Returns the period of the window, for the table.
    #[must_use]
    pub fn period(&self) -> Option<Period> {
        self.window.as_ref().map(|(_, period, _)| *period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            id: "l".into(),
            account: "a".into(),
            window: None,
            holder: "g".into(),
            state: State::Open,
            granted: Nanos(100),
            consumed: Nanos(0),
            returned: Nanos(0),
            spent: Nanos(0),
            expires_at_us: 0,
        }
    }

    #[test]
    fn never_gives_more_than_was_granted() {
        let mut lease = lease();
        assert_eq!(lease.consume(Nanos(70)), Nanos(70));
        assert_eq!(lease.give_back(Nanos(50)), Nanos(30));
        assert_eq!(lease.give_back(Nanos(50)), Nanos(0));
        assert_eq!(lease.consume(Nanos(1)), Nanos(0));
    }

    #[test]
    fn closes_when_the_last_usage_arrives() {
        let mut lease = lease();
        lease.give_back(Nanos(60));
        lease.stop();
        assert_eq!(lease.state, State::Closing);
        lease.consume(Nanos(40));
        assert_eq!(lease.state, State::Closed);
    }
}
