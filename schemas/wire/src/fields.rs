//! The top level of a JSON object with raw values, so that a few can be replaced and the rest passed on unchanged.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The number of members that are read without a second allocation.
const USUAL_MEMBERS: usize = 12;

/// The members of a JSON object in order, with raw values.
#[derive(Debug, Clone)]
pub struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                members(map)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn members<'de, M: MapAccess<'de>>(mut map: M) -> Result<Fields<'de>, M::Error> {
    let mut members = Vec::with_capacity(USUAL_MEMBERS);
    while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
        members.push((name, value));
    }
    Ok(Fields(members))
}

/// An element of an array of objects.
#[derive(Debug, Clone)]
pub enum Element<'a> {
    Object(Fields<'a>),
    /// A value of another type.
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON value")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                members(map).map(Element::Object)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A member's name, borrowed unless it contains escapes.
pub(crate) struct Name<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// Fails if the bytes are not a JSON object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Returns the raw value of a member; the last one if the name occurs twice.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// Returns the value of a member; `None` if it is absent or null.
    ///
    /// # Errors
    /// Fails if the value is not a `T`.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.get(name).map_or(Ok(None), |raw| serde_json::from_str(raw.get()))
    }

    /// Returns a name that occurs more than once.
    #[must_use]
    pub fn repeated(&self) -> Option<&str> {
        if self.0.len() <= USUAL_MEMBERS {
            let is_repeated =
                |(at, (name, _)): &(usize, &(Cow<'_, str>, &RawValue))| self.0.iter().take(*at).any(|(before, _)| before == name);
            return self.0.iter().enumerate().find(is_repeated).map(|(_, (name, _))| name.as_ref());
        }
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Writes the object with some members replaced (in place, or appended if absent) or left out.
    pub fn write(&self, edits: &[(&str, Edit<'_>)], into: &mut Vec<u8>) {
        into.push(b'{');
        let start = into.len();
        for (name, value) in &self.0 {
            match edits.iter().find(|(edited, _)| edited == name) {
                None => member(into, start, name, value.get()),
                Some((_, Edit::Put(text))) => member(into, start, name, text),
                Some((_, Edit::Drop)) => {}
            }
        }
        for (name, edit) in edits {
            match edit {
                Edit::Put(text) if self.get(name).is_none() => member(into, start, name, text),
                Edit::Put(_) | Edit::Drop => {}
            }
        }
        into.push(b'}');
    }
}

/// A change to a member.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// A raw JSON value that the member gets.
    Put(&'a str),
    /// Omission of the member.
    Drop,
}

fn member(into: &mut Vec<u8>, start: usize, name: &str, value: &str) {
    if into.len() > start {
        into.push(b',');
    }
    quote(name, into);
    into.push(b':');
    into.extend_from_slice(value.as_bytes());
}

/// Appends a text as a JSON string.
pub fn quote(text: &str, into: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        into.push(b'"');
        into.extend_from_slice(text.as_bytes());
        into.push(b'"');
    } else {
        into.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Passes each element of an array to `see`, one after the other, so that many small ones take no memory. A caller that needs no raw
/// elements reads them as [`Fields`] or [`Element`], since a raw value is scanned once more by whoever reads it.
///
/// # Errors
/// Fails if the value is no array, or if an element is no `T`.
pub fn each<'a, T: Deserialize<'a>>(raw: &'a RawValue, see: impl FnMut(T)) -> Result<(), serde_json::Error> {
    struct Each<F, T>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<F, T> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<F, T> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut elements: S) -> Result<(), S::Error> {
            while let Some(element) = elements.next_element::<T>()? {
                self.0(element);
            }
            Ok(())
        }
    }
    Each(see, PhantomData).deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

/// Reads a string. The value is known to be JSON, so a string without escapes is not scanned for its end again.
#[must_use]
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Name<'_>>(raw.get()).ok().map(|Name(text)| text)
}

/// Returns a text as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    quote(text, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_foreign_bytes_and_replaces_ours() {
        let text = br#"{"a" : 1.0e0,"model":"x","z":{"k": [1,  2]},"gone":1}"#;
        let fields = Fields::parse(text).unwrap();
        let mut out = Vec::new();
        fields.write(&[("model", Edit::Put("\"y\"")), ("gone", Edit::Drop), ("absent", Edit::Drop), ("new", Edit::Put("true"))], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":1.0e0,"model":"y","z":{"k": [1,  2]},"new":true}"#);
    }

    #[test]
    fn finds_a_member_that_stands_there_twice() {
        assert_eq!(Fields::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap().repeated(), Some("a"));
        assert_eq!(Fields::parse(br#"{"a":1,"b":2}"#).unwrap().repeated(), None);
        assert_eq!(Fields::parse(br#"{"model":1,"mod\u0065l":2}"#).unwrap().repeated(), Some("model"));
    }

    #[test]
    fn texts_are_borrowed_unless_they_have_escapes() {
        let of = |json: &str| {
            text(&RawValue::from_string(json.to_owned()).unwrap()).map(|text| (matches!(text, Cow::Borrowed(_)), text.into_owned()))
        };
        assert_eq!(of(r#""a é""#), Some((true, "a é".to_owned())));
        assert_eq!(of(r#""""#), Some((true, String::new())));
        assert_eq!(of(r#""a\"\u00e9\\""#), Some((false, "a\"é\\".to_owned())));
        assert_eq!((of(r#""\ud800""#), of("7"), of("null"), of("[\"\"]")), (None, None, None, None));
    }

    #[test]
    fn elements_are_objects_or_something_else() {
        let raw = RawValue::from_string(r#"[{"a":[1]},7,-7,1.5,1e5,"x","\u00e9",null,true,[[{}],"]"],{}]"#.to_owned()).unwrap();
        let mut members = Vec::new();
        each(&raw, |element| match element {
            Element::Object(fields) => members.push(Some(fields.0.len())),
            Element::Other => members.push(None),
        })
        .unwrap();
        assert_eq!(members, [Some(1), None, None, None, None, None, None, None, None, None, Some(0)]);
        let mut ids = Vec::new();
        assert!(each(&raw, |fields: Fields<'_>| ids.push(fields.get("a").map(RawValue::get))).is_err(), "the second is no object");
        assert_eq!(ids, [Some("[1]")]);
    }

    #[test]
    fn refuses_what_is_no_object() {
        for bytes in [&b"[]"[..], b"1", b"", b"{", b"\xff", b"{\"a\":\"\xff\"}"] {
            assert!(Fields::parse(bytes).is_err());
        }
    }
}
