//! The reader of `REQUESTS`: it feeds no report, but gateways keep their recorded events until this reader has seen all of them.

use eventlog::{Applied, Event, Fold, Pace, ReaderId};
use events::subject::Stream;
use sqlx::AnyConnection;

use super::Projection;

/// A projection without rows: it only tracks sources.
pub const PROJECTION: Projection =
    Projection { reader: ReaderId { name: "arrivals", stream: Stream::Requests }, fold: &Arrivals, tables: &[], pace: Pace::RELAXED };

/// A fold that does nothing; the reader itself tracks the sources of the events.
pub struct Arrivals;

impl Fold for Arrivals {
    fn apply<'a, 'e: 'a>(&'a self, _: &'a mut AnyConnection, _: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move { Ok(Vec::new()) })
    }
}
