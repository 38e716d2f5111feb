//! The format of OpenAI Chat Completions. Source: OpenAI's API reference, and section 3.1 of the product's own.

pub mod request;
pub mod prompt;
pub mod response;
pub mod usage;
pub mod error;
pub mod neutral;
pub mod stream;
#[cfg(test)]
mod fixtures;
