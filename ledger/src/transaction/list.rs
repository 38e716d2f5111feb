//! `GET /api/v1/transactions`: the account's transactions, newest first, as JSON or CSV.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::Nanos;
use events::clock::{parse_rfc3339, rfc3339};
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed, Usd, csv};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row};
use utoipa::{IntoParams, ToSchema};

const LIMIT_DEFAULT: i64 = 50;
const LIMIT_MAX: i64 = 1_000;
/// The kinds that the API returns; lease transactions move money inside the account and are not among them.
pub const KINDS: [&str; 7] = ["usage", "credit", "refund", "fee", "expiry", "adjustment", "grant"];

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
    /// The `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// `usage`, `credit`, `refund`, `fee`, `expiry`, `adjustment` or `grant`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The earliest time, RFC 3339.
    from: Option<String>,
    /// The time from which on nothing is listed, RFC 3339.
    to: Option<String>,
    key_hash: Option<String>,
    /// `json`, the default, or `csv`.
    format: Option<String>,
    /// A credential; used by the gateway, ignored here.
    #[serde(rename = "key")]
    #[param(ignore)]
    _key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TransactionBody {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    amount: Nanos,
    currency: &'static str,
    description: String,
    created_at: String,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    balance_after: Nanos,
    generation_id: Option<String>,
    key_hash: Option<String>,
    #[serde(skip)]
    version: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TransactionList)]
struct ListBody {
    transactions: Vec<TransactionBody>,
    next_cursor: Option<String>,
    as_of: AsOf,
}

struct Filter {
    limit: i64,
    before: i64,
    kind: Option<String>,
    from_us: i64,
    to_us: i64,
    key_hash: Option<String>,
    csv: bool,
}

impl Filter {
    fn try_new(query: ListQuery) -> Result<Self, ReadError> {
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ReadError::bad("limit", "it must be a whole number from 1 to 1000"));
        }
        let before = query.cursor.map_or(Ok(i64::MAX), |cursor| {
            cursor.parse().map_err(|_| ReadError::bad("cursor", "use the next_cursor of an earlier answer"))
        })?;
        if query.kind.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) {
            return Err(ReadError::bad("type", "it must be one of usage, credit, refund, fee, expiry, adjustment, grant"));
        }
        let time = |field, text: Option<String>, default| {
            text.map_or(Ok(default), |text| {
                parse_rfc3339(&text).ok_or_else(|| ReadError::bad(field, "it must be a time such as 2026-01-31T00:00:00Z"))
            })
        };
        let csv = match query.format.as_deref() {
            None | Some("json") => false,
            Some("csv") => true,
            Some(_) => return Err(ReadError::bad("format", "it must be json or csv")),
        };
        let (from_us, to_us) = (time("from", query.from, i64::MIN)?, time("to", query.to, i64::MAX)?);
        Ok(Self { limit, before, kind: query.kind, from_us, to_us, key_hash: query.key_hash, csv })
    }
}

/// Returns `{transactions: [...], next_cursor, as_of}`; amounts in USD, exact to 9 decimals. CSV has one row per transaction.
///
/// # Errors
/// 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/v1/transactions",
    operation_id = "list_transactions",
    tag = "Account",
    summary = "The transactions of the account, newest first",
    params(ListQuery),
    responses(
        (
            status = 200,
            description = "A page of transactions. A table has its state in `X-As-Of` and the next page in `X-Next-Cursor`.",
            content((ListBody = "application/json"), (String = "text/csv"))
        ),
        Refusals
    )
)]
pub async fn list(State(http): State<Http>, Signed(caller): Signed, query: Query<ListQuery>) -> Result<Response, ReadError> {
    let filter = Filter::try_new(query.0)?;
    let as_of = http.as_of();
    let mut rows = find(&http, caller.account.as_str(), &filter).await?;
    let limit = usize::try_from(filter.limit).unwrap_or_default();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.version.to_string());
    if filter.csv {
        return csv(&rows, next_cursor.as_deref(), &as_of);
    }
    Ok(Json(ListBody { transactions: rows, next_cursor, as_of }).into_response())
}

async fn find(http: &Http, account: &str, filter: &Filter) -> Result<Vec<TransactionBody>, sqlx::Error> {
    let kinds = KINDS.map(|kind| format!("'{kind}'")).join(",");
    let sql = format!(
        "SELECT id, version, kind, amount_nanos, balance_after_nanos, description, created_at_us, request, key_hash FROM transactions
         WHERE account = $1 AND version < $2 AND created_at_us >= $3 AND created_at_us < $4 AND kind IN ({kinds})
         AND ($5 = '' OR kind = $5) AND ($6 = '' OR key_hash = $6) ORDER BY version DESC LIMIT $7"
    );
    let rows = sqlx::query::<Any>(AssertSqlSafe(sql))
        .bind(account.to_owned())
        .bind(filter.before)
        .bind(filter.from_us)
        .bind(filter.to_us)
        .bind(filter.kind.clone().unwrap_or_default())
        .bind(filter.key_hash.clone().unwrap_or_default())
        .bind(filter.limit + 1)
        .fetch_all(&http.store.reads)
        .await?;
    rows.iter().map(body).collect()
}

fn body(row: &AnyRow) -> Result<TransactionBody, sqlx::Error> {
    Ok(TransactionBody {
        id: format!("txn_{}", row.try_get::<String, _>("id")?),
        kind: row.try_get("kind")?,
        amount: Nanos(row.try_get("amount_nanos")?),
        currency: "USD",
        description: row.try_get("description")?,
        created_at: rfc3339(row.try_get("created_at_us")?),
        balance_after: Nanos(row.try_get("balance_after_nanos")?),
        generation_id: row.try_get("request")?,
        key_hash: row.try_get("key_hash")?,
        version: row.try_get("version")?,
    })
}

fn csv(rows: &[TransactionBody], next_cursor: Option<&str>, as_of: &AsOf) -> Result<Response, ReadError> {
    let header = ["id", "type", "amount", "currency", "description", "created_at", "balance_after", "generation_id", "key_hash"];
    let cells = rows.iter().map(|row| {
        vec![
            row.id.clone(),
            row.kind.clone(),
            row.amount.to_decimals(),
            row.currency.to_owned(),
            csv::safe(&row.description).into_owned(),
            row.created_at.clone(),
            row.balance_after.to_decimals(),
            row.generation_id.clone().unwrap_or_default(),
            row.key_hash.clone().unwrap_or_default(),
        ]
    });
    csv::respond(&header, cells, as_of, next_cursor)
}
