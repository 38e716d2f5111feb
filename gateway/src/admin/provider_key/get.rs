//! `GET /api/v1/provider-keys/{id}`: shows one provider key, without its credential.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::object::ProviderKeyBody;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns `{data: provider key}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a provider key of another account.
#[utoipa::path(
    get,
    path = "/api/v1/provider-keys/{id}",
    operation_id = "get_provider_key",
    tag = "Provider keys",
    summary = "One provider key",
    params(("id" = String, Path, description = "The provider key's id.")),
    responses((status = 200, description = "The provider key.", body = Data<ProviderKeyBody>), refusals::Management)
)]
pub async fn get(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    let key = admin.provider_key_of(&caller.key.account, &id)?;
    Ok(Json(json!({"data": ProviderKeyBody::new(&key)})).into_response())
}
