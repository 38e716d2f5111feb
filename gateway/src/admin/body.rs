//! Bodies of management calls: JSON read strictly, unknown fields refused by name.

use axum::body::Body;
use events::Nanos;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::config::ServerConfig;
use crate::edge;
use crate::error::GatewayError;

/// Reads a body into `T`.
///
/// # Errors
/// 400 when it is no JSON or not a `T`; the message names the field.
pub async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, server: &ServerConfig) -> Result<T, GatewayError> {
    let bytes = edge::read_body(headers, body, server, None).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| GatewayError::BadRequest { message: format!("Invalid request body: {error}."), param: None })
}

/// A wrong field.
#[must_use]
pub fn wrong(field: &'static str, what: &str) -> GatewayError {
    GatewayError::BadRequest { message: format!("Invalid '{field}': {what}."), param: Some(field) }
}

/// For fields in which null says something else than absence.
///
/// # Errors
/// When the value is no `T`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An amount in USD, rounded half up to the nano: callers compute with floats.
///
/// # Errors
/// 400 when it is negative, or no number.
pub fn usd(field: &'static str, raw: &RawValue) -> Result<Nanos, GatewayError> {
    let amount = signed_usd(field, raw)?;
    if amount < Nanos::ZERO { Err(wrong(field, "it must not be negative")) } else { Ok(amount) }
}

/// The same, negative amounts allowed.
///
/// # Errors
/// 400 when it is no number.
pub fn signed_usd(field: &'static str, raw: &RawValue) -> Result<Nanos, GatewayError> {
    Nanos::from_usd_rounded(raw.get().trim_matches('"')).map_err(|error| wrong(field, &format!("it must be an amount in USD ({error})")))
}
