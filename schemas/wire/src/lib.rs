//! Wire formats: the messages of clients and providers over HTTP. No I/O.
//!
//! Only the fields that the gateway acts on are typed; everything else passes through byte for byte.

pub mod fields;
pub mod sse;
pub mod reported;
pub mod call;
pub mod answer;
pub mod client_error;
mod openai;
