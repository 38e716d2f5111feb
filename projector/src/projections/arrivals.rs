//! The reader of `REQUESTS`: no report is made of it, but gateways keep what they recorded until this has seen all of it.

use eventlog::{Event, Fold, Rejected};
use sqlx::AnyConnection;

/// Notes that requests' events arrived; the reader itself keeps the account of their sources.
pub struct Arrivals;

impl Fold for Arrivals {
    async fn apply<'e>(&self, _: &mut AnyConnection, _: &'e [Event<'e>]) -> Result<Vec<Rejected<'e>>, sqlx::Error> {
        Ok(Vec::new())
    }
}
