//! `POST /api/v1/admin/accounts`: creates an account with a first management key; for the operator.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::control::{Account, AccountCreated};
use events::rpc::idempotency::REMEMBERED_US;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::body::{parse, read_bytes};
use crate::admin::caller::Operator;
use crate::admin::text;
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;
use crate::openapi::{CreatedAccount, IdempotencyKey, refusals};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateAccount)]
struct CreateAccountBody {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
}

/// Returns 201 with `{data: {id, name}, management_key}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 without the operator's token, 503 if nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/accounts",
    operation_id = "create_account",
    tag = "Operator",
    summary = "Create an account with a first management key",
    security(("operator" = [])),
    params(IdempotencyKey),
    request_body = CreateAccountBody,
    responses((status = 201, description = "The account and the key, which is shown once.", body = CreatedAccount), refusals::Operator)
)]
pub async fn create(State(admin): State<Admin>, _: Operator, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let bytes = read_bytes(&parts.headers, body, &admin.server).await?;
    let name = text::name(parse::<CreateAccountBody>(&bytes)?.name)?;
    let call = IdempotentCall::read(&parts.headers, "operator", "accounts", &bytes)?;
    let account = admin.add_account(name, call.as_ref()).await?;
    let created = admin.create_management_key(&account.id, "management", call.as_ref()).await?;
    let body = json!({"data": {"id": account.id, "name": account.name}, "management_key": created.key});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

impl Admin {
    /// Records a new account, or returns the one that an earlier call with the same idempotency key has created.
    async fn add_account(&self, name: String, call: Option<&IdempotentCall>) -> Result<Account, GatewayError> {
        let now_us = self.clock.now_us();
        let mut id = self.ids.account(&*self.clock);
        if let Some(call) = call {
            let mut round = 0;
            loop {
                id = call.account(&self.seed, round);
                match self.directory.account(&id) {
                    None => break,
                    Some(known) if known.created_at_us + REMEMBERED_US <= now_us => round += 1,
                    Some(known) => return if known.name == name { Ok(known) } else { Err(GatewayError::reused()) },
                }
            }
        }
        let account = Account { id, name, created_at_us: now_us, revision: 1, suspended: false, default_model: None };
        self.record(account.id.as_str(), account.id.as_str(), &AccountCreated { account: account.clone() }).await?;
        Ok(account)
    }
}
