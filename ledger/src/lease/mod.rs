//! Leases: parts of an account's credit lent to gateways, so that they can admit requests without a call to the ledger.

pub mod entity;
pub mod repo;
pub mod grant;
pub mod settle;
pub mod orphans;
pub mod terms;

pub use entity::{Lease, State};
pub use terms::{Orphans, Terms};
