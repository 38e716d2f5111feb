//! The operator's catalogue of models: versions of one document, each an event of the stream `CONTROL`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::payload::payload;

/// The owner of the catalogue in events. It is no account's id, so nobody's key reads the catalogue's events.
pub const OWNER: &str = "operator";
/// The subject of the catalogue's events, and the name of its revision at the ledger.
pub const SUBJECT: &str = "catalog";

/// A version of the catalogue. The highest version is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogVersion {
    /// The version, which counts the changes from 1. Charges name it as `catalog-{version}`.
    pub version: u64,
    /// All models of the catalogue, with the fields of `[[models]]` in the configuration. A reader that does not know a field keeps the
    /// version before, since the field may change a price.
    pub models: Vec<Value>,
    /// The operator's remark about the change.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// The time of the change, microseconds since 1970.
    pub applied_at_us: i64,
}

/// The catalogue was replaced by a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogChanged {
    /// The new version.
    pub catalog: CatalogVersion,
}

payload!(CatalogChanged, Control, "catalog", "changed", "v1");
