//! `POST /api/v1/keys`: creates a key; its secret appears in this reply and nowhere else.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::clock::parse_rfc3339;
use events::control::{Key, KeyCreated, LimitReset};
use events::ids::{KeyKind, label};
use events::rpc::KeySpend;
use events::{AccountId, KeyHash};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use super::object::{self, KeyBody};
use crate::admin::body::{present, read, wrong};
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::error::GatewayError;
use crate::openapi::refusals::Change;

/// The body of the call: the properties of the new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateKey)]
pub struct CreateKeyBody {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// The limit of spending; null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    limit: Option<Option<Box<RawValue>>>,
    /// Another name of `limit`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    limit_usd: Option<Option<Box<RawValue>>>,
    /// Another name of `limit`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    spending_limit: Option<Option<Box<RawValue>>>,
    /// `daily`, `weekly`, `monthly`, or `never` for null.
    #[serde(default, deserialize_with = "object::reset")]
    #[schema(value_type = Option<String>)]
    limit_reset: Option<Option<LimitReset>>,
    #[serde(default)]
    allowed_providers: Option<Vec<String>>,
    #[serde(default)]
    allowed_models: Option<Vec<String>>,
    #[serde(default)]
    /// A future time in RFC 3339.
    expires_at: Option<String>,
    #[serde(default)]
    key_type: Option<KeyType>,
}

/// The kind of key, as the API names it.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// A key for model requests.
    Regular,
    /// A key that manages other keys.
    Management,
}

/// A new key with its secret, shown once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedKey)]
pub struct CreatedBody {
    data: KeyBody,
    key: String,
}

impl CreateKeyBody {
    /// Returns the body for a management key without limits.
    #[must_use]
    pub fn management(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            limit: None,
            limit_usd: None,
            spending_limit: None,
            limit_reset: None,
            allowed_providers: None,
            allowed_models: None,
            expires_at: None,
            key_type: Some(KeyType::Management),
        }
    }
}

/// Returns 201 with `{data, key}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 429 for too many changes, 503 if nothing can be recorded. Returns 409
/// if the account has reached its maximum number of keys.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    operation_id = "create_key",
    tag = "Keys",
    summary = "Create a key; its secret is shown once",
    request_body = CreateKeyBody,
    responses((status = 201, description = "The key and its secret.", body = CreatedBody), Change)
)]
pub async fn create(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: CreateKeyBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    let keys_max = admin.quotas.limits.keys_per_account_max;
    if admin.directory.count_of(&caller.key.account) >= keys_max {
        return Err(GatewayError::TooManyKeys(keys_max));
    }
    let created = admin.create_key(&caller.key.account, body).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

impl Admin {
    /// Creates a key for an account.
    ///
    /// # Errors
    /// Returns 400 for a bad body, 503 if nothing can be recorded.
    pub async fn create_key(&self, account: &AccountId, body: CreateKeyBody) -> Result<CreatedBody, GatewayError> {
        let limit = object::limit([("limit", &body.limit), ("limit_usd", &body.limit_usd), ("spending_limit", &body.spending_limit)])?;
        let now_us = self.clock.now_us();
        let expires_at_us = body
            .expires_at
            .map(|text| parse_rfc3339(&text).ok_or_else(|| wrong("expires_at", "it must be a time such as 2026-12-31T00:00:00Z")))
            .transpose()?;
        if expires_at_us.is_some_and(|expires| expires <= now_us) {
            return Err(wrong("expires_at", "it must lie in the future"));
        }
        let kind = match body.key_type {
            None | Some(KeyType::Regular) => KeyKind::Regular,
            Some(KeyType::Management) => KeyKind::Management,
        };
        let secret = self.ids.secret(kind);
        let key = Key {
            hash: KeyHash::of_secret(&secret),
            account: account.clone(),
            kind,
            name: text::name(body.name)?,
            label: label(&secret),
            disabled: false,
            limit_nanos: limit.flatten(),
            limit_reset: body.limit_reset.flatten(),
            allowed_models: object::models(body.allowed_models)?,
            allowed_providers: object::providers(body.allowed_providers)?,
            expires_at_us,
            created_at_us: now_us,
            updated_at_us: None,
            revision: 1,
        };
        self.record(account.as_str(), key.hash.as_str(), &KeyCreated { key: key.clone() }).await?;
        Ok(CreatedBody { data: KeyBody::new(&key, &KeySpend::default()), key: secret })
    }
}
