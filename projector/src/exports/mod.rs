//! The reports that users read: one request, and activity over time as JSON or CSV.

pub mod generation;
pub mod activity;
pub mod usage;
pub mod period;
