//! Which models there are, who serves them, and in which order a request tries them.

pub mod names;
pub mod known_providers;
pub mod endpoint;
pub mod table;
pub mod plan;
pub mod tokens;

pub use plan::{Candidate, Plan};
pub use table::{Model, Provider, RouteError, Routes};
