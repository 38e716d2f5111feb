//! Posting: every `usage.recorded` becomes one charge, whatever the order and however often it arrives.

pub mod post_usage;
pub mod charge;

pub use charge::Charge;
pub use post_usage::{Known, PostUsage};
