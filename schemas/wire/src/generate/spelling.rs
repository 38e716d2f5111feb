//! Spellings: Google reads every field in camelCase and in snake_case, a null as absent, and numbers as text too.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use crate::fields::{self, Fields};
use crate::neutral::Text;

pub use crate::fields::text;

/// Returns a name in camelCase.
pub fn camel(name: Cow<'_, str>) -> Cow<'_, str> {
    if !name.contains('_') {
        return name;
    }
    let mut camel = String::with_capacity(name.len());
    let mut is_upper = false;
    for letter in name.chars() {
        match letter {
            '_' => is_upper = !camel.is_empty(),
            letter if is_upper => {
                camel.push(letter.to_ascii_uppercase());
                is_upper = false;
            }
            letter => camel.push(letter),
        }
    }
    Cow::Owned(camel)
}

/// Returns the members under their names in camelCase, nulls included.
pub fn canonical(mut fields: Fields<'_>) -> Fields<'_> {
    for (name, _) in fields.0.iter_mut().filter(|(name, _)| name.contains('_')) {
        *name = camel(std::mem::take(name));
    }
    fields
}

/// Returns the members without nulls.
pub fn present(mut fields: Fields<'_>) -> Fields<'_> {
    fields.0.retain(|(_, raw)| raw.get() != "null");
    fields
}

/// Reads an object: names in camelCase, no nulls. `None` if it is none, or if a member is given twice.
pub fn object(raw: &RawValue) -> Option<Fields<'_>> {
    named(serde_json::from_str(raw.get()).ok()?)
}

/// Returns members under their names in camelCase, without nulls. `None` if one is given twice.
pub fn named(fields: Fields<'_>) -> Option<Fields<'_>> {
    let fields = canonical(fields);
    if fields.repeated().is_some() { None } else { Some(present(fields)) }
}

/// Reads the object under a name.
pub fn member<'a>(fields: &Fields<'a>, name: &str) -> Option<Fields<'a>> {
    object(fields.get(name)?)
}

/// Returns the caller's spelling of a name; the name itself if it is absent.
pub fn spelled<'f>(fields: &'f Fields<'_>, name: &'f str) -> &'f str {
    fields.0.iter().map(|(own, _)| own.as_ref()).find(|own| camel(Cow::Borrowed(own)) == name).unwrap_or(name)
}

/// Reads the string under a name.
pub fn text_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Text<'a>> {
    text(fields.get(name)?)
}

/// Reads a number, also as text.
pub fn number(raw: &RawValue) -> Option<Number> {
    serde_json::from_str(raw.get()).ok().or_else(|| serde_json::from_str(text(raw)?.trim()).ok())
}

/// Reads a whole number, also as text or in the form `12.0`.
pub fn whole(raw: &RawValue) -> Option<i64> {
    let number = number(raw)?.to_string();
    let whole =
        number.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0')).map_or(number.as_str(), |(whole, _)| whole);
    whole.parse().ok()
}

/// Reads a count under a name; a negative one is absent.
pub fn count_of(fields: &Fields<'_>, name: &str) -> Option<u64> {
    u64::try_from(whole(fields.get(name)?)?).ok()
}

/// Passes each element of an array to `see`. A single object counts as an array of one, as Google reads it.
///
/// # Errors
/// Fails if the value is neither, or if an element is no `T`.
pub fn each<'a, T: Deserialize<'a>>(raw: &'a RawValue, mut see: impl FnMut(T)) -> Result<(), serde_json::Error> {
    if raw.get().starts_with('{') {
        see(serde_json::from_str(raw.get())?);
        return Ok(());
    }
    fields::each(raw, see)
}

/// Passes each element of an array to `see` like [`each`], until it fails. The inner result is its first error.
///
/// # Errors
/// Fails like [`each`].
pub fn try_each<'a, T: Deserialize<'a>, E>(
    raw: &'a RawValue,
    mut see: impl FnMut(T) -> Result<(), E>,
) -> serde_json::Result<Result<(), E>> {
    let mut result = Ok(());
    each(raw, |element| {
        if result.is_ok() {
            result = see(element);
        }
    })?;
    Ok(result)
}

/// Returns the elements of an array; none if the value is no array.
pub fn list(raw: &RawValue) -> Vec<&RawValue> {
    let mut all = Vec::new();
    match each(raw, |element| all.push(element)) {
        Ok(()) => all,
        Err(_) => Vec::new(),
    }
}

/// Returns the elements of the array under a name.
pub fn list_of<'a>(fields: &Fields<'a>, name: &str) -> Vec<&'a RawValue> {
    fields.get(name).map(list).unwrap_or_default()
}

/// Returns the length of a raw value in bytes.
pub fn length(raw: &RawValue) -> u64 {
    u64::try_from(raw.get().len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_name() {
        for (name, expected) in
            [("inline_data", "inlineData"), ("inlineData", "inlineData"), ("top_p", "topP"), ("text", "text"), ("_x", "x")]
        {
            assert_eq!(camel(name.into()), expected);
        }
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert!(object(&raw(r#"{"top_p":1,"topP":null}"#)).is_none(), "given twice");
        assert_eq!(object(&raw(r#"{"top_p":1,"seed":null}"#)).unwrap().0.len(), 1);
    }

    #[test]
    fn numbers_may_be_text() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for (given, expected) in
            [("5", Some(5)), ("\"5\"", Some(5)), ("5.0", Some(5)), ("-1", Some(-1)), ("5.5", None), ("\"x\"", None), ("[]", None)]
        {
            assert_eq!(whole(&raw(given)), expected, "{given}");
        }
    }
}
