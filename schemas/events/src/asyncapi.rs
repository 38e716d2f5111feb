//! The AsyncAPI 3.0 document of the public events: requests, usage and keys. It contains every schema that it needs.

use serde_json::{Map, Value, json};

use crate::schema::{all, is_public};
use crate::subject::Stream;

/// The prefix of a definition's address in a schema of its own, and in the document.
const DEFINITION: &str = "#/$defs/";
const COMPONENT: &str = "#/components/schemas/";
/// The streams with public events, and the subjects of those events.
const CHANNELS: [(Stream, &str); 3] = [
    (Stream::Requests, "arouter.v1.request.{partition}.{account}.{verb}"),
    (Stream::Usage, "arouter.v1.usage.{partition}.{account}"),
    (Stream::Control, "arouter.v1.key.{account}.{key}.{verb}"),
];
const PARAMETERS: [(&str, &str); 4] = [
    ("partition", "The account's partition, 0 to 63: FNV-1a (64 bit) of its id, modulo 64."),
    ("account", "The account's id."),
    ("key", "The hash of the key."),
    ("verb", "The last word of the event's type before its version, such as finished."),
];

/// Returns the document.
#[must_use]
pub fn document() -> Value {
    let (mut messages, mut schemas) = (Map::new(), Map::new());
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for (stream, address) in CHANNELS {
        let mut of_channel = Map::new();
        for event in all().into_iter().filter(|event| event.stream == stream && is_public(event.kind)) {
            let name = event.kind.replace('.', "_");
            add(&mut schemas, &name, event.schema);
            let payload = json!({"$ref": format!("{COMPONENT}{name}")});
            let message = json!({
                "name": event.kind,
                "contentType": "application/cloudevents+json",
                "headers": {"type": "object", "properties": {"Nats-Msg-Id": {"type": "string", "description": "The event's id."}}},
                "payload": payload,
            });
            messages.insert(name.clone(), message);
            of_channel.insert(name.clone(), json!({"$ref": format!("#/components/messages/{name}")}));
        }
        let name = stream.name().to_lowercase();
        let used = PARAMETERS.iter().filter(|(parameter, _)| address.contains(&format!("{{{parameter}}}")));
        let parameters: Map<String, Value> =
            used.map(|(parameter, description)| ((*parameter).to_owned(), json!({"description": description}))).collect();
        let description = format!("The JetStream stream {}, read by a consumer.", stream.name());
        channels.insert(
            name.clone(),
            json!({"address": address, "description": description, "parameters": parameters, "messages": of_channel}),
        );
        let summary =
            format!("ARouter publishes the events of {}, each at least once; the event's id is the same each time.", stream.name());
        operations.insert(
            format!("publish_{name}"),
            json!({"action": "send", "summary": summary, "channel": {"$ref": format!("#/channels/{name}")}}),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "ARouter events", "version": "1", "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    })
}

/// Adds a schema, and its definitions as components of their own. A type has the same definition in every event.
fn add(schemas: &mut Map<String, Value>, name: &str, mut schema: Value) {
    redirect(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        if let Some(Value::Object(definitions)) = object.remove("$defs") {
            schemas.extend(definitions);
        }
    }
    schemas.insert(name.to_owned(), schema);
}

/// Lets every reference to a definition lead to a component.
fn redirect(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref")
                && let Some(definition) = target.strip_prefix(DEFINITION)
            {
                *target = format!("{COMPONENT}{definition}");
            }
            members.values_mut().for_each(redirect);
        }
        Value::Array(members) => members.iter_mut().for_each(redirect),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(members) => members.iter().for_each(|member| references(member, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_part_of_the_document() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30, "{found:?}");
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} is missing");
        }
    }

    #[test]
    fn a_type_has_one_definition_in_all_events() {
        let mut known: Map<String, Value> = Map::new();
        for event in all() {
            for (name, definition) in event.schema["$defs"].as_object().into_iter().flatten() {
                let before = known.entry(name.clone()).or_insert_with(|| definition.clone());
                assert_eq!(before, definition, "{name} in {}", event.kind);
            }
        }
    }
}
