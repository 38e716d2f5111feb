//! Projections: one file each, and the list of them that the process, its answers and a rebuild read.

pub mod generations;
pub mod arrivals;
pub mod keys;

use eventlog::digest::Table;
use eventlog::{Fold, Pace, ReaderId};

/// A projection: a reader, its fold, and the tables that the fold writes.
pub struct Projection {
    /// Names its checkpoint, its sources and its quarantine.
    pub reader: ReaderId,
    /// Turns events into rows.
    pub fold: &'static dyn Fold,
    /// Its tables, by columns that are equal in every rebuild.
    pub tables: &'static [Table],
    /// How events are gathered.
    pub pace: Pace,
}

/// Every projection. A new one is a file and a line here.
pub const ALL: [Projection; 3] = [generations::PROJECTION, arrivals::PROJECTION, keys::PROJECTION];
