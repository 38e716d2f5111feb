//! `POST /api/v1/admin/accounts/{id}/{suspend|resume}`: rejects every key of an account, or accepts them again; for the operator.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::control::Account;
use serde::Deserialize;
use serde_json::json;

use super::update::shown;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{AccountBody, Data, refusals};

/// The requested state of the account, taken from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The account's keys are rejected.
    Suspend,
    /// The account's keys are accepted.
    Resume,
}

/// Returns `{data: {id, name, suspended, default_model}}`.
///
/// # Errors
/// Returns 400 for another word, 401 without the operator's token, 404 for an unknown account, 503 if nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/accounts/{id}/{standing}",
    operation_id = "suspend_account",
    tag = "Operator",
    summary = "Reject every key of an account, or accept them again",
    security(("operator" = [])),
    params(("id" = String, Path, description = "The account's id.", example = "acc_00000000000000000000000000000001"), ("standing" = inline(Standing), Path)),
    responses((status = 200, description = "The account.", body = Data<AccountBody>), refusals::Operator)
)]
pub async fn suspend(
    State(admin): State<Admin>,
    _: Operator,
    path: Result<Path<(String, Standing)>, PathRejection>,
) -> Result<Response, GatewayError> {
    let Path((id, standing)) = path.map_err(|error| GatewayError::BadRequest { message: error.body_text(), param: None })?;
    let id = AccountId::from(id);
    let change = |before: &Account| Account { suspended: standing == Standing::Suspend, ..before.clone() };
    let account = admin.change_account(&id, true, change).await?;
    Ok(Json(json!({"data": shown(&account)})).into_response())
}
