//! Accounts: available, lent and spent credit, and the rules by which money moves between them.

pub mod entity;
pub mod repo;
pub mod balance;
pub mod credits;

pub use entity::Account;
