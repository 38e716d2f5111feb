//! `GET /api/v1/keys`: lists the account's keys, oldest first.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use events::control::Key;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::admin::Admin;
use crate::admin::body::wrong;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::KeyPage;
use crate::openapi::refusals::Management;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<usize>,
    /// The `next_page_token` of an earlier answer.
    page_token: Option<String>,
    /// The number of keys to skip, if there is no token.
    offset: Option<usize>,
    include_disabled: Option<bool>,
}

/// Returns `{data: [key], next_page_token}`; disabled keys are included only with `include_disabled=true`.
///
/// # Errors
/// Returns 400 for a bad query, 401 or 403 for the wrong credential, 503 if the ledger does not reply.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "list_keys",
    tag = "Keys",
    summary = "The keys of the account, oldest first",
    params(ListQuery),
    responses((status = 200, description = "A page of keys.", body = KeyPage), Management)
)]
pub async fn list(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let Query(query) = Query::<ListQuery>::try_from_uri(request.uri())
        .map_err(|error| GatewayError::BadRequest { message: error.body_text(), param: None })?;
    let size = query.page_size.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(wrong("page_size", "it must be a whole number from 1 to 1000"));
    }
    let from = match query.page_token {
        Some(token) => token.parse().map_err(|_| wrong("page_token", "use the next_page_token of an earlier answer"))?,
        None => query.offset.unwrap_or(0),
    };
    let entries = admin.directory.keys_of(&caller.key.account);
    let shown: Vec<&Key> =
        entries.iter().map(|entry| &entry.key).filter(|key| !key.disabled || query.include_disabled.unwrap_or(false)).collect();
    let page: Vec<&Key> = shown.iter().skip(from).take(size).copied().collect();
    let next = (from + page.len() < shown.len()).then(|| (from + page.len()).to_string());
    Ok(Json(json!({"data": admin.bodies(&page).await?, "next_page_token": next})).into_response())
}
