//! Projections: one file each.

pub mod generations;
pub mod keys;
