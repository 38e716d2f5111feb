//! Members of objects, read as the types that blocks consist of.

use serde_json::value::RawValue;

use crate::fields::{self, Fields};
use crate::neutral::Text;

pub use crate::fields::text as string;

/// Reads an object; `None` if the value is none.
pub fn object(raw: &RawValue) -> Option<Fields<'_>> {
    Fields::parse(raw.get().as_bytes()).ok()
}

/// Returns a member that is neither absent nor null.
pub fn given<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.get(name).filter(|raw| raw.get() != "null")
}

/// Returns a member that is a string.
pub fn text<'a>(fields: &Fields<'a>, name: &str) -> Option<Text<'a>> {
    fields.get(name).and_then(string)
}

/// Returns whether an object has only these members, and none twice. Members that are null count as absent.
pub fn only(fields: &Fields<'_>, names: &[&str]) -> bool {
    fields.repeated().is_none() && fields.0.iter().all(|(name, raw)| names.contains(&name.as_ref()) || raw.get() == "null")
}

/// Returns the bytes of a value; those of a string without its quotes.
pub fn length(raw: &RawValue) -> u64 {
    let bytes = if raw.get().starts_with('"') { raw.get().len().saturating_sub(2) } else { raw.get().len() };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Passes each element of an array to `see`. `None` if the value is no array.
pub fn each<'a>(raw: &'a RawValue, see: impl FnMut(&'a RawValue)) -> Option<()> {
    fields::each(raw, see).ok()
}

/// Reads each element of an array; `None` if the value is no array, or if `read` returns `None` for an element.
pub fn all<'a, T>(raw: &'a RawValue, mut read: impl FnMut(&'a RawValue) -> Option<T>) -> Option<Vec<T>> {
    let mut elements = Some(Vec::new());
    each(raw, |element| {
        elements = elements.take().and_then(|mut elements: Vec<T>| {
            elements.push(read(element)?);
            Some(elements)
        });
    })?;
    elements
}
