//! An event as it was read, and a verified position behind one.

use bytes::Bytes;

/// A verified position in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which incarnation of the stream: the time it was made.
    pub identity: String,
    /// The last event that was applied.
    pub sequence: u64,
    /// Its id.
    pub event_id: String,
}

/// An event as it was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its message id; empty when a foreign publisher set none.
    pub id: String,
    /// The event.
    pub payload: Bytes,
}
