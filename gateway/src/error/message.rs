//! Messages and types of errors that depend on what happened.

use events::rpc::{Denial, LimitSource};
use http::StatusCode;
use wire::reported::Reported;

use crate::route::choice::Skipped;

/// The maximum number of excluded endpoints that a message names.
const REASONS_MAX: usize = 5;

pub fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("did you mean '{nearest}'? ")).unwrap_or_default()
}

pub fn unfit(models: &[String], skipped: &[Skipped]) -> String {
    let reasons: Vec<String> = skipped
        .iter()
        .take(REASONS_MAX)
        .map(|skipped| format!("{} at {}: {}", skipped.endpoint.model.id, skipped.endpoint.provider.name, skipped.reason.sentence()))
        .collect();
    let more = skipped.len().saturating_sub(REASONS_MAX);
    let more = if more > 0 { format!(" {more} more are in error.metadata.") } else { String::new() };
    format!("No provider of '{}' fits the request. {}{more}", models.join("', '"), reasons.join(" "))
}

pub fn refusal(error: &Reported, status: StatusCode) -> String {
    error.message.clone().unwrap_or_else(|| format!("The provider refused the request with status {}.", status.as_u16()))
}

/// Returns the type of a refusal by a provider that names none.
pub fn refused_kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::CONFLICT => "conflict_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        _ => "invalid_request_error",
    }
}

pub fn overload(error: &Reported, provider: &str) -> String {
    match &error.message {
        Some(message) => format!("The provider failed or is overloaded: {message}"),
        None => format!("The provider {provider} failed or is overloaded, and no other can take the request; try again shortly."),
    }
}

pub fn payment(denial: &Denial) -> &'static str {
    match denial.source {
        LimitSource::Credits => "Insufficient credits: add credit to the account, or lower max_tokens.",
        LimitSource::KeyLimit => "This key's spending limit is reached: raise it, wait until it resets, or lower max_tokens.",
        LimitSource::InFlightBudget => "The remaining credit is held by requests in flight: retry when they have ended.",
    }
}
