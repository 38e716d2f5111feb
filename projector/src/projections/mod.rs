//! Projections: one file each, and the list of them for the process, the RPC handlers and rebuilds.

pub mod generations;
pub mod arrivals;
pub mod keys;
pub mod usage;
pub mod erasures;
pub mod retention;

use eventlog::digest::Table;
use eventlog::{Fold, Pace, ReaderId};

/// A projection: a reader, its fold, and the tables that the fold writes.
pub struct Projection {
    /// The reader, whose name identifies its checkpoint, its sources and its quarantine.
    pub reader: ReaderId,
    /// The fold that turns events into rows.
    pub fold: &'static dyn Fold,
    /// The tables, with the columns that are equal in every rebuild.
    pub tables: &'static [Table],
    /// The batching of events.
    pub pace: Pace,
    /// The reader that must be ahead of this one, because the fold needs its rows.
    pub behind: Option<ReaderId>,
}

/// All projections. A new one is a file and a line here.
pub const ALL: [Projection; 5] = [generations::PROJECTION, arrivals::PROJECTION, keys::PROJECTION, usage::PROJECTION, erasures::PROJECTION];

#[cfg(test)]
mod tests;
