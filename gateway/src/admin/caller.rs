//! The caller of a management call: extractors that refuse the wrong credential before a handler runs.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;

use super::Admin;
use crate::auth::KeyEntry;
use crate::error::GatewayError;

/// Any key that may be used now.
pub struct AnyKey(pub Arc<KeyEntry>);

/// A management key.
pub struct ManagementKey(pub Arc<KeyEntry>);

/// The operator, by their token.
pub struct Operator;

impl FromRequestParts<Admin> for AnyKey {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, GatewayError> {
        admin.directory.identify(&parts.headers, parts.uri.query(), admin.clock.now_us()).map(Self)
    }
}

impl FromRequestParts<Admin> for ManagementKey {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, GatewayError> {
        admin.directory.identify_management(&parts.headers, parts.uri.query(), admin.clock.now_us()).map(Self)
    }
}

impl FromRequestParts<Admin> for Operator {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, GatewayError> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // Hashes are compared, so that the time of the comparison reveals nothing about the token.
        let same = events::KeyHash::of_secret(given.unwrap_or_default()) == events::KeyHash::of_secret(&admin.operator_token);
        if same && !admin.operator_token.is_empty() { Ok(Self) } else { Err(GatewayError::Unauthenticated) }
    }
}
