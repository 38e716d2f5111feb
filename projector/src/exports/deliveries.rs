//! `GET /api/v1/webhooks/{id}/deliveries`: the log of an endpoint's deliveries, newest event first.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use events::ids::KeyKind;
use read_api::{Http, Query, ReadError, RefusalsOfManagement, Signed};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{Any, Row};
use utoipa::{IntoParams, ToSchema};

use crate::webhook::endpoints;

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    /// The `next_cursor` of an earlier answer.
    cursor: Option<String>,
}

/// A page of deliveries.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct Deliveries {
    data: Vec<Delivery>,
    next_cursor: Option<String>,
}

/// The delivery of one event to one webhook.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct Delivery {
    id: String,
    event_id: String,
    event_type: String,
    event_time: String,
    /// `pending`, or how the delivery has ended.
    status: String,
    attempts: u64,
    last_attempt_at: Option<String>,
    last_status_code: Option<i64>,
    last_error: Option<String>,
    next_attempt_at: Option<String>,
}

/// Returns `{data: [delivery], next_cursor}`.
///
/// # Errors
/// 403 for an inference key, 404 for an endpoint of another account, 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}/deliveries",
    operation_id = "list_webhook_deliveries",
    tag = "Webhooks",
    summary = "The deliveries of a webhook, newest event first",
    params(("id" = String, Path, description = "The webhook's id."), DeliveriesQuery),
    responses((status = 200, description = "A page of deliveries.", body = Deliveries), RefusalsOfManagement)
)]
pub async fn deliveries(
    State(http): State<Http>,
    Signed(caller): Signed,
    Path(id): Path<String>,
    query: Query<DeliveriesQuery>,
) -> Result<Response, ReadError> {
    if caller.kind != KeyKind::Management {
        return Err(ReadError::Forbidden("an API key cannot read webhooks; use a management key (lr_mgmt_...)"));
    }
    let limit = query.0.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ReadError::bad("limit", "it must be a whole number from 1 to 500"));
    }
    let (before_us, before_id) = match &query.0.cursor {
        None => (i64::MAX, String::new()),
        Some(cursor) => cursor
            .split_once('.')
            .and_then(|(time_us, id)| Some((time_us.parse().ok()?, id.to_owned())))
            .ok_or(ReadError::bad("cursor", "use the next_cursor of an earlier answer"))?,
    };
    let unknown = ReadError::NotFound("No webhook of this account has that id, or it was made a moment ago.");
    let webhook = endpoints::find(&http.store.reads, caller.account.as_str(), &id).await?.ok_or(unknown)?;
    let rows = sqlx::query::<Any>(
        "SELECT id, event_id, event_type, event_time_us, state, attempts, next_at_us, attempted_at_us, status, error FROM deliveries
         WHERE webhook = $1 AND (event_time_us < $2 OR (event_time_us = $2 AND id < $3)) ORDER BY event_time_us DESC, id DESC LIMIT $4",
    )
    .bind(webhook.id)
    .bind(before_us)
    .bind(before_id)
    .bind(limit)
    .fetch_all(&http.store.reads)
    .await?;
    let data: Result<Vec<Value>, sqlx::Error> = rows.iter().map(delivery).collect();
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(cursor).transpose()?;
    Ok(Json(json!({"data": data?, "next_cursor": next})).into_response())
}

fn cursor(row: &AnyRow) -> Result<String, sqlx::Error> {
    Ok(format!("{}.{}", row.try_get::<i64, _>("event_time_us")?, row.try_get::<String, _>("id")?))
}

fn delivery(row: &AnyRow) -> Result<Value, sqlx::Error> {
    let state: String = row.try_get("state")?;
    let next = if state == "pending" { Some(rfc3339(row.try_get("next_at_us")?)) } else { None };
    Ok(json!({
        "id": row.try_get::<String, _>("id")?,
        "event_id": row.try_get::<String, _>("event_id")?,
        "event_type": row.try_get::<String, _>("event_type")?,
        "event_time": rfc3339(row.try_get("event_time_us")?),
        "status": state,
        "attempts": row.try_get::<i64, _>("attempts")?,
        "last_attempt_at": row.try_get::<Option<i64>, _>("attempted_at_us")?.map(rfc3339),
        "last_status_code": row.try_get::<Option<i64>, _>("status")?,
        "last_error": row.try_get::<Option<String>, _>("error")?,
        "next_attempt_at": next,
    }))
}
