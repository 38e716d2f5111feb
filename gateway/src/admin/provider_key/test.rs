//! `POST /api/v1/provider-keys/{id}/test`: calls the provider with the key, for its list of models, which costs nothing.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::object::sealing;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::attempt::error::AttemptError;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};
use crate::route::own_keys::OpenError;

/// The longest wait for the provider.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of a test.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TestedProviderKey)]
pub struct TestedBody {
    /// Whether the provider accepts the key.
    ok: bool,
    /// The provider's status; null without an answer.
    status: Option<u16>,
    /// The reason, or what the provider says.
    message: Option<String>,
}

/// Returns `{data: {ok, status, message}}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a provider key of another account, 409 if it cannot be opened, 429 for too many calls.
#[utoipa::path(
    post,
    path = "/api/v1/provider-keys/{id}/test",
    operation_id = "test_provider_key",
    tag = "Provider keys",
    summary = "Ask the provider for its list of models with the key",
    params(("id" = String, Path, description = "The provider key's id.")),
    responses((status = 200, description = "The outcome.", body = Data<TestedBody>), refusals::Change)
)]
pub async fn test(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    let key = admin.provider_key_of(&caller.key.account, &id)?;
    admin.quotas.change_key(&caller.key.account)?;
    let provider = &admin.provider_named(&key.provider)?.provider;
    let own = admin.own_keys.open(&key, provider).map_err(|error| match error {
        OpenError::Sealed(error) => sealing(&error),
        OpenError::Unusable => GatewayError::Internal,
    })?;
    let asked = tokio::time::timeout(PATIENCE, admin.probes.probe(&own, provider)).await;
    let result = asked.unwrap_or(Err(AttemptError::Timeout));
    let data = match result {
        Ok(_) => TestedBody { ok: true, status: Some(200), message: None },
        Err(failure) => TestedBody { ok: false, status: failure.status().map(|status| status.as_u16()), message: Some(says(&failure)) },
    };
    Ok(Json(json!({"data": data})).into_response())
}

/// Returns what the provider says, or the kind of failure.
fn says(failure: &AttemptError) -> String {
    let said = match failure {
        AttemptError::Refused { error, .. } | AttemptError::Operator { error, .. } | AttemptError::Overloaded { error, .. } => {
            error.message.clone()
        }
        AttemptError::Connect
        | AttemptError::Cut
        | AttemptError::Timeout
        | AttemptError::Malformed
        | AttemptError::Coding(_)
        | AttemptError::TooLarge => None,
    };
    said.unwrap_or_else(|| failure.code().to_owned())
}
