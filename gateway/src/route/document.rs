//! The operator's catalogue as a document: a list of models and splits, in the fields of the configuration.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{ModelConfig, SplitConfig};

/// The maximum bytes of a document as JSON. An event of at most 64 KiB contains the whole document.
pub const BYTES_MAX: usize = 60_000;

/// A parsed document.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub models: Vec<ModelConfig>,
    pub splits: Vec<SplitConfig>,
}

/// The reason why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// An entry with a wrong or unknown field.
    #[error("model {entry}: {cause}")]
    Entry { entry: String, cause: String },
    #[error("the catalogue has {bytes} bytes of JSON and may have {BYTES_MAX}: leave out models that the configuration names as well")]
    TooLarge { bytes: usize },
}

impl Document {
    /// Reads the entries of a document. One with `split` is a split, any other a model at one provider.
    ///
    /// # Errors
    /// Fails for the first entry with a wrong or unknown field.
    pub fn parse(entries: &[Value]) -> Result<Self, DocumentError> {
        let mut document = Self::default();
        for (place, entry) in entries.iter().enumerate() {
            if entry.get("split").is_some() {
                document.splits.push(read(entry, place)?);
            } else {
                document.models.push(read(entry, place)?);
            }
        }
        Ok(document)
    }

    /// Returns the entries in the form in which versions are recorded and compared: without absent fields, prices as texts.
    ///
    /// # Errors
    /// Fails if the document is too large.
    pub fn normalized(&self) -> Result<Vec<Value>, DocumentError> {
        let entries: Vec<Value> = self.models.iter().map(plain).chain(self.splits.iter().map(plain)).collect();
        let bytes = serde_json::to_vec(&entries).map_or(usize::MAX, |text| text.len());
        if bytes > BYTES_MAX { Err(DocumentError::TooLarge { bytes }) } else { Ok(entries) }
    }
}

fn read<T: DeserializeOwned>(entry: &Value, place: usize) -> Result<T, DocumentError> {
    T::deserialize(entry).map_err(|error| {
        let id = ["id", "name"].iter().find_map(|field| entry.get(field)?.as_str());
        DocumentError::Entry { entry: id.map_or_else(|| format!("number {}", place + 1), str::to_owned), cause: error.to_string() }
    })
}

fn plain(entry: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, value| !(value.is_null() || name == "free" && *value == Value::Bool(false)));
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_equal_however_they_are_written() {
        let written = json!([
            {"name": "acme/chat", "split": [{"name": "stable", "model": "acme/a", "weight": 9}]},
            {"id": "acme/a", "provider": "acme", "prompt_usd_per_mtok": 0.25, "completion_usd_per_mtok": 1, "context_length": 8, "free": false},
        ]);
        let normalized = Document::parse(written.as_array().unwrap()).unwrap().normalized().unwrap();
        let expected = json!([
            {"id": "acme/a", "provider": "acme", "prompt_usd_per_mtok": "0.25", "completion_usd_per_mtok": "1", "context_length": 8},
            {"id": "acme/chat", "split": [{"name": "stable", "model": "acme/a", "weight": 9}]},
        ]);
        assert_eq!(json!(normalized), expected);
        assert_eq!(Document::parse(&normalized).unwrap().normalized().unwrap(), normalized, "a normal form stays what it is");
    }

    #[test]
    fn errors_name_the_entry_and_the_field() {
        for (entry, says) in [
            (json!({"id": "a/b", "provider": "a", "context_length": 1, "prise": 1}), "model a/b: unknown field `prise`"),
            (json!({"provider": "a", "context_length": 1}), "model number 1: missing field `id`"),
            (json!({"name": "a/b", "split": [{"model": "a/c", "weight": -1, "name": "x"}]}), "model a/b: invalid value"),
        ] {
            let error = Document::parse(&[entry]).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let many = vec![ModelConfig::priced("a/b".to_owned(), "a", "1", "2", 8); 1_000];
        let error = Document { models: many, splits: Vec::new() }.normalized().unwrap_err().to_string();
        assert!(error.contains("may have 60000"), "{error}");
    }
}
