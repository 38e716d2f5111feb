//! `DELETE /api/v1/users/{user}`: replaces the name of an end user by a token in every report.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::control::UserErased;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::body::wrong;
use crate::admin::caller::ManagementKey;
use crate::admin::text;
use crate::error::GatewayError;
use crate::openapi::{Data, ErasedUser, refusals};

/// Returns `{data: {erased: true, token}}`. A repeated call has the same answer. Reports show the token once the projector has read the
/// event, which has only a keyed hash of the name.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 400 for an impossible name, 429 for too many changes, 503 if nothing can be recorded.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{user}",
    operation_id = "erase_user",
    tag = "Account",
    summary = "Replace the name of an end user by a token in every report",
    params(("user" = String, Path, description = "The name, as requests had it in `user`.")),
    responses((status = 200, description = "The token.", body = Data<ErasedUser>), refusals::Change)
)]
pub async fn erase(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(user): Path<String>,
) -> Result<Response, GatewayError> {
    admin.quotas.change_key(&caller.key.account)?;
    let user = text::name(user).map_err(|_| wrong("user", "it must have 1 to 256 characters, and no control characters"))?;
    let erased = UserErased::new(caller.key.account.clone(), &user);
    admin.record(caller.key.account.as_str(), &erased.user_hash, &erased).await?;
    Ok(Json(json!({"data": {"erased": true, "token": erased.token}})).into_response())
}
