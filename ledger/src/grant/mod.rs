//! Grants: credit as it came in. Spending burns them in the order priority, expiry, creation; what is left at its expiry is breakage.

pub mod entity;
pub mod repo;
pub mod expire;

pub use entity::{Grant, Grants};
