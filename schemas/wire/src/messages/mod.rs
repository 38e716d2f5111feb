//! The format of Anthropic Messages. Source: Anthropic's API reference, and the types of its SDK for Python.

pub mod request;
pub mod answer;
pub mod stream;
pub mod usage;
pub mod error;
mod members;
mod prompt;
mod read;
mod blocks;
mod thoughts;
mod models;
mod spelling;
mod write;
mod turns;
mod tools;
mod settings;
mod schema;
mod body;
mod reader;
mod writer;
#[cfg(test)]
mod fixtures;
