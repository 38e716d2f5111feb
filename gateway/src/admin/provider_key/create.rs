//! `POST /api/v1/provider-keys`: stores a provider key of the account.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::provider_key::ProviderKey;
use http::StatusCode;
use serde_json::json;

use super::object::{OptionsBody, ProviderKeyBody};
use crate::admin::Admin;
use crate::admin::body::{read, wrong};
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// Returns 201 with `{data: provider key}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 409 if the account has as many provider keys as it may, 429 for too many
/// changes, 503 if nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/provider-keys",
    operation_id = "create_provider_key",
    tag = "Provider keys",
    summary = "Store an own credential for a provider; it is used before the operator's and never shown",
    request_body = OptionsBody,
    responses((status = 201, description = "The provider key.", body = Data<ProviderKeyBody>), refusals::Change)
)]
pub async fn create(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let options: OptionsBody = read(&parts.headers, body, &admin.server).await?;
    let missing = || wrong("provider", "it is missing; it is the slug of a provider, such as openai");
    let slug = options.provider.clone().ok_or_else(missing)?;
    let account = &caller.key.account;
    admin.quotas.change_key(account)?;
    let provider = admin.provider_named(&slug)?.provider.slug.clone();
    if options.key.is_none() {
        return Err(wrong("key", "it is missing; it is the credential for the provider"));
    }
    let _alone = admin.lock_keys(account).await;
    let most = admin.byok.keys_per_account_max;
    if admin.directory.provider_keys_of(account).is_some_and(|keys| keys.len() >= most) {
        return Err(GatewayError::Conflict(format!(
            "This account has {most} provider keys, as many as it may (byok.keys_per_account_max): delete one, or ask the operator."
        )));
    }
    let mut key = ProviderKey {
        id: format!("pk_{}", admin.ids.uuid(&*admin.clock).simple()),
        account: account.clone(),
        label: provider.clone(),
        provider,
        sealed_key: String::new(),
        hint: String::new(),
        disabled: false,
        always_use: false,
        weight: 1,
        rpm_limit: None,
        base_url: None,
        region: None,
        models: Vec::new(),
        daily_budget_nanos: None,
        monthly_budget_nanos: None,
        created_at_us: admin.clock.now_us(),
        updated_at_us: None,
        revision: 1,
        deleted: false,
    };
    admin.apply_options(&mut key, options)?;
    admin.record_provider_key(&key).await?;
    Ok((StatusCode::CREATED, Json(json!({"data": ProviderKeyBody::new(&key)}))).into_response())
}
