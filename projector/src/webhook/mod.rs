//! Webhooks: the public events of an account, delivered to its endpoints by HTTP, by the Standard Webhooks specification.
//!
//! A delivery is made at least once, and events of one endpoint are first sent in their order, several at a time. `webhook-id` is the id of
//! the event, the same in every attempt: receivers skip the ids that they know. An event makes a delivery in the transaction that reads
//! it, so nothing is lost. A rebuild of the database sends the events of the last three days again, and none that is older.

pub mod schedule;
pub mod signature;
pub mod deliveries;
pub mod endpoints;
pub mod client;
pub mod sender;
pub mod calls;
