//! Posting: every `usage.recorded` event becomes exactly one charge, whatever the order and number of deliveries.

pub mod post_usage;
pub mod charge;

pub use charge::Charge;
pub use post_usage::{Known, PostUsage};
