//! The harness of the end-to-end tests: the real binary, real NATS, real SQLite and PostgreSQL, and a provider that can misbehave.
//!
//! Everything listens on free ports in temporary folders and is ended by process id.

pub mod arouter;
pub mod standalone;
pub mod postgres;
pub mod port;
pub mod provider;
pub mod scripted;
pub mod vendor;
pub mod receiver;
pub mod coding;
pub mod certificate;
pub mod answer;
pub mod plain_nats;
pub mod endless;
pub mod raw;
pub mod process;
pub mod load;
pub mod chaos;
pub mod rows;
pub mod simulation;
pub mod spooling;
pub mod seeds;
pub mod wait;

pub use answer::Answer;
pub use arouter::{Arouter, Keys, Storage};
pub use load::{Acknowledged, Load, Target};
pub use provider::Provider;
pub use receiver::Receiver;
pub use scripted::Scripted;
