//! `POST /api/v1/admin/accounts`: creates an account with a first management key; for the operator.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::control::{Account, AccountCreated};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::body::read;
use crate::admin::caller::Operator;
use crate::admin::key::create::CreateKeyBody;
use crate::admin::text;
use crate::error::GatewayError;
use crate::openapi::{CreatedAccount, refusals};

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
    request_body = CreateAccountBody,
    responses((status = 201, description = "The account and the key, which is shown once.", body = CreatedAccount), refusals::Operator)
)]
pub async fn create(State(admin): State<Admin>, _: Operator, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: CreateAccountBody = read(&parts.headers, body, &admin.server).await?;
    let account = Account {
        id: admin.ids.account(&*admin.clock),
        name: text::name(body.name)?,
        created_at_us: admin.clock.now_us(),
        revision: 1,
        suspended: false,
    };
    admin.record(account.id.as_str(), account.id.as_str(), &AccountCreated { account: account.clone() }).await?;
    let key = CreateKeyBody::management("management");
    let created = serde_json::to_value(admin.create_key(&account.id, key).await?).map_err(|_| GatewayError::Internal)?;
    let body = json!({"data": {"id": account.id, "name": account.name}, "management_key": created["key"]});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
