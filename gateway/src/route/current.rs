//! The table in use, which a new version of the operator's catalogue replaces as a whole. Requests keep the table that they began with.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use events::catalog::CatalogVersion;
use pricing::Catalog;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::build::{Sources, Versioned};
use super::document::Document;
use super::table::{RouteError, Routes};
use crate::config::{ModelConfig, ProviderConfig};

/// The table in use.
pub struct CurrentRoutes {
    sources: Sources,
    table: RwLock<Arc<Routes>>,
    /// The version of the catalogue in the table; 0 for none. One version is applied at a time.
    applied: Mutex<u64>,
}

impl CurrentRoutes {
    /// Builds the table of the configuration.
    ///
    /// # Errors
    /// Fails if a provider or model is misconfigured.
    pub fn try_new(built_in: Catalog, providers: &[ProviderConfig], models: Vec<ModelConfig>) -> Result<Self, RouteError> {
        let sources = Sources::try_new(built_in, providers, models)?;
        let table = Routes::build(&sources, None, None)?;
        Ok(Self { sources, table: RwLock::new(Arc::new(table)), applied: Mutex::new(0) })
    }

    /// Returns the table for one request.
    #[must_use]
    pub fn now(&self) -> Arc<Routes> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks that every entry of a document can be served.
    ///
    /// # Errors
    /// Fails if an entry is misconfigured.
    pub fn check(&self, document: &Document) -> Result<(), RouteError> {
        Routes::build(&self.sources, Some(&Versioned { document, version: 0, is_strict: true }), None).map(drop)
    }

    /// Puts a version of the catalogue into use, unless a newer one is. A version that cannot be read is logged, and the table stays.
    pub fn apply(&self, catalog: &CatalogVersion) {
        let version = catalog.version;
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if version <= *applied {
            return;
        }
        let before = self.now();
        let built = Document::parse(&catalog.models).map_err(|error| error.to_string()).and_then(|document| {
            let versioned = Versioned { document: &document, version, is_strict: false };
            Routes::build(&self.sources, Some(&versioned), Some(&before)).map_err(|error| error.to_string())
        });
        match built {
            Ok(table) => {
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
                *applied = version;
                tracing::info!(version, "version {version} of the catalogue is in use");
            }
            Err(error) => {
                tracing::error!(version, error, "version {version} of the catalogue is not served here, the one before stays: {error}");
            }
        }
    }

    /// Applies each new version until `stop`.
    pub async fn follow(
        self: Arc<Self>,
        newest: impl Fn() -> Option<Arc<CatalogVersion>> + Send,
        mut changes: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        loop {
            if let Some(catalog) = newest() {
                self.apply(&catalog);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                more = changes.changed() => if more.is_err() { return },
            }
        }
    }
}
