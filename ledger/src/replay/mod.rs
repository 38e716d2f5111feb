//! Rebuilds books from the facts that the ledger published.

pub mod reapply;
pub mod catch_up;

pub use catch_up::{CatchUpError, catch_up};
pub use reapply::Misfit;
