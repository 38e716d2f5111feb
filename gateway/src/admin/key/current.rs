//! `GET /api/v1/key`: the state of the key that makes the call.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::control::RateLimit;
use events::ids::KeyKind;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::caller::AnyKey;
use crate::error::GatewayError;
use crate::openapi::refusals::Management;
use crate::openapi::{Data, OwnKey};

/// Returns `{data: key}` with the additional fields of OpenRouter's answer: `is_free_tier`, `is_management_key`, `organization_id` and
/// others. The members `requests`, `interval` and `note` of `rate_limit` are for OpenRouter's SDK; the bounds are the other members.
///
/// # Errors
/// Returns 401 for the wrong credential, 503 if the ledger does not reply.
#[utoipa::path(
    get,
    path = "/api/v1/key",
    operation_id = "own_key",
    tag = "Account",
    summary = "The state of the key that makes the call",
    responses((status = 200, description = "The key.", body = Data<OwnKey>), Management)
)]
pub async fn own(State(admin): State<Admin>, AnyKey(caller): AnyKey) -> Result<Response, GatewayError> {
    let body = admin.bodies(&[&caller.key]).await?.pop().ok_or(GatewayError::Internal)?;
    let has_bought = admin.admission.has_bought(&caller.key.account, &admin.quotas.limits).await;
    let mut data = serde_json::to_value(body).map_err(|_| GatewayError::Internal)?;
    if let Value::Object(fields) = &mut data {
        let is_management = caller.key.kind == KeyKind::Management;
        fields.insert("is_management_key".to_owned(), is_management.into());
        fields.insert("is_provisioning_key".to_owned(), is_management.into());
        fields.insert("is_free_tier".to_owned(), (!has_bought).into());
        fields.insert("organization_id".to_owned(), Value::Null);
        fields.insert("budgets".to_owned(), json!([]));
        fields.insert("effective_budget".to_owned(), Value::Null);
        fields.insert("allowed_data_regions".to_owned(), json!([]));
        fields.insert("free_model_daily_requests".to_owned(), free_requests(&admin, &caller.key.account, has_bought));
        fields.insert("rate_limit".to_owned(), rate_limit(&caller.key.rate_limit));
    }
    Ok(Json(json!({"data": data})).into_response())
}

/// Returns the account's requests for free models of the last 24 hours on this gateway; -1 stands for no limit.
fn free_requests(admin: &Admin, account: &AccountId, has_bought: bool) -> Value {
    let used = admin.quotas.rate_limits.free_used(account, Instant::now());
    match admin.quotas.free_per_day(has_bought) {
        Some(most) => json!({"limit": most, "remaining": most.saturating_sub(used), "used": used}),
        None => json!({"limit": -1, "remaining": -1, "used": used}),
    }
}

fn rate_limit(bounds: &RateLimit) -> Value {
    json!({
        "requests_per_minute": bounds.requests_per_minute,
        "requests_per_day": bounds.requests_per_day,
        "tokens_per_minute": bounds.tokens_per_minute,
        "requests": bounds.requests_per_minute.map_or(-1, |bound| i64::try_from(bound).unwrap_or(i64::MAX)),
        "interval": "1m",
        "note": "The bounds of this key are requests_per_minute, requests_per_day and tokens_per_minute; null is none.",
    })
}
