//! `GET /api/v1/balance`: the balance of the caller's account, now or at a past time.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::Nanos;
use events::clock::{parse_rfc3339, rfc3339};
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed, Usd};
use serde::{Deserialize, Serialize};
use sqlx::{Any, AnyConnection, Row};
use utoipa::{IntoParams, ToSchema};

use crate::grant;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BalanceQuery {
    /// A past time in RFC 3339.
    #[param(format = DateTime)]
    at: Option<String>,
    /// A credential; used by the gateway, ignored here.
    #[serde(rename = "key")]
    #[param(ignore)]
    _key: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct BalanceBody {
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    balance: Nanos,
    currency: &'static str,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    held: Nanos,
    grants: Vec<GrantBody>,
    as_of: AsOf,
}

#[derive(Serialize, ToSchema)]
struct GrantBody {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    remaining: Nanos,
    priority: i64,
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct PastBalanceBody {
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    balance: Nanos,
    currency: &'static str,
    at: String,
    as_of: AsOf,
}

/// The answer, by the presence of `at`.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
enum EitherBalance {
    Now(BalanceBody),
    Past(PastBalanceBody),
}

/// Returns `{balance, currency, held, grants, as_of}`, in USD.
/// `balance` is all credit not yet spent, `held` the part lent to requests in flight, `grants` the parts of the balance, the next to be
/// spent first.
/// With `?at=TIME` it returns `{balance, currency, at, as_of}`: the sum of all transactions up to that time.
///
/// # Errors
/// 400 for a bad time.
#[utoipa::path(
    get,
    path = "/api/v1/balance",
    tag = "Account",
    summary = "The balance of the account, now or at a past time",
    params(BalanceQuery),
    responses((status = 200, description = "The balance; with `at` only the sum of all transactions up to then.", body = EitherBalance), Refusals)
)]
pub async fn balance(State(http): State<Http>, Signed(caller): Signed, query: Query<BalanceQuery>) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let account = caller.account.as_str();
    let mut snapshot = http.store.snapshot().await?;
    if let Some(text) = &query.0.at {
        let at_us = parse_rfc3339(text).ok_or_else(|| ReadError::bad("at", "it must be a time such as 2026-01-31T00:00:00Z"))?;
        let balance = at(&mut snapshot, account, at_us).await?;
        return Ok(Json(PastBalanceBody { balance, currency: "USD", at: rfc3339(at_us), as_of }).into_response());
    }
    let found = super::repo::find(&mut snapshot, account).await?;
    let (balance, held) = found.map_or((Nanos::ZERO, Nanos::ZERO), |account| (account.balance(), account.held));
    let grants = grant::repo::of_account(&mut snapshot, account).await?;
    let grants = grants.iter().map(|grant| GrantBody {
        id: format!("txn_{}", grant.id),
        kind: grant.origin.as_str(),
        remaining: grant.remaining,
        priority: grant.priority,
        expires_at: grant.expires_at_us.map(rfc3339),
    });
    Ok(Json(BalanceBody { balance, currency: "USD", held, grants: grants.collect(), as_of }).into_response())
}

/// Returns the balance at a time: the current one minus all later transactions.
async fn at(connection: &mut AnyConnection, account: &str, at_us: i64) -> Result<Nanos, sqlx::Error> {
    let row = sqlx::query::<Any>(
        "SELECT CAST(COALESCE((SELECT available_nanos + held_nanos FROM accounts WHERE id = $1), 0)
         - COALESCE((SELECT SUM(amount_nanos) FROM transactions WHERE account = $1 AND created_at_us > $2), 0) AS BIGINT) AS balance",
    )
    .bind(account.to_owned())
    .bind(at_us)
    .fetch_one(connection)
    .await?;
    Ok(Nanos(row.try_get("balance")?))
}
