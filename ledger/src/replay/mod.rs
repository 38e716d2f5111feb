//! Making books again from what the ledger said that it did.

pub mod reapply;
pub mod catch_up;

pub use catch_up::{CatchUpError, catch_up};
pub use reapply::Misfit;
