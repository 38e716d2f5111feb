//! Accounts: what is available, lent and spent, and the rules by which money moves between them.

pub mod entity;
pub mod repo;
pub mod balance;

pub use entity::Account;
