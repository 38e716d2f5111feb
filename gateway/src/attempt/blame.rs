//! Attribution of a provider's error to the operator, the provider's load or the caller. It decides whether another provider is tried, and
//! which error the caller gets.

use http::{HeaderValue, StatusCode};
use wire::reported::Reported;

use super::error::AttemptError;

/// Error codes and types that report that our account with the provider is exhausted or inactive.
const QUOTA: [&str; 8] = [
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_credits",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_too_low",
    "account_deactivated",
    "quota_exceeded",
];
/// Phrases in error messages, in lower case, that report the same or a wrong credential; Google answers that with 400.
const QUOTA_WORDS: [&str; 5] =
    ["api key not valid", "insufficient balance", "exceeded your current quota", "credit balance is too low", "insufficient credit"];
/// Error codes that report that the provider does not have the configured model.
const MODEL: [&str; 6] =
    ["model_not_found", "model_not_available", "model_not_exist", "unknown_model", "invalid_model", "unsupported_model"];
/// Error types and codes that report a rate limit.
const RATE: [&str; 3] = ["rate_limit_error", "rate_limit_exceeded", "too_many_requests"];

/// Classifies an error response by its status and content.
#[must_use]
pub fn of_status(status: StatusCode, error: Reported, retry_after: Option<HeaderValue>) -> AttemptError {
    let retry_after = retry_after.or_else(|| error.retry_after_s.map(HeaderValue::from));
    let error = Box::new(error);
    if is_operators(&error) {
        return AttemptError::Operator { status: Some(status), error };
    }
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::PAYMENT_REQUIRED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => AttemptError::Operator { status: Some(status), error },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            AttemptError::Overloaded { status: Some(status), error, retry_after }
        }
        status if status.is_client_error() => AttemptError::Refused { status, error },
        status if status.is_server_error() => AttemptError::Overloaded { status: Some(status), error, retry_after },
        // A redirect or a response without a body means that the configured address is wrong.
        status => AttemptError::Operator { status: Some(status), error },
    }
}

/// Classifies an error inside a response of status 200. Unless the operator is at fault, it counts as overload: the provider accepted the
/// request and then failed, so another one may succeed.
#[must_use]
pub fn of_report(error: Reported) -> AttemptError {
    let is_rate =
        error.status == Some(StatusCode::TOO_MANY_REQUESTS.as_u16()) || words_of(&error).any(|word| RATE.contains(&word.as_str()));
    let retry_after = error.retry_after_s.map(HeaderValue::from);
    let error = Box::new(error);
    if is_operators(&error) {
        return AttemptError::Operator { status: None, error };
    }
    AttemptError::Overloaded { status: is_rate.then_some(StatusCode::TOO_MANY_REQUESTS), error, retry_after }
}

/// Returns a provider's `Retry-After` if it is a number of seconds or a date.
#[must_use]
pub fn retry_after(value: Option<&HeaderValue>) -> Option<HeaderValue> {
    let text = value?.to_str().ok()?;
    let is_seconds = text.len() <= 10 && text.bytes().all(|digit| digit.is_ascii_digit());
    let is_right = is_seconds && !text.is_empty() || chrono::DateTime::parse_from_rfc2822(text).is_ok();
    is_right.then(|| value.cloned()).flatten()
}

/// Returns the time that a provider wants to be left alone, in microseconds, from a valid `Retry-After`.
#[must_use]
pub fn retry_after_us(value: Option<&HeaderValue>, now_us: i64) -> Option<i64> {
    const SECOND_US: i64 = 1_000_000;
    let text = value?.to_str().ok()?;
    let seconds = text.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(SECOND_US));
    seconds.or_else(|| Some(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_micros().saturating_sub(now_us).max(0)))
}

fn words_of(error: &Reported) -> impl Iterator<Item = String> {
    [&error.code, &error.kind].into_iter().flatten().map(|word| word.to_lowercase())
}

fn is_operators(error: &Reported) -> bool {
    let message = error.message.as_deref().unwrap_or_default().to_lowercase();
    words_of(error).any(|word| QUOTA.contains(&word.as_str()) || MODEL.contains(&word.as_str()))
        || QUOTA_WORDS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(status: u16, body: &str) -> &'static str {
        match of_status(StatusCode::from_u16(status).unwrap(), Reported::read(body.as_bytes()), None) {
            AttemptError::Operator { .. } => "operator",
            AttemptError::Overloaded { .. } => "load",
            AttemptError::Refused { .. } => "caller",
            other @ (AttemptError::Connect
            | AttemptError::Cut
            | AttemptError::Timeout
            | AttemptError::Malformed
            | AttemptError::Coding(_)
            | AttemptError::TooLarge) => {
                panic!("{other}")
            }
        }
    }

    #[test]
    fn each_status_has_somebody_to_blame() {
        for (status, whose) in [
            (301, "operator"),
            (400, "caller"),
            (401, "operator"),
            (402, "operator"),
            (403, "operator"),
            (404, "operator"),
            (408, "load"),
            (409, "caller"),
            (413, "caller"),
            (422, "caller"),
            (429, "load"),
            (500, "load"),
            (503, "load"),
            (529, "load"),
        ] {
            assert_eq!(blamed(status, "{}"), whose, "{status}");
        }
        assert_eq!(blamed(429, r#"{"error":{"code":"insufficient_quota","message":"x"}}"#), "operator");
        assert_eq!(blamed(400, r#"{"error":{"code":"model_not_found","message":"x"}}"#), "operator");
        assert_eq!(blamed(400, r#"{"error":{"message":"Your credit balance is too low to access the API."}}"#), "operator");
        assert_eq!(blamed(400, r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#), "caller");
    }

    #[test]
    fn an_error_inside_an_answer_is_blamed_by_what_it_says() {
        let of = |body: &str| of_report(Reported::read(body.as_bytes()));
        assert!(matches!(of(r#"{"error":{"message":"overloaded"}}"#), AttemptError::Overloaded { status: None, .. }));
        assert!(matches!(
            of(r#"{"error":{"message":"x","code":429}}"#),
            AttemptError::Overloaded { status: Some(StatusCode::TOO_MANY_REQUESTS), .. }
        ));
        assert!(matches!(of(r#"{"error":{"message":"x","type":"invalid_request_error"}}"#), AttemptError::Overloaded { status: None, .. }));
        assert!(matches!(of(r#"{"error":{"message":"x","code":"insufficient_quota"}}"#), AttemptError::Operator { .. }));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &'static str| retry_after(Some(&HeaderValue::from_static(text))).is_some();
        assert!(of("17") && of("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert!(!of("") && !of("soon") && !of("-1") && !of("99999999999"));
    }
}
