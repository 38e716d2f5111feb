//! The fold of a reader, which turns events into rows.

use events::envelope::RawEnvelope;
use futures_util::future::BoxFuture;
use sqlx::AnyConnection;

use crate::record::Record;

/// An event and its parsed envelope.
#[derive(Debug)]
pub struct Event<'a> {
    /// The event as it was read.
    pub record: &'a Record,
    pub envelope: RawEnvelope<'a>,
    /// Whether the reader has committed an event with this source and sequence before. A stream that was made anew is read again.
    pub is_repeat: bool,
}

/// An event that cannot be applied, with the reason.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// The event as it was read.
    pub record: &'a Record,
    /// The reason as one sentence.
    pub reason: String,
    /// The account that may owe money because of this event. It gets no new leases until an operator has decided about the event.
    pub freezes_account: Option<&'a str>,
}

impl<'a> Rejected<'a> {
    /// Rejects an event that no account can owe anything by.
    #[must_use]
    pub const fn new(event: &Event<'a>, reason: String) -> Self {
        Self { record: event.record, reason, freezes_account: None }
    }
}

/// The result of a fold: the events that cannot be applied.
pub type Applied<'a, 'e> = BoxFuture<'a, Result<Vec<Rejected<'e>>, sqlx::Error>>;

/// A conversion of events into rows of a reader's database.
pub trait Fold: Send + Sync {
    /// Returns the account that may owe money because of an event that the database refuses.
    fn owes<'e>(&self, _event: &RawEnvelope<'e>) -> Option<&'e str> {
        None
    }

    /// Applies events and returns those that cannot be applied, which the caller sets aside. After a failure it is called again with the
    /// same events.
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e>;
}

impl Fold for &'static dyn Fold {
    fn owes<'e>(&self, event: &RawEnvelope<'e>) -> Option<&'e str> {
        (**self).owes(event)
    }

    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        (**self).apply(connection, events)
    }
}
