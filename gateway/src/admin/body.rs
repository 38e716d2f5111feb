//! Bodies of management calls: JSON parsed strictly; an unknown field is an error that names it.

use axum::body::{Body, Bytes};
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
/// Returns 400 if the body is not JSON or not a `T`; the message names the field.
pub async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, server: &ServerConfig) -> Result<T, GatewayError> {
    parse(&edge::read_body(headers, body, server, None).await?)
}

/// Reads the bytes of a body.
///
/// # Errors
/// Fails if the body is too large, too slow or broken.
pub async fn read_bytes(headers: &HeaderMap, body: Body, server: &ServerConfig) -> Result<Bytes, GatewayError> {
    edge::read_body(headers, body, server, None).await
}

/// Parses a body.
///
/// # Errors
/// Returns 400 if the body is not JSON or not a `T`; the message names the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GatewayError> {
    serde_json::from_slice(bytes)
        .map_err(|error| GatewayError::BadRequest { message: format!("Invalid request body: {error}."), param: None })
}

/// Returns the 400 error for an invalid field.
#[must_use]
pub fn wrong(field: &'static str, what: &str) -> GatewayError {
    GatewayError::BadRequest { message: format!("Invalid '{field}': {what}."), param: Some(field.into()) }
}

/// Deserializes a field in which `null` means something else than absence.
///
/// # Errors
/// Fails if the value is not a `T`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads an amount in USD and rounds it half up to the nano, because callers compute with floats.
///
/// # Errors
/// Returns 400 if it is negative or not a number.
pub fn usd(field: &'static str, raw: &RawValue) -> Result<Nanos, GatewayError> {
    let amount = signed_usd(field, raw)?;
    if amount < Nanos::ZERO { Err(wrong(field, "it must not be negative")) } else { Ok(amount) }
}

/// Reads an amount in USD that may be negative, rounded like [`usd`].
///
/// # Errors
/// Returns 400 if it is not a number.
pub fn signed_usd(field: &'static str, raw: &RawValue) -> Result<Nanos, GatewayError> {
    Nanos::from_usd_rounded(raw.get().trim_matches('"')).map_err(|error| wrong(field, &format!("it must be an amount in USD ({error})")))
}
