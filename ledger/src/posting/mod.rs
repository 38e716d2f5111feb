//! Posting: every `usage.recorded` becomes one charge, whatever the order and however often it arrives.

pub mod fold;
pub mod charge;

pub use charge::Charge;
pub use fold::{Known, PostUsage};
