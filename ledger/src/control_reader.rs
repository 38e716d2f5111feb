//! The reader of `CONTROL`: creates accounts and sets the limits of keys. The highest revision wins, whatever the order of events.

use eventlog::{Applied, Event, Fold, Rejected};
use events::Payload;
use events::control::{Account, AccountCreated, AccountUpdated, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated};
use sqlx::AnyConnection;

use crate::{account, key};

/// A fold that writes accounts and keys.
pub struct NoteControl;

impl Fold for NoteControl {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            for event in events {
                match change(event) {
                    Ok(Change::Account(account)) => {
                        let revision = i64::try_from(account.revision).unwrap_or(i64::MAX);
                        account::repo::upsert(connection, account.id.as_str(), &account.name, account.created_at_us, revision).await?;
                    }
                    Ok(Change::Key(key)) => key::repo::upsert(connection, &key).await?,
                    Err(reason) => rejected.push(Rejected { record: event.record, reason, freezes_account: None }),
                }
            }
            Ok(rejected)
        })
    }
}

enum Change {
    Account(Account),
    Key(Box<events::control::Key>),
}

fn change(event: &Event<'_>) -> Result<Change, String> {
    let envelope = &event.envelope;
    let key = |key| Ok(Change::Key(Box::new(key)));
    let read = match envelope.kind {
        AccountCreated::KIND => envelope.payload::<AccountCreated>().map(|event| Change::Account(event.account)),
        AccountUpdated::KIND => envelope.payload::<AccountUpdated>().map(|event| Change::Account(event.account)),
        KeyCreated::KIND => envelope.payload::<KeyCreated>().and_then(|event| key(event.key)),
        KeyUpdated::KIND => envelope.payload::<KeyUpdated>().and_then(|event| key(event.key)),
        KeyDisabled::KIND => envelope.payload::<KeyDisabled>().and_then(|event| key(event.key)),
        KeyDeleted::KIND => envelope.payload::<KeyDeleted>().and_then(|event| key(event.key)),
        other => return Err(format!("unknown type {other}")),
    };
    read.map_err(|error| error.to_string())
}
