//! The archiver: follows the streams into the archive, and removes archived events from the streams.

pub mod trim_streams;
pub mod writer;

pub use writer::{ArchiveTerms, Archiver};
