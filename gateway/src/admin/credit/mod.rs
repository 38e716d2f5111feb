//! Credit that the operator posts.

pub mod post;
