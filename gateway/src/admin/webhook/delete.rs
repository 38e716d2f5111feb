//! `DELETE /api/v1/webhooks/{id}`: deletes a webhook and its deliveries permanently.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::webhook::WebhookDeleted;
use http::StatusCode;
use serde_json::json;

use super::object::is_sdk;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, Deleted, refusals};

/// Returns `{data: {deleted: true}}`, or 204 for the SDK.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a webhook of another account, 429 for too many changes, 503 if nothing can be
/// recorded.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{id}",
    operation_id = "delete_webhook",
    tag = "Webhooks",
    summary = "Delete a webhook and its deliveries",
    description = "Also at `/api/webhooks/endpoints/{id}`, which answers 204.",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "It is deleted.", body = Data<Deleted>), refusals::Change)
)]
pub async fn delete(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    uri: http::Uri,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    let account = &caller.key.account;
    admin.quotas.change_key(account)?;
    let _alone = admin.lock_keys(account).await;
    let mut webhook = admin.webhook_of(account, &id)?.webhook.clone();
    webhook.revision += 1;
    webhook.updated_at_us = Some(admin.clock.now_us());
    admin.record(account.as_str(), &id, &WebhookDeleted { webhook }).await?;
    Ok(if is_sdk(&uri) { StatusCode::NO_CONTENT.into_response() } else { Json(json!({"data": {"deleted": true}})).into_response() })
}
