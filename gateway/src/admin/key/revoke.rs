//! `DELETE /api/v1/admin/keys/{hash}`: deletes any key of any account; for the operator.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::KeyHash;
use serde_json::json;

use super::change::Change;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, Deleted, refusals};

/// Returns `{data: {deleted: true}}`.
///
/// # Errors
/// Returns 401 without the operator's token, 404 for an unknown key, 503 if nothing can be recorded.
#[utoipa::path(
    delete,
    path = "/api/v1/admin/keys/{hash}",
    operation_id = "revoke_key",
    tag = "Operator",
    summary = "Delete any key of any account",
    security(("operator" = [])),
    params(("hash" = String, Path, description = "The SHA-256 of the key, in hexadecimal.")),
    responses((status = 200, description = "The key is deleted.", body = Data<Deleted>), refusals::Operator)
)]
pub async fn revoke(State(admin): State<Admin>, _: Operator, Path(hash): Path<String>) -> Result<Response, GatewayError> {
    let hash = KeyHash::from(hash);
    let entry = admin.directory.find(&hash).ok_or_else(|| GatewayError::NotFound("No key has that hash.".to_owned()))?;
    admin.change_key(&entry.key.account, &hash, |before| Ok(Change::Delete(before.clone()))).await?;
    Ok(Json(json!({"data": {"deleted": true}})).into_response())
}
