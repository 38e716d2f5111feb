//! Wire formats: the messages of clients and providers over HTTP. No I/O.
//!
//! Only the fields that the gateway acts on are typed; everything else passes through byte for byte. A request or answer that changes its
//! format goes through the neutral form.

pub mod fields;
pub mod sse;
pub mod reported;
pub mod dialect;
pub mod usage;
pub mod neutral;
pub mod routing;
pub mod additions;
pub mod call;
pub mod answer;
pub mod output;
pub mod client_error;
pub mod openapi;
mod chat;
mod responses;
mod messages;
mod generate;
mod embeddings;
#[cfg(test)]
mod testing;
