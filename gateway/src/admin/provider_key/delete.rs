//! `DELETE /api/v1/provider-keys/{id}`: deletes a provider key for good, with its sealed credential.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, Deleted, refusals};

/// Returns `{data: {deleted: true}}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a provider key of another account, 429 for too many changes, 503 if nothing can be
/// recorded.
#[utoipa::path(
    delete,
    path = "/api/v1/provider-keys/{id}",
    operation_id = "delete_provider_key",
    tag = "Provider keys",
    summary = "Delete a provider key for good",
    params(("id" = String, Path, description = "The provider key's id.")),
    responses((status = 200, description = "It is deleted.", body = Data<Deleted>), refusals::Change)
)]
pub async fn delete(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    admin.quotas.change_key(&caller.key.account)?;
    let deleted = |key: &mut events::provider_key::ProviderKey| {
        key.deleted = true;
        key.sealed_key.clear();
        Ok(())
    };
    admin.change_provider_key(&caller.key.account, &id, deleted).await?;
    Ok(Json(json!({"data": {"deleted": true}})).into_response())
}
