//! JSON Schemas of every event.
//!
//! They and golden events are generated from the types and checked in under `schemas/events/{json,golden}`. A test regenerates them and fails on a
//! difference. To accept a change, run the test with `UPDATE_SCHEMAS=1`.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::catalog::CatalogChanged;
use crate::control::{AccountCreated, AccountUpdated, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated, UserErased};
use crate::damaged::{KeyDamaged, RequestDamaged, UsageDamaged};
use crate::ledger::{CreditPosted, LeaseChanged, UsagePosted};
use crate::payload::Payload;
use crate::provider_key::ProviderKeyChanged;
use crate::request::{RequestFinished, RequestProgress, RequestRefused, RequestStarted};
use crate::subject::Stream;
use crate::usage_recorded::UsageRecorded;
use crate::webhook::{WebhookChanged, WebhookDeleted};

/// A generated schema: its file name, the event type, its stream and the schema of the whole event.
#[derive(Debug)]
pub struct EventSchema {
    /// The file name, such as `usage.recorded.v1.json`.
    pub file: &'static str,
    /// The event type, such as `arouter.usage.recorded.v1`.
    pub kind: &'static str,
    pub stream: Stream,
    /// The schema in JSON Schema 2020-12.
    pub schema: Value,
}

/// Returns the schemas of all events.
#[must_use]
pub fn all() -> Vec<EventSchema> {
    vec![
        event::<RequestStarted>(),
        event::<RequestProgress>(),
        event::<RequestFinished>(),
        event::<RequestRefused>(),
        event::<RequestDamaged>(),
        event::<UsageDamaged>(),
        event::<KeyDamaged>(),
        event::<UsageRecorded>(),
        event::<KeyCreated>(),
        event::<KeyUpdated>(),
        event::<KeyDisabled>(),
        event::<KeyDeleted>(),
        event::<AccountCreated>(),
        event::<AccountUpdated>(),
        event::<UserErased>(),
        event::<WebhookChanged>(),
        event::<WebhookDeleted>(),
        event::<CatalogChanged>(),
        event::<ProviderKeyChanged>(),
        event::<CreditPosted>(),
        event::<LeaseChanged>(),
        event::<UsagePosted>(),
    ]
}

fn event<P: Payload + JsonSchema>() -> EventSchema {
    let data = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<P>();
    let mut data = data.to_value();
    let definitions = data.as_object_mut().and_then(|object| {
        object.remove("$schema");
        object.remove("$defs")
    });
    let text = || json!({"type": "string", "minLength": 1});
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": P::KIND,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "account", "sequence", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid"},
            "source": {"type": "string", "pattern": "^/(gateway|ledger)/"},
            "type": {"const": P::KIND},
            "subject": text(),
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"const": P::SCHEMA},
            "account": text(),
            "sequence": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            "traceparent": text(),
            "data": data,
        },
    });
    if let (Some(definitions), Some(object)) = (definitions, schema.as_object_mut()) {
        object.insert("$defs".into(), definitions);
    }
    EventSchema { file: P::SCHEMA, kind: P::KIND, stream: P::STREAM, schema }
}

/// Returns whether subscribers may read events of a type: those about requests, usage and keys.
#[must_use]
pub fn is_public(kind: &str) -> bool {
    ["arouter.request.", "arouter.usage.", "arouter.key."].iter().any(|family| kind.starts_with(family))
}
