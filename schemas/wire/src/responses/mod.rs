//! The format of OpenAI Responses. Source: OpenAI's API reference, and the product's description of the formats.

pub mod request;
pub mod answer;
pub mod stream;
pub mod usage;
mod object;
mod annotation;
mod items;
mod prompt;
mod read;
mod tools;
mod write;
mod conversation;
mod output;
mod place;
mod reader;
mod frames;
mod writer;
mod thoughts;
#[cfg(test)]
mod fixtures;
