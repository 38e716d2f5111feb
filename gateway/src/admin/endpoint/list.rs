//! `GET /api/v1/admin/endpoints`: lists the endpoints with their health, as this gateway sees it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::object;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{EndpointHealths, refusals};

/// Returns `{gateway, data: [{provider, model, breaker, cause, since, until, has_outage, attempts, uptime_last_5m, …}]}`, by model. A breaker
/// is `closed`, `open`, `half_open` or `probing`.
///
/// # Errors
/// Returns 401 without the operator's token.
#[utoipa::path(
    get,
    path = "/api/v1/admin/endpoints",
    operation_id = "list_endpoint_health",
    tag = "Operator",
    summary = "The health of every endpoint, as this gateway sees it",
    security(("operator" = [])),
    responses((status = 200, description = "The endpoints, by model.", body = EndpointHealths), refusals::Operator)
)]
pub async fn list(State(admin): State<Admin>, _: Operator) -> Result<Response, GatewayError> {
    let (now_us, routes) = (admin.clock.now_us(), admin.routes.now());
    let endpoints = routes.all().flat_map(|model| &model.endpoints);
    let data: Vec<Value> = endpoints.map(|endpoint| object(endpoint, now_us)).collect();
    Ok(Json(json!({"gateway": admin.spool.source.0, "data": data})).into_response())
}
