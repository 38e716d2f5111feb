//! `POST /api/v1/webhooks`: makes a webhook; its secret appears in this reply and nowhere else.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::webhook::{Webhook, WebhookChanged, WebhookMethod};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::object;
use crate::admin::body::read;
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::error::GatewayError;

/// The properties of the new webhook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateWebhookBody {
    name: String,
    url: String,
    #[serde(default)]
    method: Option<WebhookMethod>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    privacy_mode: Option<bool>,
    #[serde(default)]
    sampling_rate: Option<Box<RawValue>>,
    #[serde(default)]
    api_key_ids: Option<Vec<String>>,
    #[serde(default)]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// Returns 201 with `{data, secret}`, or `{endpoint, secret}` for the SDK.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 409 if the account has as many webhooks as it may, 429 for too many
/// changes, 503 if nothing can be recorded.
pub async fn create(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: CreateWebhookBody = read(&parts.headers, body, &admin.server).await?;
    let account = &caller.key.account;
    admin.quotas.change_key(account)?;
    let _alone = admin.lock_keys(account).await;
    let webhooks_max = admin.quotas.limits.webhooks_per_account_max;
    if admin.directory.webhooks_of(account).len() >= webhooks_max {
        return Err(GatewayError::Conflict(format!(
            "This account has {webhooks_max} webhooks, as many as it may (budget webhooks_per_account): delete one, or ask the operator."
        )));
    }
    let mut webhook = Webhook {
        id: format!("wh_{}", admin.ids.uuid(&*admin.clock).simple()),
        account: account.clone(),
        name: text::name(body.name)?,
        url: object::url(body.url)?,
        method: body.method.unwrap_or_default(),
        sealed_headers: None,
        sealed_secret: String::new(),
        previous_secret: None,
        privacy_mode: body.privacy_mode.unwrap_or(false),
        sampling_ppm: object::sampling(body.sampling_rate.as_deref())?,
        api_key_ids: object::keys(body.api_key_ids.unwrap_or_default())?,
        event_types: object::event_types(&body.event_types.unwrap_or_default())?,
        disabled: body.disabled.unwrap_or(false),
        disabled_reason: None,
        created_at_us: admin.clock.now_us(),
        updated_at_us: None,
        revision: 1,
    };
    let headers = object::headers(body.headers.unwrap_or_default())?;
    webhook.sealed_headers = admin.seal_headers(&webhook.headers_place(), &headers)?;
    let (secret, sealed) = admin.new_webhook_secret(&webhook.secret_place())?;
    webhook.sealed_secret = sealed;
    admin.record(account.as_str(), &webhook.id, &WebhookChanged { webhook: webhook.clone() }).await?;
    let data = admin.webhook_body(&webhook)?;
    let answer =
        if object::is_sdk(&parts.uri) { json!({"endpoint": data, "secret": secret}) } else { json!({"data": data, "secret": secret}) };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
