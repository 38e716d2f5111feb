//! Errors as providers report them, in the shapes of OpenAI, FastAPI, vLLM and Google, or as plain text.

use serde_json::Value;

/// The maximum number of characters kept of an error that is not JSON.
const TEXT_CHARS_MAX: usize = 500;

/// An error as a provider reports it; a field that the provider omits is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reported {
    /// The text for people.
    pub message: Option<String>,
    /// The code for programs; a number is converted to text.
    pub code: Option<String>,
    /// The faulty field.
    pub param: Option<String>,
    /// OpenAI's `type`.
    pub kind: Option<String>,
    /// The HTTP status that the body names, from 400 to 599.
    pub status: Option<u16>,
    /// The time to wait before a retry, in seconds; Google says it in the body.
    pub retry_after_s: Option<u64>,
    /// The body; a JSON string if it is not JSON.
    pub raw: Value,
}

impl Reported {
    /// Reads the body of an error: OpenAI's object, a bare string, FastAPI's `detail`, vLLM's flat object, Google's array, or any text.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice(body) {
            return Self::of(value);
        }
        let text: String = String::from_utf8_lossy(body).trim().chars().take(TEXT_CHARS_MAX).collect();
        // An HTML page tells a caller nothing useful.
        let message = Some(text.clone()).filter(|text| !text.is_empty() && !text.starts_with('<'));
        Self { message, raw: Value::String(text), ..Self::default() }
    }

    /// Reads an error that is JSON.
    #[must_use]
    pub fn of(raw: Value) -> Self {
        let body = raw.as_array().and_then(|all| all.first()).unwrap_or(&raw);
        let inner = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let of = |name: &str| [inner.get(name), body.get(name)].into_iter().flatten().find_map(text);
        let detail =
            || of("detail").or_else(|| Some(body.get("detail")?.as_array()?.iter().filter_map(validation).collect::<Vec<_>>().join("; ")));
        let message = inner.as_str().map(str::to_owned).or_else(|| of("message")).or_else(detail).filter(|text| !text.is_empty());
        let number = |name: &str| inner.get(name).or_else(|| body.get(name)).and_then(Value::as_u64);
        let status = ["code", "status"].into_iter().find_map(number).and_then(|status| u16::try_from(status).ok());
        Self {
            message,
            code: of("code"),
            param: of("param"),
            kind: of("type"),
            status: status.filter(|status| (400..600).contains(status)),
            retry_after_s: inner.get("details").and_then(Value::as_array).and_then(|details| details.iter().find_map(retry_delay)),
            raw,
        }
    }
}

impl Reported {
    /// Removes a secret from all texts, unless it is so short that it may be a part of any text.
    pub fn remove(&mut self, secret: &str) {
        if secret.len() < SECRET_BYTES_MIN {
            return;
        }
        for text in [&mut self.message, &mut self.code, &mut self.param, &mut self.kind].into_iter().flatten() {
            *text = text.replace(secret, REMOVED);
        }
        remove(&mut self.raw, secret);
    }
}

/// The length from which a credential is a secret. Servers without access control are given words such as `none`.
const SECRET_BYTES_MIN: usize = 8;
/// The text in place of a secret.
const REMOVED: &str = "[removed]";

fn remove(value: &mut Value, secret: &str) {
    match value {
        Value::String(text) => *text = text.replace(secret, REMOVED),
        Value::Array(all) => all.iter_mut().for_each(|value| remove(value, secret)),
        Value::Object(object) => {
            let fields = std::mem::take(object).into_iter();
            *object = fields
                .map(|(name, mut value)| {
                    remove(&mut value, secret);
                    (name.replace(secret, REMOVED), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Reads `{"@type": "…/google.rpc.RetryInfo", "retryDelay": "17.5s"}`, rounded up to whole seconds.
fn retry_delay(detail: &Value) -> Option<u64> {
    let text = detail.get("retryDelay")?.as_str()?.strip_suffix('s')?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_more = rest.bytes().any(|digit| digit != b'0');
    whole.parse::<u64>().ok()?.checked_add(u64::from(is_more))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Formats `{"loc": ["body", "max_tokens"], "msg": "field required"}` as `max_tokens: field required`.
fn validation(error: &Value) -> Option<String> {
    let says = error.get("msg")?.as_str()?;
    let place = error.get("loc").and_then(Value::as_array).and_then(|place| text(place.last()?));
    Some(place.map_or_else(|| says.to_owned(), |place| format!("{place}: {says}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_says_its_message() {
        for (body, message) in [
            (r#"{"error":{"message":"too long","type":"t","param":"messages","code":"c"}}"#, "too long"),
            (r#"{"error":"model not loaded"}"#, "model not loaded"),
            (r#"{"detail":[{"loc":["body","max_tokens"],"msg":"field required"}]}"#, "max_tokens: field required"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#, "too long"),
            (r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#, "API key not valid"),
            ("upstream connect error", "upstream connect error"),
        ] {
            assert_eq!(Reported::read(body.as_bytes()).message.as_deref(), Some(message), "{body}");
        }
        assert_eq!(Reported::read(b"<html>Bad Gateway</html>").message, None);
        assert_eq!(Reported::read(b"").message, None);
    }

    #[test]
    fn codes_are_text_and_statuses_numbers() {
        let error = Reported::read(br#"{"error":{"message":"x","code":429,"param":"p","type":"t"}}"#);
        assert_eq!(
            (error.code.as_deref(), error.status, error.param.as_deref(), error.kind.as_deref()),
            (Some("429"), Some(429), Some("p"), Some("t"))
        );
        assert_eq!(Reported::read(br#"{"error":{"code":7}}"#).status, None);
        let google = br#"{"error":{"code":429,"details":[{"@type":"x"},{"@type":"RetryInfo","retryDelay":"17.2s"}]}}"#;
        assert_eq!(Reported::read(google).retry_after_s, Some(18));
    }
}
