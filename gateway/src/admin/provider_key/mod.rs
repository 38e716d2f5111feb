//! Own provider keys: made, changed and tested with a management key. The credential never comes back.

pub mod object;
pub mod create;
pub mod list;
pub mod get;
pub mod update;
pub mod delete;
pub mod test;
