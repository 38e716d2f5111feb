//! The ledger's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;

use crate::{account, statement, transaction};

pub fn router(http: Http) -> Router {
    Router::new()
        .route("/api/v1/balance", get(account::balance::balance))
        .route("/api/v1/credits", get(account::credits::credits))
        .route("/api/v1/transactions", get(transaction::list::list))
        .route("/api/v1/statements/{month}", get(statement::get::get))
        .with_state(http)
}
