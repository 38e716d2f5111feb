//! `GET /api/v1/keys`: lists the account's keys, oldest first.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

/// The place of a key in the list, which later creations and deletions do not move.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    created_at_us: i64,
    hash: String,
}

impl Place {
    fn of(key: &Key) -> Self {
        Self { created_at_us: key.created_at_us, hash: key.hash.to_string() }
    }

    fn to_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}", self.created_at_us, self.hash))
    }

    /// Reads the token of a page.
    fn read(token: &str) -> Result<Self, GatewayError> {
        let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .and_then(|(created_at_us, hash)| Some(Self { created_at_us: created_at_us.parse().ok()?, hash: hash.to_owned() }));
        place.ok_or_else(|| wrong("page_token", "use the next_page_token of an earlier answer"))
    }
}

/// Returns `{data: [key], next_page_token}`; disabled keys are included only with `include_disabled=true`.
///
/// A page begins behind the last key of the page before, so that keys which come and go meanwhile make it skip or repeat none. `offset`
/// counts from there, or from the first key.
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
    let after = query.page_token.as_deref().map(Place::read).transpose()?;
    let entries = admin.directory.keys_of(&caller.key.account);
    let is_shown = |key: &&Key| {
        let is_after = after.as_ref().is_none_or(|after| Place::of(key) > *after);
        is_after && (!key.disabled || query.include_disabled.unwrap_or(false))
    };
    let mut shown = entries.iter().map(|entry| &entry.key).filter(is_shown).skip(query.offset.unwrap_or(0));
    let page: Vec<&Key> = shown.by_ref().take(size).collect();
    let next = shown.next().and_then(|_| page.last()).map(|last| Place::of(last).to_token());
    Ok(Json(json!({"data": admin.bodies(&page).await?, "next_page_token": next})).into_response())
}
