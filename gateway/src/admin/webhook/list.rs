//! `GET /api/v1/webhooks`: lists the account's webhooks, oldest first.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::object::WebhookBody;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns `{data: [webhook]}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    operation_id = "list_webhooks",
    tag = "Webhooks",
    summary = "The webhooks of the account, oldest first",
    description = "Also at `/api/webhooks/endpoints`.",
    responses((status = 200, description = "The webhooks.", body = Data<Vec<WebhookBody>>), refusals::Management)
)]
pub async fn list(State(admin): State<Admin>, ManagementKey(caller): ManagementKey) -> Result<Response, GatewayError> {
    let entries = admin.directory.webhooks_of(&caller.key.account);
    let data: Result<Vec<_>, GatewayError> = entries.iter().map(|entry| admin.webhook_body(&entry.webhook)).collect();
    Ok(Json(json!({"data": data?})).into_response())
}
