//! The invariants that must hold at the end of a history.

use super::{BUSY, Simulation};

impl Simulation {
    /// Returns whether nothing more can happen.
    pub(super) fn is_at_rest(&self) -> bool {
        self.now > BUSY
            && self.database.is_at_rest()
            && self.gateways.iter().all(|gateway| {
                gateway.is_up
                    && gateway.running.is_empty()
                    && gateway.spools.iter().all(|spool| !spool.is_over && spool.watermark == spool.usage.len() as u64)
            })
    }

    pub(super) fn check_end(&self) {
        let charges = self.database.charges();
        for (request, truth) in &self.truth {
            let booked = charges.get(&format!("r{request}")).copied();
            assert!(booked.is_some(), "request {request} reached the provider and is not in the books");
            if truth.acknowledged {
                assert_eq!(booked, truth.cost.map(|cost| cost.0), "request {request}: the client was told another charge");
            }
        }
        for (request, cost) in &charges {
            let number: u64 = request[1..].parse().expect("a request's number");
            assert!(*cost == 0 || self.truth.contains_key(&number), "{request} is charged and never reached the provider");
        }
        self.database.check_books();
        self.database.check_rebuilt();
        assert!(self.database.seen.values().all(|seen| !seen.has_gap()), "a source has a gap");
    }
}
