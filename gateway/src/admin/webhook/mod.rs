//! Webhooks: endpoints made, changed, tested and replayed with a management key. `/api/v1/webhooks` has the shapes of the other management
//! calls; `/api/webhooks` has those of ARouter's SDK.

pub mod object;
pub mod create;
pub mod list;
pub mod get;
pub mod update;
pub mod delete;
pub mod rotate;
pub mod probe;
pub mod test;
pub mod replay;
pub mod disable;
