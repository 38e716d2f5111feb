//! `POST /api/v1/keys`: creates a key; its secret appears in this reply and nowhere else.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::control::{Key, LimitReset};
use events::ids::KeyKind;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use super::object::{self, KeyBody, RateLimitBody};
use crate::admin::body::{parse, present, read_bytes};
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::auth::KeyEntry;
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;
use crate::openapi::IdempotencyKey;
use crate::openapi::refusals::Change;

/// The body of the call: the properties of the new key.
#[derive(Debug, Default, Deserialize, ToSchema)]
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
    rate_limit: Option<RateLimitBody>,
    /// Whether only endpoints that retain nothing are used.
    #[serde(default)]
    enforce_zdr: Option<bool>,
    #[serde(default)]
    include_byok_in_limit: Option<bool>,
    /// A future time in RFC 3339.
    #[serde(default)]
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
    pub data: KeyBody,
    pub key: String,
}

impl CreateKeyBody {
    /// Returns the new key of an account, still without a secret.
    fn key(self, account: &AccountId, now_us: i64) -> Result<Key, GatewayError> {
        let limit = object::limit([("limit", &self.limit), ("limit_usd", &self.limit_usd), ("spending_limit", &self.spending_limit)])?;
        let expires_at_us = object::expires_at(self.expires_at.as_deref(), now_us)?;
        let kind = match self.key_type {
            None | Some(KeyType::Regular) => KeyKind::Regular,
            Some(KeyType::Management) => KeyKind::Management,
        };
        Ok(Key {
            hash: "".into(),
            account: account.clone(),
            kind,
            name: text::name(self.name)?,
            label: String::new(),
            disabled: false,
            limit_nanos: limit.flatten(),
            limit_reset: self.limit_reset.flatten(),
            allowed_models: object::models(self.allowed_models)?,
            allowed_providers: object::providers(self.allowed_providers)?,
            rate_limit: RateLimitBody::bounds(self.rate_limit)?,
            enforce_zdr: self.enforce_zdr.unwrap_or_default(),
            include_byok_in_limit: self.include_byok_in_limit.unwrap_or_default(),
            created_by: None,
            creating_call: None,
            expires_at_us,
            created_at_us: now_us,
            updated_at_us: None,
            revision: 1,
        })
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
    params(IdempotencyKey),
    request_body = CreateKeyBody,
    responses((status = 201, description = "The key and its secret.", body = CreatedBody), Change)
)]
pub async fn create(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let (account, bytes) = (&caller.key.account, read_bytes(&parts.headers, body, &admin.server).await?);
    let call = IdempotentCall::read(&parts.headers, account.as_str(), "keys", &bytes)?;
    let key = Key { created_by: Some(caller.key.hash.clone()), ..parse::<CreateKeyBody>(&bytes)?.key(account, admin.clock.now_us())? };
    admin.take_place_for_key(&caller, admin.is_repeated(&key, call.as_ref()))?;
    let created = admin.add_key(key, call.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

impl Admin {
    /// Counts the creation of a key against the quotas of the caller's account. A repeated call needs no place for its key.
    ///
    /// # Errors
    /// Returns 429 for too many changes, and 409 if the account has reached its maximum number of keys.
    pub fn take_place_for_key(&self, caller: &KeyEntry, is_repeated: bool) -> Result<(), GatewayError> {
        self.quotas.change_key(&caller.key.account)?;
        let keys_max = self.quotas.limits.keys_per_account_max;
        if !is_repeated && self.directory.count_of(&caller.key.account) >= keys_max {
            Err(GatewayError::TooManyKeys(keys_max))
        } else {
            Ok(())
        }
    }

    /// Creates a management key for an account, by the operator.
    ///
    /// # Errors
    /// Returns 400 for a bad name, 503 if nothing can be recorded, 409 if the call's idempotency key was used for another one.
    pub async fn create_management_key(
        &self,
        account: &AccountId,
        name: &str,
        call: Option<&IdempotentCall>,
    ) -> Result<CreatedBody, GatewayError> {
        let body = CreateKeyBody { name: name.to_owned(), key_type: Some(KeyType::Management), ..CreateKeyBody::default() };
        self.add_key(body.key(account, self.clock.now_us())?, call).await
    }
}
