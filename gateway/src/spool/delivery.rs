//! The progress of the ledger and the projector in a spool.

use std::time::Instant;

use super::backpressure::Backpressure;
use super::segment::Sequences;

#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The sequences recorded up to a moment, and that moment; `None` if all of them are taken over.
    pub(super) waiting: Option<(Sequences, Instant)>,
    /// The sequences up to which the ledger and the projector each have everything.
    pub(super) marks: [Sequences; 2],
    /// The sequences up to which both have everything that they need.
    pub(super) taken_over: Sequences,
    pub(super) backpressure: Backpressure,
}
