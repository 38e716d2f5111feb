//! `PATCH /api/v1/provider-keys/{id}`: changes options of a provider key, or replaces its credential.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::object::{OptionsBody, ProviderKeyBody};
use crate::admin::Admin;
use crate::admin::body::{read, wrong};
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns `{data: provider key}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a provider key of another account, 429 for too many changes, 503
/// if nothing can be recorded.
#[utoipa::path(
    patch,
    path = "/api/v1/provider-keys/{id}",
    operation_id = "update_provider_key",
    tag = "Provider keys",
    summary = "Change a provider key; absent options keep their value, and null removes a limit",
    params(("id" = String, Path, description = "The provider key's id.")),
    request_body = OptionsBody,
    responses((status = 200, description = "The provider key.", body = Data<ProviderKeyBody>), refusals::Change)
)]
pub async fn update(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let options: OptionsBody = read(&parts.headers, body, &admin.server).await?;
    if options.provider.is_some() {
        return Err(wrong("provider", "it cannot be changed: make another provider key"));
    }
    admin.quotas.change_key(&caller.key.account)?;
    let key = admin.change_provider_key(&caller.key.account, &id, |key| admin.apply_options(key, options)).await?;
    Ok(Json(json!({"data": ProviderKeyBody::new(&key)})).into_response())
}
