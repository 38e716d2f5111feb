//! Transactions as people read them.

pub mod list;
