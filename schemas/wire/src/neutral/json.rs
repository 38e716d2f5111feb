//! A JSON value that is passed on without being read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value over the bytes that it arrived as. Two values are equal if they parse to the same value.
#[derive(Clone)]
pub struct Json<'a>(pub Cow<'a, RawValue>);

impl Json<'_> {
    /// Returns the value as text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Creates a value from anything that can be serialized; `null` if it cannot.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Json<'static> {
        let raw = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Json(Cow::Owned(raw))
    }

    /// Creates a value from JSON text; `None` if the text is not JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Json<'static>> {
        RawValue::from_string(text.to_owned()).ok().map(|raw| Json(Cow::Owned(raw)))
    }

    /// Reads the value as a type; `None` if it is none.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.get()).ok()
    }

    /// Returns the value as a tree; `null` if the text is too deep.
    #[must_use]
    pub fn value(&self) -> Value {
        self.read().unwrap_or(Value::Null)
    }

    /// Returns the value without its borrowed bytes.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self(Cow::Borrowed(raw))
    }
}

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.value() == other.value()
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.get())
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::from)
    }
}
