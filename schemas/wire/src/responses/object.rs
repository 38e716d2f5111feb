//! JSON objects that are written member by member.

use serde::Serialize;

use crate::fields::quote;
use crate::neutral::Json;

/// A JSON object under construction.
#[derive(Debug)]
pub struct Object(Vec<u8>);

impl Object {
    /// Creates an empty object.
    pub fn new() -> Self {
        Self(vec![b'{'])
    }

    /// Returns whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Appends a member.
    pub fn put(&mut self, name: &str, value: &impl Serialize) {
        if !self.is_empty() {
            self.0.push(b',');
        }
        quote(name, &mut self.0);
        self.0.push(b':');
        // Serialization into memory fails only for values that are no JSON, and there are none.
        if serde_json::to_writer(&mut self.0, value).is_err() {
            self.0.extend_from_slice(b"null");
        }
    }

    /// Appends a member if there is a value.
    pub fn put_some(&mut self, name: &str, value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Returns the object's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    /// Returns the object as a value.
    pub fn into_json(self) -> Json<'static> {
        let text = String::from_utf8(self.finish()).unwrap_or_default();
        Json::parse(&text).unwrap_or_else(|| Json::of(&()))
    }
}
