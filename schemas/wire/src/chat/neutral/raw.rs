//! Readers of raw JSON values.

use serde_json::value::RawValue;

use crate::fields::Fields;
use crate::neutral::Text;

pub use crate::fields::text;

/// Reads the string in a member.
pub fn text_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Text<'a>> {
    fields.get(name).and_then(text)
}

/// Reads an object.
pub fn object(raw: &RawValue) -> Option<Fields<'_>> {
    Fields::parse(raw.get().as_bytes()).ok()
}

/// Reads the object in a member.
pub fn object_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Fields<'a>> {
    fields.get(name).and_then(object)
}

/// Reads the elements of an array.
pub fn array(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// Reads the array in a member; an absent one and null have no elements.
pub fn array_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Vec<&'a RawValue>> {
    match fields.get(name) {
        None => Some(Vec::new()),
        Some(raw) if raw.get() == "null" => Some(Vec::new()),
        Some(raw) => array(raw),
    }
}

/// Returns whether a value says nothing.
pub fn is_blank(raw: &RawValue) -> bool {
    matches!(raw.get(), "null" | "[]" | "{}" | "\"\"")
}

/// Returns whether every member that says something has one of the names.
pub fn has_only(fields: &Fields<'_>, names: &[&str]) -> bool {
    fields.0.iter().all(|(name, raw)| names.contains(&name.as_ref()) || is_blank(raw))
}
