//! Follows the streams into the archive, and removes from the streams what the archive holds.

pub mod age;
pub mod writer;

pub use writer::{ArchiveTerms, Archiver};
