//! `GET /api/v1/balance`: what the caller's account has left.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::Nanos;
use reading::{AsOf, Http, ReadError, Signed};
use serde::Serialize;

#[derive(Serialize)]
struct BalanceBody {
    #[serde(serialize_with = "events::money::as_usd")]
    balance: Nanos,
    currency: &'static str,
    #[serde(serialize_with = "events::money::as_usd")]
    held: Nanos,
    as_of: AsOf,
}

/// `{balance, currency, held, as_of}`: `balance` is everything not yet spent, `held` the part lent to requests in flight; USD.
///
/// # Errors
/// When the database is away.
pub async fn balance(State(http): State<Http>, Signed(caller): Signed) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let mut connection = http.store.reads.acquire().await?;
    let account = super::repo::find(&mut connection, caller.account.as_str()).await?;
    let (balance, held) = account.map_or((Nanos::ZERO, Nanos::ZERO), |account| (account.balance(), account.held));
    Ok(Json(BalanceBody { balance, currency: "USD", held, as_of }).into_response())
}
