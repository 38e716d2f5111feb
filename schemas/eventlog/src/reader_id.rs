//! The identity of a reader within its database.

use events::subject::Stream;

/// A named reader of one stream. Its name keys its checkpoint, its sources and its quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderId {
    /// Unique in the database; it never changes.
    pub name: &'static str,
    /// The stream it reads.
    pub stream: Stream,
}
