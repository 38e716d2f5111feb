//! The reader of `CONTROL`: creates accounts and sets the limits of keys. The highest revision wins, whatever the order of events.

use eventlog::store::to_db;
use eventlog::{Applied, Event, Fold, Rejected};
use events::catalog;
use events::control::ControlEvent;
use sqlx::AnyConnection;

use crate::key::claim;
use crate::{account, key};

/// A fold that writes accounts and keys.
pub struct NoteControl;

impl Fold for NoteControl {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            for event in events {
                match ControlEvent::read(&event.envelope) {
                    Ok(Some(ControlEvent::Account(account))) => {
                        let revision = to_db(account.revision)?;
                        account::repo::upsert(connection, account.id.as_str(), &account.name, account.created_at_us, revision).await?;
                    }
                    Ok(Some(ControlEvent::Key(key) | ControlEvent::KeyDeleted(key))) => key::repo::upsert(connection, &key).await?,
                    Ok(Some(ControlEvent::Catalog(catalog))) => claim::note(connection, catalog::SUBJECT, to_db(catalog.version)?).await?,
                    // The books have neither webhooks nor names of end users.
                    Ok(Some(
                        ControlEvent::Webhook(_)
                        | ControlEvent::WebhookDeleted(_)
                        | ControlEvent::ProviderKey(_)
                        | ControlEvent::UserErased(_),
                    )) => {}
                    Ok(None) => rejected.push(Rejected::new(event, format!("unknown type {}", event.envelope.kind))),
                    Err(error) => rejected.push(Rejected::new(event, error.to_string())),
                }
            }
            Ok(rejected)
        })
    }
}
