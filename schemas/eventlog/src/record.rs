//! An event as it was read, and a verified position in a stream.

use bytes::Bytes;

/// A verified position in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The incarnation of the stream: its creation time.
    pub identity: String,
    /// The sequence of the last applied event.
    pub sequence: u64,
    /// The id of that event.
    pub event_id: String,
}

/// An event as it was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// The sequence in the stream.
    pub sequence: u64,
    /// The message id; empty if a foreign publisher set none.
    pub id: String,
    pub payload: Bytes,
}
