//! The differences between two versions of the operator's catalogue.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The difference between two versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogChanges)]
pub struct Changes {
    /// Entries that only the new version has.
    pub added: Vec<Entry>,
    /// Entries that only the old version has.
    pub removed: Vec<Entry>,
    /// Entries of both that differ, with their differing fields.
    pub changed: Vec<Entry>,
}

/// An entry of a difference: a model at a provider, or a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogChange)]
pub struct Entry {
    pub id: String,
    /// The provider; absent for a split.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// The fields of an added or removed entry with their one value, or the differing fields of a changed one.
    pub fields: BTreeMap<String, Field>,
}

/// A field's values in both versions; null if a version lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogChangedField)]
pub struct Field {
    #[schema(value_type = Option<Value>)]
    pub old: Value,
    #[schema(value_type = Option<Value>)]
    pub new: Value,
}

type Key = (String, Option<String>);

impl Changes {
    /// Compares two versions in their normal form.
    #[must_use]
    pub fn between(old: &[Value], new: &[Value]) -> Self {
        let (old, new) = (by_key(old), by_key(new));
        let nothing = Map::new();
        let mut changes = Self::default();
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (old.get(key), new.get(key));
            let fields = fields(before.unwrap_or(&&nothing), after.unwrap_or(&&nothing));
            let list = match (before, after) {
                (None, _) => &mut changes.added,
                (_, None) => &mut changes.removed,
                _ if fields.is_empty() => continue,
                _ => &mut changes.changed,
            };
            list.push(Entry { id: key.0.clone(), provider: key.1.clone(), fields });
        }
        changes
    }

    /// Returns whether the versions have the same entries; their order may differ.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

fn by_key(entries: &[Value]) -> BTreeMap<Key, &Map<String, Value>> {
    let text = |entry: &Map<String, Value>, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let entries = entries.iter().filter_map(Value::as_object);
    entries.map(|entry| ((text(entry, "id").unwrap_or_default(), text(entry, "provider")), entry)).collect()
}

fn fields(old: &Map<String, Value>, new: &Map<String, Value>) -> BTreeMap<String, Field> {
    let value = |entry: &Map<String, Value>, name: &String| entry.get(name).cloned().unwrap_or_default();
    let names = old.keys().chain(new.keys()).filter(|name| !matches!(name.as_str(), "id" | "provider"));
    let both = names.map(|name| (name.clone(), Field { old: value(old, name), new: value(new, name) }));
    both.filter(|(_, field)| field.old != field.new).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_compared_by_model_and_provider() {
        let model = |provider: &str, price: &str| json!({"id": "a/m", "provider": provider, "prompt_usd_per_mtok": price});
        let split = json!({"id": "a/s", "split": [{"name": "x", "model": "a/m", "weight": 1}]});
        let old = [model("a", "1"), model("b", "1"), split.clone()];
        let new = [split, model("c", "3"), model("a", "2")];
        let changes = Changes::between(&old, &new);
        let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.provider.clone().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(
            (ids(&changes.added), ids(&changes.removed), ids(&changes.changed)),
            (vec!["c".into()], vec!["b".into()], vec!["a".into()])
        );
        assert_eq!(changes.changed[0].fields["prompt_usd_per_mtok"], Field { old: json!("1"), new: json!("2") });
        assert!(Changes::between(&old, &[old[1].clone(), old[2].clone(), old[0].clone()]).is_empty());
    }
}
