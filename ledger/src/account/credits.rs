//! `GET /api/v1/credits`: the credit that an account has received and used in total, in OpenRouter's shape.

use axum::Json;
use axum::extract::State;
use events::Nanos;
use read_api::{AsOf, Http, ReadError, Signed};
use serde::Serialize;

#[derive(Serialize)]
pub struct CreditsBody {
    data: Credits,
    as_of: AsOf,
}

#[derive(Serialize)]
struct Credits {
    #[serde(serialize_with = "events::money::as_usd")]
    total_credits: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    total_usage: Nanos,
}

/// Returns `{data: {total_credits, total_usage}, as_of}`, in USD. The first is all credit that came in, minus what was taken back, fees and expired
/// credit; the second is the sum of all charges. Their difference is the balance.
///
/// # Errors
/// 503 if the database fails.
pub async fn credits(State(http): State<Http>, Signed(caller): Signed) -> Result<Json<CreditsBody>, ReadError> {
    let as_of = http.as_of();
    let mut snapshot = http.store.snapshot().await?;
    let account = super::repo::find(&mut snapshot, caller.account.as_str()).await?.unwrap_or_default();
    Ok(Json(CreditsBody { data: Credits { total_credits: account.credited, total_usage: account.spent }, as_of }))
}
