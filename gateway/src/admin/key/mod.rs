//! Keys: created, listed, changed, rotated and deleted with a management key; each key can read its own state.

pub mod object;
pub mod add;
pub mod create;
pub mod list;
pub mod get;
pub mod change;
pub mod update;
pub mod rotate;
pub mod delete;
pub mod revoke;
pub mod current;
