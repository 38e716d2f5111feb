//! The reports that users read: one request, activity over time as JSON or CSV, deliveries of webhooks, and the feed of events.

pub mod generation;
pub mod activity;
pub mod usage;
pub mod period;
pub mod deliveries;
pub mod feed;
