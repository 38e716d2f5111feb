//! Routing: the models, the providers that serve them, and the order in which a request tries them.

pub mod names;
pub mod address;
pub mod provider;
pub mod operation;
pub mod facts;
pub mod table;
pub mod reports;
pub mod split;
pub mod document;
pub mod diff;
pub mod build;
pub mod current;
pub mod variants;
pub mod key_use;
pub mod own_keys;
pub mod choice;
pub mod plan;
pub mod tokens;

pub use current::CurrentRoutes;
pub use operation::Operation;
pub use plan::{Candidate, Plan};
pub use provider::{Egress, Provider};
pub use table::{Endpoint, Model, Origin, RouteError, Routes};
