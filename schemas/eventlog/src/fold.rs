//! The fold of a reader: turns events into rows.

use events::envelope::RawEnvelope;
use futures_util::future::BoxFuture;
use sqlx::AnyConnection;

use crate::record::Record;

/// An event with its envelope read.
#[derive(Debug)]
pub struct Event<'a> {
    /// As it came.
    pub record: &'a Record,
    /// Its envelope.
    pub envelope: RawEnvelope<'a>,
}

/// An event that cannot be applied, and why.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// As it came.
    pub record: &'a Record,
    /// One sentence.
    pub reason: String,
    /// The account that may owe something by it: it gets no new leases until an operator has decided.
    pub freezes_account: Option<&'a str>,
}

/// The result of a fold: the events that cannot be applied.
pub type Applied<'a, 'e> = BoxFuture<'a, Result<Vec<Rejected<'e>>, sqlx::Error>>;

/// Turns events into rows.
pub trait Fold: Send + Sync {
    /// Returns the account that may owe something by an event which the database refuses.
    fn owes<'e>(&self, _event: &RawEnvelope<'e>) -> Option<&'e str> {
        None
    }

    /// Applies events and returns those that cannot be applied; they are set aside. It is called again with the same events after a
    /// failure.
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
