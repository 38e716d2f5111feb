//! Price lists: models with their provider, sizes, capabilities and prices; one list ships with the gateway.

use serde::{Deserialize, Serialize};

use crate::price::PriceRow;

const BUILT_IN: &str = include_str!("../catalog/catalog.json");

/// A versioned list of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The version, which every charge priced by this list names.
    pub version: String,
    /// The origin of the data.
    pub source: String,
    /// The models, sorted by id.
    pub models: Vec<ModelEntry>,
}

/// A model in a price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The name that clients request: `author/slug`.
    pub id: String,
    /// The provider's slug.
    pub provider: String,
    /// The provider's own name for the model.
    pub upstream_model: String,
    /// The most prompt and completion tokens together.
    pub context_length: u64,
    /// The most completion tokens.
    pub max_output_tokens: u64,
    /// Optional request parameters and input types that the model accepts, such as `tools` or `vision`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The price rows; the base row comes first.
    pub prices: Vec<PriceRow>,
}

/// The text is not a valid price list.
#[derive(Debug, thiserror::Error)]
#[error("price list: {0}")]
pub struct CatalogError(#[from] serde_json::Error);

impl Catalog {
    /// Parses a list in the gateway's own format.
    ///
    /// # Errors
    /// Fails if the text has another format.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        Ok(serde_json::from_str(text)?)
    }

    /// Returns the list that ships with the gateway.
    ///
    /// # Errors
    /// Never fails, as long as the test below passes.
    pub fn built_in() -> Result<Self, CatalogError> {
        Self::parse(BUILT_IN)
    }

    /// Formats the list for storage: one model per line, so that price changes are easy to read in a diff.
    #[must_use]
    pub fn to_text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let models: Vec<String> = self.models.iter().filter_map(|model| serde_json::to_string(model).ok()).collect();
        format!("{{\"version\":{},\"source\":{},\"models\":[\n{}\n]}}\n", quoted(&self.version), quoted(&self.source), models.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::ModelPrices;

    #[test]
    fn the_built_in_list_reads_and_every_price_holds() {
        let catalog = Catalog::built_in().unwrap();
        let known = crate::known_providers::ALL.map(|known| known.slug);
        assert_eq!(known.len(), 11, "a provider that goes takes its models with it");
        for provider in known {
            assert!(catalog.models.iter().filter(|model| model.provider == provider).count() >= 5, "{provider}");
        }
        for model in &catalog.models {
            assert!(ModelPrices::try_new(&model.prices).is_ok(), "{}", model.id);
            assert!(model.max_output_tokens > 0 && model.context_length > 0, "{}", model.id);
        }
        assert_eq!(Catalog::parse(&catalog.to_text()).unwrap(), catalog);
    }
}
