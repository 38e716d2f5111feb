//! Accounts, made by the operator.

pub mod create;
