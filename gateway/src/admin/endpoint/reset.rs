//! `POST /api/v1/admin/endpoints/reset`: closes the breaker of an endpoint.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use routing::BreakerChange;
use serde::Deserialize;
use serde_json::json;

use super::object;
use crate::admin::Admin;
use crate::admin::body::read;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, EndpointHealthBody, refusals};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResetEndpoint)]
struct ResetBody {
    /// The provider's slug.
    #[schema(example = "openai")]
    provider: String,
    /// The model's id.
    #[schema(example = "openai/gpt-5.4")]
    model: String,
}

/// Closes the breaker and forgets recent failures, here and at the gateways that hear of it. Returns `{data: {provider, model, breaker, …}}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 without the operator's token, 404 for an unknown endpoint.
#[utoipa::path(
    post,
    path = "/api/v1/admin/endpoints/reset",
    operation_id = "reset_endpoint",
    tag = "Operator",
    summary = "Close the breaker of an endpoint",
    security(("operator" = [])),
    request_body = ResetBody,
    responses((status = 200, description = "The endpoint.", body = Data<EndpointHealthBody>), refusals::Operator)
)]
pub async fn reset(State(admin): State<Admin>, _: Operator, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let ResetBody { provider, model } = read(&parts.headers, body, &admin.server).await?;
    let unknown = || GatewayError::NotFound(format!("There is no endpoint of '{model}' at '{provider}'."));
    let routes = admin.routes.now();
    let endpoint = routes.endpoint(&provider, &model).ok_or_else(unknown)?;
    let now_us = admin.clock.now_us();
    endpoint.health.reset();
    admin.admission.reports.tell(endpoint, BreakerChange::Closed, now_us);
    tracing::info!(provider, model, "the operator closes the breaker of {model} at {provider}");
    Ok(Json(json!({"data": object(endpoint, now_us)})).into_response())
}
