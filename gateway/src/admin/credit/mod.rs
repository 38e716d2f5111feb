//! Credit, posted by the operator.

pub mod post;
