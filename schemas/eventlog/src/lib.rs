//! The event log: appending, reading from a checkpoint, requests and replies. This is the only crate that uses NATS.

pub mod access;
pub mod throttle;
pub mod connect;
pub mod streams;
pub mod append;
pub mod tail;
pub mod inspect;
pub mod account_feed;
pub mod account_consumer;
pub mod rpc;
pub mod timeline;
pub mod store;
pub mod sources;
pub mod record;
pub mod reader_id;
pub mod checkpoint;
pub mod fold;
pub mod consume;
pub mod archive;
pub mod archiver;
pub mod share;
pub mod quarantine;
pub mod digest;

pub use access::{Access, Credentials};
pub use append::Outgoing;
pub use archive::Archive;
pub use connect::{Log, LogError};
pub use consume::{Pace, Progress, Reader, ReaderContext};
pub use fold::{Applied, Event, Fold, Rejected};
pub use reader_id::ReaderId;
pub use record::{Checkpoint, Record};
pub use rpc::RpcError;
pub use share::SharedReader;
pub use store::{Store, StoreError};
pub use tail::{Tail, TailError};
pub use throttle::Throttle;
