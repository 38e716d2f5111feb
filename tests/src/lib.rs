//! The harness of the end-to-end tests: the real binary, real NATS, real SQLite and PostgreSQL, and a provider that can misbehave.
//!
//! Everything listens on free ports in temporary folders and is ended by process id.
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

pub mod arouter;
pub mod postgres;
pub mod provider;
pub mod wait;

pub use arouter::{Arouter, Keys, Storage};
pub use provider::Provider;
