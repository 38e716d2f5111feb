//! The reader of `REQUESTS`: it feeds webhooks but no report. Gateways keep their recorded events until this reader has seen all of them.

use eventlog::{Applied, Event, Fold, Pace, ReaderId};
use events::subject::Stream;
use sqlx::AnyConnection;

use super::{Projection, keys};
use crate::webhook::deliveries::WithDeliveries;

/// A projection without rows of its own: it tracks sources, and makes deliveries.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "arrivals", stream: Stream::Requests },
    fold: &WithDeliveries(&Arrivals),
    tables: &[],
    pace: Pace::RELAXED,
    behind: Some(keys::READER),
};

/// A fold that does nothing; the reader itself tracks the sources of the events.
pub struct Arrivals;

impl Fold for Arrivals {
    fn apply<'a, 'e: 'a>(&'a self, _: &'a mut AnyConnection, _: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move { Ok(Vec::new()) })
    }
}
