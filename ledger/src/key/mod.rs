//! Keys as far as money goes: limits, windows, spending.

pub mod windows;
pub mod repo;
pub mod claim;

pub use windows::Period;
