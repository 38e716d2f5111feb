//! The event log: append, read from a checkpoint, ask and answer. The only crate that speaks NATS.

pub mod access;
pub mod throttle;
pub mod connect;
pub mod streams;
pub mod append;
pub mod tail;
pub mod inspect;
pub mod rpc;
pub mod timeline;
pub mod store;
pub mod sources;
pub mod checkpoint;
pub mod consume;
pub mod archive;
pub mod share;
pub mod quarantine;
pub mod digest;

pub use access::{Access, Credentials};
pub use append::Outgoing;
pub use archive::Archive;
pub use connect::{Log, LogError};
pub use consume::{Event, Fold, Pace, Progress, Reader, Rejected};
pub use rpc::RpcError;
pub use share::SharedReader;
pub use store::{Store, StoreError};
pub use tail::{Checkpoint, Record, Tail, TailError};
pub use throttle::Throttle;
