//! Sharing of one stream by several readers, in one process or many. Together they own its 64 partitions. Each reads the whole stream,
//! applies the events of its own partitions, and records all others, so that any reader can compute the common progress. If a reader dies,
//! the others take its partitions within ten seconds.
//!
//! Three rules keep the result correct:
//!
//! - An event's id is unique in the books, so an event that two readers apply is applied once.
//! - A reader that takes over a partition reads again from the common checkpoint.
//! - The checkpoint moves only over events that every owner has applied **in exactly the order in which the moving reader has read them**,
//!   which a chain of hashes proves. Reports about a log that was rolled back meanwhile do not count.

pub mod frontier;
pub mod members;
pub mod assignment;
pub mod reader;

pub use reader::SharedReader;
