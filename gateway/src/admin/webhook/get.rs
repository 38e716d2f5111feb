//! `GET /api/v1/webhooks/{id}`: shows one webhook.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::object::{WebhookBody, is_sdk};
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns `{data: webhook}`, or the webhook alone for the SDK.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a webhook of another account.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}",
    operation_id = "get_webhook",
    tag = "Webhooks",
    summary = "One webhook",
    description = "Also at `/api/webhooks/endpoints/{id}`, where the answer is the webhook without `data`.",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The webhook.", body = Data<WebhookBody>), refusals::Management)
)]
pub async fn get(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    uri: http::Uri,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    let data = admin.webhook_body(&admin.webhook_of(&caller.key.account, &id)?.webhook)?;
    Ok(if is_sdk(&uri) { Json(json!(data)).into_response() } else { Json(json!({"data": data})).into_response() })
}
