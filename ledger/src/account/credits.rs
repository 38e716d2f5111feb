//! `GET /api/v1/credits`: the credit that an account has received and used in total, in OpenRouter's shape.

use axum::Json;
use axum::extract::State;
use events::Nanos;
use read_api::{AsOf, Http, ReadError, Refusals, Signed, Usd};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = CreditTotals)]
pub struct CreditsBody {
    data: Credits,
    as_of: AsOf,
}

#[derive(Serialize, ToSchema)]
struct Credits {
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    total_credits: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    total_usage: Nanos,
}

/// Returns `{data: {total_credits, total_usage}, as_of}`, in USD. The first is all credit that came in, minus what was taken back, fees and expired
/// credit; the second is the sum of all charges. Their difference is the balance.
///
/// # Errors
/// 503 if the database fails.
#[utoipa::path(
    get,
    path = "/api/v1/credits",
    tag = "Account",
    summary = "The credit that the account has received and used in total",
    responses((status = 200, description = "The totals; their difference is the balance.", body = CreditsBody), Refusals)
)]
pub async fn credits(State(http): State<Http>, Signed(caller): Signed) -> Result<Json<CreditsBody>, ReadError> {
    let as_of = http.as_of();
    let mut snapshot = http.store.snapshot().await?;
    let account = super::repo::find(&mut snapshot, caller.account.as_str()).await?.unwrap_or_default();
    Ok(Json(CreditsBody { data: Credits { total_credits: account.credited, total_usage: account.spent }, as_of }))
}
