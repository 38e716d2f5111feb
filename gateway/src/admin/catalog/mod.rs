//! The operator's catalogue of models: applied as versions, read back, and listed.

pub mod apply;
pub mod get;
pub mod history;

use events::catalog::CatalogVersion;
use events::clock::rfc3339;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A version of the catalogue.
#[derive(Serialize, ToSchema)]
#[schema(as = Catalog)]
pub struct CatalogBody {
    /// The version; 0 before the first one.
    pub version: u64,
    /// The time of the change; null before the first version.
    pub applied_at: Option<String>,
    pub comment: Option<String>,
    /// The models and splits, with the fields of `[[models]]` in the configuration.
    #[schema(value_type = Vec<Object>)]
    pub models: Vec<Value>,
}

impl CatalogBody {
    fn of(catalog: Option<&CatalogVersion>) -> Self {
        Self {
            version: catalog.map_or(0, |catalog| catalog.version),
            applied_at: catalog.map(|catalog| rfc3339(catalog.applied_at_us)),
            comment: catalog.and_then(|catalog| catalog.comment.clone()),
            models: catalog.map_or_else(Vec::new, |catalog| catalog.models.clone()),
        }
    }
}
