//! Grants: credit as it came in. It is spent in the order priority, expiry, creation; the rest at the expiry goes to the book `breakage`.

pub mod entity;
pub mod repo;
pub mod expire;

pub use entity::{Grant, Grants};
