//! Leases: slices of an account's credit lent to gateways, so that they can admit requests without asking.

pub mod entity;
pub mod repo;
pub mod ask;
pub mod settle;

pub use entity::{Lease, State};

/// How long a gateway may use a lease after asking.
pub const TTL_US: i64 = 60_000_000;
/// How long a lease whose gateway vanished stays frozen.
pub const FROZEN_US: i64 = 15 * 60_000_000;
