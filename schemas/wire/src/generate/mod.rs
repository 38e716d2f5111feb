//! The format of Google Gemini's `generateContent` and `streamGenerateContent`. Source: Google's API reference and the types of its SDKs.

/// The beginning of the base64 form of a signature that the gateway wrapped.
pub const WRAPPED_BASE64: &str = "YXJvdXRlcj";

pub mod request;
pub mod answer;
pub mod stream;
pub mod usage;
pub mod error;
pub mod spelling;
pub mod base64;
mod bound;
mod read;
mod settings;
mod tools;
mod schema;
mod part;
mod calls;
mod signature;
mod thinking;
mod write;
mod turns;
mod declarations;
mod body;
mod finish;
mod grounding;
mod logprobs;
mod reader;
mod writer;
#[cfg(test)]
mod fixtures;

pub(crate) use spelling::canonical;
