//! Routing: the models, the providers that serve them, and the order in which a request tries them.

pub mod names;
pub mod address;
pub mod provider;
pub mod operation;
pub mod facts;
pub mod table;
pub mod key_use;
pub mod own_keys;
pub mod choice;
pub mod plan;
pub mod tokens;

pub use operation::Operation;
pub use plan::{Candidate, Plan};
pub use provider::Provider;
pub use table::{Endpoint, Model, RouteError, Routes};
