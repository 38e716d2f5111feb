//! Transactions as the API returns them.

pub mod list;
