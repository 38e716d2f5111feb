//! The reader of `REQUESTS`: no report is made of it, but gateways keep what they recorded until this has seen all of it.

use eventlog::{Applied, Event, Fold, Pace, ReaderId};
use events::subject::Stream;
use sqlx::AnyConnection;

use super::Projection;

/// No rows: only the sources are kept.
pub const PROJECTION: Projection =
    Projection { reader: ReaderId { name: "arrivals", stream: Stream::Requests }, fold: &Arrivals, tables: &[], pace: Pace::RELAXED };

/// Notes that requests' events arrived; the reader itself keeps the account of their sources.
pub struct Arrivals;

impl Fold for Arrivals {
    fn apply<'a, 'e: 'a>(&'a self, _: &'a mut AnyConnection, _: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move { Ok(Vec::new()) })
    }
}
