//! Events that the ledger could not apply, for the operator.

pub mod list;
pub mod show;
pub mod decide;
