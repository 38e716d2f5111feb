//! The reports that users read: one request, activity over time as JSON or CSV, and deliveries of webhooks.

pub mod generation;
pub mod activity;
pub mod usage;
pub mod period;
pub mod deliveries;
