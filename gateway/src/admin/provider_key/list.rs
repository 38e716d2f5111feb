//! `GET /api/v1/provider-keys`: lists the account's provider keys, oldest first.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::object::ProviderKeyBody;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns `{data: [provider key]}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/provider-keys",
    operation_id = "list_provider_keys",
    tag = "Provider keys",
    summary = "The provider keys of the account, oldest first",
    responses((status = 200, description = "The provider keys.", body = Data<Vec<ProviderKeyBody>>), refusals::Management)
)]
pub async fn list(State(admin): State<Admin>, ManagementKey(caller): ManagementKey) -> Result<Response, GatewayError> {
    let keys = admin.directory.provider_keys_of(&caller.key.account);
    let data: Vec<ProviderKeyBody> = keys.iter().flat_map(|keys| keys.iter()).map(|key| ProviderKeyBody::new(key)).collect();
    Ok(Json(json!({"data": data})).into_response())
}
