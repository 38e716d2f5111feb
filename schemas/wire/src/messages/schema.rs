//! JSON Schemas in the subset that Anthropic enforces. Source: the transformation of schemas in Anthropic's SDK for Python.

use serde_json::value::RawValue;

use super::members::{all, given, object, string};
use crate::fields::{Fields, quote, quoted};
use crate::neutral::{Json, Text, Untranslatable};

/// The maximum depth of a schema.
const DEPTH_MAX: u32 = 64;
/// Keywords that are not enforced; the model reads them in the description.
const UNSUPPORTED: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "contains",
    "minProperties",
    "maxProperties",
    "patternProperties",
];
/// The formats of strings that are enforced.
const FORMATS: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// Keywords with schemas by name, one schema, and a list of schemas.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
const SINGLE: [&str; 2] = ["items", "not"];
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];

/// Returns a schema whose objects take no other properties, with keywords that are not enforced moved into descriptions.
///
/// # Errors
/// Fails with the field if an object must take properties of any name, or if the schema is too deep.
pub fn closed<'r>(schema: &Json<'r>, field: &'static str) -> Result<Json<'r>, Untranslatable> {
    let mut text = Vec::with_capacity(schema.get().len() + 64);
    let written = write(&schema.0, &mut text, 0);
    written.map_err(|reason| Untranslatable::new(field, reason))?;
    Ok(String::from_utf8(text).ok().and_then(|text| Json::parse(&text)).unwrap_or_else(|| schema.clone()))
}

fn write(raw: &RawValue, into: &mut Vec<u8>, depth: u32) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("the schema is too deep");
    }
    let Some(schema) = object(raw) else {
        into.extend_from_slice(raw.get().as_bytes());
        return Ok(());
    };
    into.push(b'{');
    let start = into.len();
    for (name, raw) in schema.0.iter().filter(|(name, raw)| !is_moved(name, raw) && name != "description") {
        member(name, into, start);
        keyword(name, raw, into, depth)?;
    }
    if is_object(&schema) && schema.get("additionalProperties").is_none() {
        member("additionalProperties", into, start);
        into.extend_from_slice(b"false");
    }
    if let Some(description) = description(&schema) {
        member("description", into, start);
        into.extend_from_slice(description.as_bytes());
    }
    into.push(b'}');
    Ok(())
}

fn member(name: &str, into: &mut Vec<u8>, start: usize) {
    if into.len() > start {
        into.push(b',');
    }
    quote(if name == "oneOf" { "anyOf" } else { name }, into);
    into.push(b':');
}

fn keyword(name: &str, raw: &RawValue, into: &mut Vec<u8>, depth: u32) -> Result<(), &'static str> {
    let named = NAMED.contains(&name).then(|| object(raw)).flatten();
    let listed = LISTED.contains(&name).then(|| all(raw, Some)).flatten();
    match (named, listed) {
        (Some(schemas), _) => {
            into.push(b'{');
            let start = into.len();
            for (name, raw) in &schemas.0 {
                if into.len() > start {
                    into.push(b',');
                }
                quote(name, into);
                into.push(b':');
                write(raw, into, depth + 1)?;
            }
            into.push(b'}');
        }
        (None, Some(schemas)) => {
            into.push(b'[');
            for (index, raw) in schemas.into_iter().enumerate() {
                if index > 0 {
                    into.push(b',');
                }
                write(raw, into, depth + 1)?;
            }
            into.push(b']');
        }
        (None, None) if SINGLE.contains(&name) => write(raw, into, depth + 1)?,
        (None, None) if name == "additionalProperties" => {
            if raw.get().starts_with('{') {
                return Err("an object in the schema must name its properties; 'additionalProperties' must be false");
            }
            into.extend_from_slice(b"false");
        }
        (None, None) => into.extend_from_slice(raw.get().as_bytes()),
    }
    Ok(())
}

/// Returns whether a schema is of an object, or of an object or something else.
fn is_object(schema: &Fields<'_>) -> bool {
    let named = |raw: &RawValue| string(raw).is_some_and(|kind| kind == "object");
    let kind = schema.get("type").is_some_and(|raw| named(raw) || all(raw, |raw| Some(named(raw))).is_some_and(|all| all.contains(&true)));
    kind || schema.get("properties").is_some()
}

/// Returns whether a keyword is moved into the description.
fn is_moved(name: &str, raw: &RawValue) -> bool {
    match name {
        "format" => string(raw).is_some_and(|format| !FORMATS.contains(&format.as_ref())),
        "minItems" => !matches!(raw.get(), "0" | "1"),
        name => UNSUPPORTED.contains(&name),
    }
}

/// Returns the description, with the keywords that are moved into it, as JSON text.
fn description(schema: &Fields<'_>) -> Option<String> {
    let moved: Vec<String> =
        schema.0.iter().filter(|(name, raw)| is_moved(name, raw)).map(|(name, raw)| format!("{name}: {}", raw.get())).collect();
    let own = given(schema, "description");
    if moved.is_empty() {
        return own.map(|raw| raw.get().to_owned());
    }
    let own = own.and_then(string).map(|text| text + "\n\n").unwrap_or_default();
    Some(quoted(&(own + Text::Owned(format!("{{{}}}", moved.join(", "))))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: &str) -> Result<String, Untranslatable> {
        closed(&Json::parse(schema).unwrap(), "f").map(|json| json.get().to_owned())
    }

    #[test]
    fn objects_are_closed_at_every_depth_and_the_order_is_kept() {
        assert_eq!(
            of(r#"{"type":"object","properties":{"z":{"type":["object","null"],"properties":{}},"a":{"type":"array","items":{"type":"object"}}},
                "$defs":{"d":{"oneOf":[{"type":"object","additionalProperties":true},{"$ref":"x"}]}}}"#)
            .unwrap(),
            r#"{"type":"object","properties":{"z":{"type":["object","null"],"properties":{},"additionalProperties":false},"a":{"type":"array","items":{"type":"object","additionalProperties":false}}},"$defs":{"d":{"anyOf":[{"type":"object","additionalProperties":false},{"$ref":"x"}]}},"additionalProperties":false}"#
        );
    }

    #[test]
    fn a_closed_schema_is_unchanged() {
        let schema =
            r#"{"type":"object","properties":{"city":{"type":"string","format":"date"}},"required":["city"],"additionalProperties":false}"#;
        assert_eq!(of(schema).unwrap(), schema);
    }

    #[test]
    fn what_is_not_enforced_is_described() {
        assert_eq!(
            of(r#"{"type":"integer","minimum":1,"maximum":10,"description":"A number"}"#).unwrap(),
            r#"{"type":"integer","description":"A number\n\n{minimum: 1, maximum: 10}"}"#
        );
        assert_eq!(of(r#"{"type":"string","format":"color"}"#).unwrap(), r#"{"type":"string","description":"{format: \"color\"}"}"#);
        assert_eq!(of(r#"{"type":"array","minItems":1}"#).unwrap(), r#"{"type":"array","minItems":1}"#);
        assert_eq!(
            of(r#"{"properties":{"minimum":{"type":"string"}},"type":"object","additionalProperties":false}"#)
                .unwrap()
                .matches("minimum")
                .count(),
            1
        );
    }

    #[test]
    fn maps_and_bottomless_schemas_are_refused() {
        assert_eq!(of(r#"{"type":"object","additionalProperties":{"type":"string"}}"#).unwrap_err().field, "f");
        let deep = format!("{}{}{}", r#"{"items":"#.repeat(100), "{}", "}".repeat(100));
        assert!(of(&deep).is_err());
    }
}
