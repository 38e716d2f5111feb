//! `GET /api/v1/admin/catalog/history`: the newest versions of the catalogue of models; for the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::catalog::CatalogVersion;
use events::clock::rfc3339;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};
use crate::route::diff::Changes;

/// A version in the history.
#[derive(Serialize, ToSchema)]
#[schema(as = CatalogHistoryEntry)]
struct HistoryBody {
    version: u64,
    applied_at: String,
    comment: Option<String>,
    /// The number of models and splits.
    models: usize,
    /// The differences to the version before; null if that one is no longer kept.
    changes: Option<Changes>,
}

impl HistoryBody {
    fn of(catalog: &CatalogVersion, before: Option<&Arc<CatalogVersion>>) -> Self {
        let known: Option<&[_]> = match before {
            Some(before) => Some(&before.models),
            None if catalog.version == 1 => Some(&[]),
            None => None,
        };
        Self {
            version: catalog.version,
            applied_at: rfc3339(catalog.applied_at_us),
            comment: catalog.comment.clone(),
            models: catalog.models.len(),
            changes: known.map(|known| Changes::between(known, &catalog.models)),
        }
    }
}

/// Returns `{data: [version]}`, the newest first.
///
/// # Errors
/// Returns 401 without the operator's token.
#[utoipa::path(
    get,
    path = "/api/v1/admin/catalog/history",
    operation_id = "list_catalog_versions",
    tag = "Operator",
    summary = "The newest versions of the catalogue of models",
    security(("operator" = [])),
    responses((status = 200, description = "The newest 50 versions.", body = Data<Vec<HistoryBody>>), refusals::Operator)
)]
pub async fn history(State(admin): State<Admin>, _: Operator) -> Result<Response, GatewayError> {
    let all = admin.directory.catalogs.all();
    let befores = std::iter::once(None).chain(all.iter().map(Some));
    let mut data: Vec<HistoryBody> = all.iter().zip(befores).map(|(catalog, before)| HistoryBody::of(catalog, before)).collect();
    data.reverse();
    Ok(Json(json!({"data": data})).into_response())
}
