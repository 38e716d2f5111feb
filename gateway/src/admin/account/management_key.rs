//! `POST /api/v1/admin/accounts/{id}/management-keys`: creates a management key for an account that has lost its own; for the operator.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use http::StatusCode;
use serde::Deserialize;

use super::unknown;
use crate::admin::Admin;
use crate::admin::body::{parse, read_bytes};
use crate::admin::caller::Operator;
use crate::admin::key::create::CreatedBody;
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;
use crate::openapi::{IdempotencyKey, refusals};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateManagementKey)]
struct ManagementKeyBody {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
}

/// Returns 201 with `{data, key}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 without the operator's token, 404 for an unknown account, 503 if nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/accounts/{id}/management-keys",
    operation_id = "create_management_key",
    tag = "Operator",
    summary = "Create a management key for an account that has lost its own",
    security(("operator" = [])),
    params(("id" = String, Path, description = "The account's id.", example = "acc_00000000000000000000000000000001"), IdempotencyKey),
    request_body = ManagementKeyBody,
    responses((status = 201, description = "The key, which is shown once.", body = CreatedBody), refusals::Operator)
)]
pub async fn management_key(
    State(admin): State<Admin>,
    _: Operator,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let bytes = read_bytes(&parts.headers, body, &admin.server).await?;
    let body: ManagementKeyBody = parse(&bytes)?;
    let call = IdempotentCall::read(&parts.headers, "operator", &format!("management-keys {id}"), &bytes)?;
    let account = AccountId::from(id);
    if !admin.directory.has_account(&account) {
        return Err(unknown());
    }
    let created = admin.create_management_key(&account, &body.name, call.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}
