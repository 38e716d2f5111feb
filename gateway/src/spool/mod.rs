//! The spool: events are on disk before any caller sees a result, and stay there until the ledger and the projector have them.
//!
//! Each boot has one folder. Its files have a fixed size and are allocated before they are needed, so that recording the end of an admitted
//! request cannot fail for lack of space.

pub mod disk;
pub mod record;
pub mod segment;
pub mod batch;
pub mod queue;
pub mod error;
pub mod writer;
mod backpressure;
pub mod delivery;
pub mod status;
pub mod reservation;
pub mod sync;
pub mod recover;
pub mod truncate;
pub mod carry;
pub mod cursor;
pub mod publish;

pub use disk::{Disk, FileSystem};
pub use error::SpoolError;
pub use reservation::Reservation;
pub use writer::Spool;
