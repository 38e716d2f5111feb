//! `GET /api/v1/admin/catalog`: the catalogue of models, and the models in use with their sources; for the operator.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::CatalogBody;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};
use crate::route::Endpoint;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct CatalogQuery {
    /// An earlier version, one of those in the history; default: the newest.
    version: Option<u64>,
}

/// A version of the catalogue, and what this gateway serves.
#[derive(Serialize, ToSchema)]
#[schema(as = ServedCatalog)]
struct ServedBody {
    #[serde(flatten)]
    catalog: CatalogBody,
    /// All models in use at this gateway.
    served: Vec<ServedModel>,
}

/// A model in use, at one provider.
#[derive(Serialize, ToSchema)]
struct ServedModel {
    id: String,
    provider: String,
    /// `catalog`, `configuration` or `built_in`.
    source: String,
    /// The version of the prices, as charges name it.
    price_version: String,
}

impl ServedModel {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.model.id.clone(),
            provider: endpoint.provider.slug.clone(),
            source: endpoint.origin.as_str().to_owned(),
            price_version: endpoint.price_version.clone(),
        }
    }
}

/// Returns `{data: {version, applied_at, comment, models, served}}`.
///
/// # Errors
/// Returns 400 for a bad query, 401 without the operator's token, 404 for a version that is not kept.
#[utoipa::path(
    get,
    path = "/api/v1/admin/catalog",
    operation_id = "get_catalog",
    tag = "Operator",
    summary = "The catalogue of models, and the models in use with their sources",
    security(("operator" = [])),
    params(CatalogQuery),
    responses((status = 200, description = "The catalogue.", body = Data<ServedBody>), refusals::Operator)
)]
pub async fn get(
    State(admin): State<Admin>,
    _: Operator,
    query: Result<Query<CatalogQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, GatewayError> {
    let Query(query) = query.map_err(|error| GatewayError::BadRequest { message: error.body_text(), param: None })?;
    let catalog = match query.version {
        None => admin.directory.catalogs.newest(),
        Some(version) => Some(admin.directory.catalogs.get(version).ok_or_else(|| {
            GatewayError::NotFound(format!(
                "There is no version {version} of the catalogue; GET /api/v1/admin/catalog/history lists those that are kept."
            ))
        })?),
    };
    let routes = admin.routes.now();
    let served = routes.all().flat_map(|model| &model.endpoints).map(|endpoint| ServedModel::of(endpoint)).collect();
    Ok(Json(json!({"data": ServedBody { catalog: CatalogBody::of(catalog.as_deref()), served }})).into_response())
}
