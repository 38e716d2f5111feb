//! The free requests with own provider keys of each account in a month. A request is charged only if so many are known to have ended that the
//! free ones are used up. Two lower bounds of that number are known: what the ledger has posted, and what it had posted at first together with
//! what has ended here since.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::AccountId;
use events::rpc::ByokMonth;
use pricing::Fee;

/// The counts of the running month.
#[derive(Debug)]
pub struct Allowances {
    free_per_month: u64,
    /// The fee for requests beyond the free ones.
    pub fee: Fee,
    months: Mutex<HashMap<AccountId, Month>>,
}

#[derive(Debug, Clone, Copy)]
struct Month {
    /// The newest count of the ledger.
    posted: ByokMonth,
    /// The first count of the ledger.
    base: u64,
    /// The requests that have ended here since, and those in flight.
    ended: u64,
    in_flight: u64,
}

/// The place of one request with an own key in its month.
#[derive(Debug)]
pub struct Ticket {
    allowances: Arc<Allowances>,
    account: AccountId,
    starts_at_us: i64,
    /// Whether the request is free whatever happens until its end.
    pub is_free: bool,
    is_settled: bool,
}

impl Month {
    fn known(&self) -> u64 {
        self.posted.requests.max(self.base.saturating_add(self.ended))
    }
}

impl Allowances {
    #[must_use]
    pub fn new(free_per_month: u64, fee: Fee) -> Arc<Self> {
        Arc::new(Self { free_per_month, fee, months: Mutex::default() })
    }

    /// Notes the count of the ledger.
    pub fn note(&self, account: &AccountId, posted: ByokMonth) {
        let mut months = self.months();
        match months.get_mut(account).filter(|month| month.posted.starts_at_us == posted.starts_at_us) {
            Some(month) => month.posted = posted,
            None => {
                months.insert(account.clone(), Month { posted, base: posted.requests, ended: 0, in_flight: 0 });
            }
        }
    }

    /// Takes a place in the running month; `None` if the ledger's count of it is unknown.
    #[must_use]
    pub fn ticket(self: &Arc<Self>, account: &AccountId, now_us: i64) -> Option<Ticket> {
        let mut months = self.months();
        let is_running = |month: &&mut Month| (month.posted.starts_at_us..month.posted.ends_at_us).contains(&now_us);
        let month = months.get_mut(account).filter(is_running)?;
        let is_free = month.known().saturating_add(month.in_flight) < self.free_per_month;
        month.in_flight += 1;
        let starts_at_us = month.posted.starts_at_us;
        Some(Ticket { allowances: Arc::clone(self), account: account.clone(), starts_at_us, is_free, is_settled: false })
    }

    fn months(&self) -> MutexGuard<'_, HashMap<AccountId, Month>> {
        self.months.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Returns the fee that applies if the request ends now.
    #[must_use]
    pub fn fee(&self) -> Fee {
        let months = self.allowances.months();
        let is_used_up = |month: &Month| month.starts_at(self.starts_at_us) && month.known() >= self.allowances.free_per_month;
        if !self.is_free && months.get(&self.account).is_some_and(is_used_up) { self.allowances.fee } else { Fee::NONE }
    }

    /// Counts the request as one with an own key.
    pub fn settle(&mut self) {
        self.end(1);
    }

    fn end(&mut self, ended: u64) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let mut months = self.allowances.months();
        if let Some(month) = months.get_mut(&self.account).filter(|month| month.starts_at(self.starts_at_us)) {
            month.in_flight = month.in_flight.saturating_sub(1);
            month.ended = month.ended.saturating_add(ended);
        }
    }
}

impl Drop for Ticket {
    /// Frees the place of a request that used no own key.
    fn drop(&mut self) {
        self.end(0);
    }
}

impl Month {
    const fn starts_at(&self, at_us: i64) -> bool {
        self.posted.starts_at_us == at_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(requests: u64) -> ByokMonth {
        ByokMonth { starts_at_us: 0, ends_at_us: 100, requests }
    }

    #[test]
    fn a_request_is_charged_only_once_the_free_ones_have_ended() {
        let (allowances, account) = (Allowances::new(2, Fee::parse("5").unwrap()), AccountId::from("a"));
        assert!(allowances.ticket(&account, 0).is_none(), "the ledger's count is unknown");
        allowances.note(&account, month(0));
        let take = || allowances.ticket(&account, 0).unwrap();
        let (mut first, second, third) = (take(), take(), take());
        assert_eq!([first.is_free, second.is_free, third.is_free], [true, true, false]);
        first.settle();
        drop(second);
        assert_eq!(third.fee(), Fee::NONE, "the second one did not count");
        let mut third = third;
        third.settle();
        let fourth = take();
        assert!(!fourth.is_free && fourth.fee() == allowances.fee);
        // A late count of the ledger takes nothing back, and one of other gateways counts.
        allowances.note(&account, month(1));
        assert_eq!(fourth.fee(), allowances.fee);
        assert!(allowances.ticket(&account, 100).is_none(), "another month");
        allowances.note(&account, ByokMonth { starts_at_us: 100, ends_at_us: 200, requests: 2 });
        assert!(!allowances.ticket(&account, 100).unwrap().is_free && fourth.fee() == Fee::NONE);
    }
}
