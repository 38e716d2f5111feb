//! Google's schema, a subset of OpenAPI 3.0, as JSON Schema: types in lower case, `nullable` as a type. Source: Google's `Schema` type.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use super::spelling::{camel, list, text, whole};
use crate::fields::{Fields, quote};
use crate::neutral::Json;

/// The maximum depth of a schema; each level is scanned once more.
const DEPTH_MAX: usize = 64;
/// Keywords in Google's spelling; others are kept as they are.
const KEYWORDS: [&str; 11] = [
    "additionalProperties",
    "anyOf",
    "oneOf",
    "allOf",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
];

/// Returns a schema as JSON Schema; `None` if it is no schema.
pub fn converted(raw: &RawValue) -> Option<Json<'static>> {
    let mut text = Vec::with_capacity(raw.get().len());
    schema(raw, &mut text, DEPTH_MAX)?;
    Json::parse(std::str::from_utf8(&text).ok()?)
}

fn schema(raw: &RawValue, into: &mut Vec<u8>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if matches!(raw.get(), "true" | "false") {
        into.extend_from_slice(raw.get().as_bytes());
        return Some(());
    }
    let fields: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
    let members: Vec<(Cow<'_, str>, &RawValue)> = fields.0.iter().map(|(name, raw)| (keyword(name), *raw)).collect();
    let mut seen = HashSet::new();
    if !members.iter().all(|(name, _)| seen.insert(name.as_ref())) {
        return None;
    }
    let get = |name: &str| members.iter().find(|(member, _)| member == name).map(|(_, raw)| *raw);
    let is_nullable = get("nullable").is_some_and(|raw| raw.get() == "true");
    into.push(b'{');
    let start = into.len();
    for (name, raw) in &members {
        let is_left_out = raw.get() == "null" && name != "default" && name != "const";
        if is_left_out || matches!(name.as_ref(), "nullable" | "propertyOrdering" | "example") || is_enum_format(name, raw) {
            continue;
        }
        let before = into.len();
        if before > start {
            into.push(b',');
        }
        quote(name, into);
        into.push(b':');
        let written = into.len();
        member(name, raw, is_nullable, into, depth)?;
        if into.len() == written {
            into.truncate(before);
        }
    }
    into.push(b'}');
    Some(())
}

/// Writes the value of a keyword; nothing if it is left out.
fn member(name: &str, raw: &RawValue, is_nullable: bool, into: &mut Vec<u8>, depth: usize) -> Option<()> {
    match name {
        "type" => types(raw, is_nullable, into),
        "properties" | "$defs" => {
            let fields: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
            separated(*b"{}", fields.0.iter(), into, |(name, raw), into| {
                quote(name, into);
                into.push(b':');
                schema(raw, into, depth)
            })?;
        }
        "items" | "additionalProperties" | "not" => schema(raw, into, depth)?,
        "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
            let null = RawValue::from_string(r#"{"type":"null"}"#.to_owned()).ok()?;
            let more = (is_nullable && name == "anyOf").then_some(&*null);
            separated(*b"[]", list(raw).into_iter().chain(more), into, |raw, into| schema(raw, into, depth))?;
        }
        "enum" => {
            let more = is_nullable.then_some(RawValue::NULL);
            separated(*b"[]", list(raw).into_iter().chain(more), into, |raw, into| {
                into.extend_from_slice(raw.get().as_bytes());
                Some(())
            })?;
        }
        "$ref" => quote(&text(raw)?.replacen("#/defs/", "#/$defs/", 1), into),
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => match whole(raw) {
            Some(count) => into.extend_from_slice(count.to_string().as_bytes()),
            None => into.extend_from_slice(raw.get().as_bytes()),
        },
        _ => into.extend_from_slice(raw.get().as_bytes()),
    }
    Some(())
}

/// Writes the elements of an array or the members of an object.
fn separated<T>(
    ends: [u8; 2],
    all: impl Iterator<Item = T>,
    into: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let [open, close] = ends;
    into.push(open);
    for (at, element) in all.enumerate() {
        if at > 0 {
            into.push(b',');
        }
        write(element, into)?;
    }
    into.push(close);
    Some(())
}

/// Writes a type in lower case; nothing for an unspecified one.
fn types(raw: &RawValue, is_nullable: bool, into: &mut Vec<u8>) {
    let Some(name) = text(raw) else { return into.extend_from_slice(raw.get().as_bytes()) };
    let name = name.to_ascii_lowercase();
    if name == "type_unspecified" {
        return;
    }
    if is_nullable && name != "null" {
        into.push(b'[');
        quote(&name, into);
        into.extend_from_slice(b",\"null\"]");
    } else {
        quote(&name, into);
    }
}

fn is_enum_format(name: &str, raw: &RawValue) -> bool {
    name == "format" && raw.get() == "\"enum\""
}

/// Returns the keyword of JSON Schema for Google's spelling.
fn keyword(name: &str) -> Cow<'_, str> {
    match name {
        "defs" => Cow::Borrowed("$defs"),
        "ref" => Cow::Borrowed("$ref"),
        name => {
            let camel = camel(Cow::Borrowed(name));
            if KEYWORDS.contains(&camel.as_ref()) { camel } else { Cow::Borrowed(name) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        converted(&RawValue::from_string(text.to_owned()).unwrap()).map(|schema| schema.get().to_owned())
    }

    #[test]
    fn types_become_lower_case_and_null_a_type() {
        for (google, expected) in [
            (r#"{"type":"STRING"}"#, r#"{"type":"string"}"#),
            (r#"{"type":"INTEGER","nullable":true}"#, r#"{"type":["integer","null"]}"#),
            (r#"{"type":"STRING","nullable":true,"enum":["a"],"format":"enum"}"#, r#"{"type":["string","null"],"enum":["a",null]}"#),
            (r#"{"any_of":[{"type":"STRING"}],"nullable":true}"#, r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#),
            (r#"{"type":"ARRAY","items":{"type":"NUMBER"},"min_items":"2"}"#, r#"{"type":"array","items":{"type":"number"},"minItems":2}"#),
            (r#"{"type":"TYPE_UNSPECIFIED","title":"t"}"#, r#"{"title":"t"}"#),
            (r#"{"title":"t","type":"TYPE_UNSPECIFIED"}"#, r#"{"title":"t"}"#),
            (r##"{"ref":"#/defs/A","defs":{"A":{"type":"BOOLEAN"}}}"##, r##"{"$ref":"#/$defs/A","$defs":{"A":{"type":"boolean"}}}"##),
            (r#"{"type":["string","null"]}"#, r#"{"type":["string","null"]}"#),
        ] {
            assert_eq!(of(google).as_deref(), Some(expected), "{google}");
        }
    }

    #[test]
    fn names_of_properties_stay_and_so_does_their_order() {
        let google = r#"{"type":"OBJECT","properties":{"z_a":{"type":"STRING"},"nullable":{"type":"STRING"},"any_of":{"type":"STRING"}},"propertyOrdering":["z_a"],"required":["z_a"]}"#;
        let expected = r#"{"type":"object","properties":{"z_a":{"type":"string"},"nullable":{"type":"string"},"any_of":{"type":"string"}},"required":["z_a"]}"#;
        assert_eq!(of(google).as_deref(), Some(expected));
    }

    #[test]
    fn a_schema_that_is_none_or_too_deep_is_refused() {
        assert_eq!(of("7"), None);
        assert_eq!(of(r#"{"properties":{"a":7}}"#), None);
        assert_eq!(of(r#"{"anyOf":[],"any_of":[]}"#), None);
        let deep = |levels: usize| format!("{}{}{}", r#"{"items":"#.repeat(levels), "{}", "}".repeat(levels));
        assert!(of(&deep(63)).is_some());
        assert!(of(&deep(64)).is_none());
        assert!(of(&deep(50_000)).is_none());
    }
}
