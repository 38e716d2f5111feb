//! Several readers of one stream, in one process or many, that share its 64 partitions. Each reads the whole stream, applies the events of
//! its own partitions and notes all others, so that any of them knows how far everybody is. One that dies loses its partitions to the
//! others within ten seconds.
//!
//! What keeps it right: an event's id is unique in the books, so that an event applied by two is applied once; whoever takes a partition
//! over reads again from the common checkpoint; and that checkpoint moves only over events that every owner has applied **in the very
//! order in which the mover has read them itself** (a chain of hashes tells). What a reader says of a log that was rolled back meanwhile
//! counts for nothing.

pub mod frontier;
pub mod members;
pub mod assignment;
pub mod reader;

pub use reader::SharedReader;
