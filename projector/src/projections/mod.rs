//! Projections: one file each.

pub mod generations;
pub mod arrivals;
pub mod keys;
