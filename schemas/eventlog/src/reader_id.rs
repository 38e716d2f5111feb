//! The identity of a reader within its database.

use events::subject::Stream;

/// A named reader of one stream. Its name is the key of its checkpoint, its sources and its quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderId {
    /// The name, unique in the database; it never changes.
    pub name: &'static str,
    pub stream: Stream,
}
