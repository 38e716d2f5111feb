//! `DELETE /api/v1/keys/{hash}`: deletes a key permanently.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::KeyHash;
use serde_json::json;

use super::change::Change;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::refusals::Change as Refusals;
use crate::openapi::{Data, Deleted};

/// Returns `{data: {deleted: true}, deleted: true}`; the second is OpenRouter's shape.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a key of another account, 429 for too many changes, 503 if nothing can be recorded.
/// Returns 409 if it is the account's last management key.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{hash}",
    operation_id = "delete_key",
    tag = "Keys",
    summary = "Delete a key",
    params(("hash" = String, Path, description = "The SHA-256 of the key, in hexadecimal.")),
    responses((status = 200, description = "The key is deleted.", body = Data<Deleted>), Refusals)
)]
pub async fn delete(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(hash): Path<String>,
) -> Result<Response, GatewayError> {
    admin.quotas.change_key(&caller.key.account)?;
    let deleted = |before: &events::control::Key| {
        admin.keep_a_manager(before)?;
        Ok(Change::Delete(before.clone()))
    };
    admin.change_key(&caller.key.account, &KeyHash::from(hash), deleted).await?;
    Ok(Json(json!({"data": {"deleted": true}, "deleted": true})).into_response())
}
