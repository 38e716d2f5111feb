//! `PATCH /api/v1/admin/accounts/{id}`: changes an account; for the operator.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::control::Account;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wire::call::Format;

use crate::admin::Admin;
use crate::admin::body::{present, read, wrong};
use crate::admin::caller::Operator;
use crate::admin::text;
use crate::error::GatewayError;
use crate::openapi::{AccountBody, Data, refusals};

/// The fields to change; absent fields keep their value.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateAccount)]
pub struct UpdateAccountBody {
    /// The model of requests that name none; null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub default_model: Option<Option<String>>,
}

/// Returns `{data: {id, name, suspended, default_model}}`.
///
/// # Errors
/// Returns 400 for a bad body or an unknown model, 401 without the operator's token, 404 for an unknown account, 409 if concurrent changes do
/// not stop, 503 if nothing can be recorded or the ledger does not reply.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/accounts/{id}",
    operation_id = "update_account",
    tag = "Operator",
    summary = "Change an account; absent fields keep their value",
    security(("operator" = [])),
    params(("id" = String, Path, description = "The account's id.", example = "acc_00000000000000000000000000000001")),
    request_body = UpdateAccountBody,
    responses((status = 200, description = "The account after the change.", body = Data<AccountBody>), refusals::Operator)
)]
pub async fn update(State(admin): State<Admin>, _: Operator, Path(id): Path<String>, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: UpdateAccountBody = read(&parts.headers, body, &admin.server).await?;
    let account = admin.update_account(&AccountId::from(id), body).await?;
    Ok(Json(json!({"data": shown(&account)})).into_response())
}

/// Returns an account as answers show it.
#[must_use]
pub fn shown(account: &Account) -> Value {
    json!({"id": account.id, "name": account.name, "suspended": account.suspended, "default_model": account.default_model})
}

impl Admin {
    /// Changes an account as its owner or the operator asks.
    ///
    /// # Errors
    /// Returns 400 for an unknown model, and the errors of [`Self::change_account`].
    pub async fn update_account(&self, id: &AccountId, body: UpdateAccountBody) -> Result<Account, GatewayError> {
        if let Some(Some(model)) = &body.default_model {
            text::name(model.clone()).map_err(|_| wrong("default_model", "it must have 1 to 256 characters, and no control characters"))?;
            let routes = self.routes.now();
            let is_known = routing::auto::is_auto(model) || routes.split_for(Format::Chat, model).is_some();
            if !is_known {
                routes.resolve(Format::Chat, model).map_err(|error| wrong("default_model", error.to_string().trim_end_matches('.')))?;
            }
        }
        let change = |before: &Account| Account {
            default_model: body.default_model.clone().unwrap_or_else(|| before.default_model.clone()),
            ..before.clone()
        };
        self.change_account(id, false, change).await
    }
}
