//! The money side of keys: limits, windows, spending.

pub mod windows;
pub mod repo;
pub mod claim;

pub use windows::Period;
