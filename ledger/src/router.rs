//! The ledger's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;
use utoipa::OpenApi;

use crate::{account, statement, transaction};

/// The OpenAPI document of the read routes.
#[derive(OpenApi)]
#[openapi(paths(account::balance::balance, account::credits::credits, transaction::list::list, statement::get::get))]
struct Document;

/// Returns the OpenAPI document of the read routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub fn router(http: Http) -> Router {
    Router::new()
        .route("/api/v1/balance", get(account::balance::balance))
        .route("/api/v1/credits", get(account::credits::credits))
        .route("/api/v1/transactions", get(transaction::list::list))
        .route("/api/v1/statements/{month}", get(statement::get::get))
        .with_state(http)
}
