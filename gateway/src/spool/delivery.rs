//! How much of a spool the ledger and the projector have.

use std::time::Instant;

use super::segment::Sequences;

/// How much of a spool the ledger and the projector have.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// What was recorded at a moment, and is not taken over yet.
    pub(super) waiting: Option<(Sequences, Instant)>,
    /// Up to where ledger and projector each have everything.
    pub(super) marks: [Sequences; 2],
}
