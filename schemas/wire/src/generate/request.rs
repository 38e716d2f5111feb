//! A request of Google's `generateContent`: the fields that the gateway acts on, and the body for a provider of the same format.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::bound::{self, Prompt};
use super::spelling::{canonical, present, spelled, text, whole};
use crate::call::{Addressed, Head, RequestError, Target};
use crate::chat::request::{self as chat, OWN_FIELDS};
use crate::fields::{Edit, Fields, quoted};
use crate::neutral::Request;
use crate::routing::Routing;

pub use super::write::write;

/// The maximum number of candidates that one request may ask for; Google's own bound is lower.
const CANDIDATES_MAX: i64 = 128;
/// The object with the settings.
pub(super) const CONFIG: &str = "generationConfig";
/// The bound on completion tokens, in the settings.
const CAP: &str = "maxOutputTokens";

/// The body over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a>(Fields<'a>);

/// Fields that may be dropped on the way to another format.
pub const HARMLESS: &[(&str, &str)] = &[
    ("safetySettings", "thresholds of Google's own filters; other providers apply their own"),
    ("labels", "names for Google's billing reports"),
    ("tools", "the declarations as the caller wrote them; they are translated as JSON Schema"),
    ("generationConfig.responseSchema", "the schema as the caller wrote it; it is translated as JSON Schema"),
    ("toolConfig.functionCallingConfig.mode", "VALIDATED is translated as auto"),
];

/// Creates the error for a field.
pub fn wrong(field: &'static str, message: impl fmt::Display) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request; the error names the field.
pub fn read<'a>(body: &'a [u8], address: &Addressed<'_>) -> Result<(Head, Body<'a>), RequestError> {
    let own = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    let fields = unique(&own)?;
    let config = config(&fields)?;
    let output_tokens_max = match config.get(CAP).map(whole) {
        None => None,
        Some(Some(tokens)) if tokens > 0 => u64::try_from(tokens).ok(),
        Some(_) => return Err(wrong("generationConfig.maxOutputTokens", "it must be a whole number of at least 1")),
    };
    let choices = match config.get("candidateCount").map(whole) {
        None => 1,
        Some(Some(count)) if (0..=CANDIDATES_MAX).contains(&count) => u64::try_from(count).unwrap_or(1).max(1),
        Some(_) => return Err(wrong("generationConfig.candidateCount", "it must be a whole number from 1 to 128")),
    };
    let models = models(&fields, address)?;
    let service_tier = service_tier(&fields)?;
    let Prompt { tokens_max, images, text_bytes } = bound::prompt(&fields, &config)?;
    let head = Head {
        models,
        stream: address.stream,
        output_tokens_max,
        choices,
        user: None,
        service_tier,
        prompt_tokens_max: tokens_max,
        images,
        has_reasoning_object: false,
        has_base64_vectors: false,
        has_tools: fields.get("tools").is_some_and(|tools| !matches!(tools.get(), "null" | "[]")),
        prompt_text_bytes: text_bytes,
        routing: Routing::read(&own)?,
    };
    Ok((head, Body(own)))
}

/// Returns the members under their names in camelCase, without nulls.
pub fn unique<'a>(own: &Fields<'a>) -> Result<Fields<'a>, RequestError> {
    let fields = canonical(own.clone());
    match fields.repeated() {
        Some(name) => Err(RequestError::Repeated(name.to_owned())),
        None => Ok(present(fields)),
    }
}

/// Returns the settings; none if there is no such object.
fn config<'a>(fields: &Fields<'a>) -> Result<Fields<'a>, RequestError> {
    let Some(raw) = fields.get(CONFIG) else { return Ok(Fields(Vec::new())) };
    let own: Fields<'a> = serde_json::from_str(raw.get()).map_err(|_| wrong(CONFIG, "it must be an object"))?;
    unique(&own)
}

/// Returns the model of the address, and those that the body names in addition.
pub fn models(fields: &Fields<'_>, address: &Addressed<'_>) -> Result<Vec<String>, RequestError> {
    let own = address.model.map(quoted).and_then(|model| RawValue::from_string(model).ok());
    let model = own.as_deref().map(|model| (Cow::Borrowed("model"), model));
    let others = fields.0.iter().filter(|(name, _)| name == "models" || name == "route").cloned();
    chat::models(&Fields(model.into_iter().chain(others).collect()))
}

/// Returns the processing tier in OpenAI's words.
///
/// # Errors
/// Fails if it is no text.
pub(super) fn service_tier(fields: &Fields<'_>) -> Result<Option<String>, RequestError> {
    let Some(raw) = fields.get("serviceTier") else { return Ok(None) };
    let tier = text(raw).ok_or_else(|| wrong("serviceTier", "it must be a string"))?.to_ascii_lowercase();
    Ok(match tier.strip_prefix("service_tier_").unwrap_or(&tier) {
        "" | "unspecified" => None,
        "standard" => Some("default".to_owned()),
        other => Some(other.to_owned()),
    })
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    #[must_use]
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns the prompt's bound with its plain texts counted by `count`; everything else counts by its bytes.
    #[must_use]
    #[expect(clippy::unnecessary_wraps, reason = "the formats share this signature")]
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        Some(bound::counted(&canonical(self.0.clone()), by_bytes, count))
    }

    /// Returns the body for a provider of the same format: the caller's bytes with the target's cap, without the gateway's own fields.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        let name = spelled(&self.0, CONFIG);
        let config = target.cap.map(|cap| self.capped(name, cap));
        let mut edits = vec![("model", Edit::Drop)];
        edits.extend(OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        if let Some(config) = &config {
            edits.push((name, Edit::Put(config)));
        }
        let mut body = Vec::with_capacity(self.0.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + 64);
        self.0.write(&edits, &mut body);
        body
    }

    /// Returns the caller's settings with a cap.
    fn capped(&self, name: &str, cap: u64) -> String {
        let cap = cap.to_string();
        let own = self.0.get(name).and_then(|raw| serde_json::from_str::<Fields<'_>>(raw.get()).ok());
        let own = own.unwrap_or_else(|| Fields(Vec::new()));
        let mut config = Vec::new();
        own.write(&[(spelled(&own, CAP), Edit::Put(&cap))], &mut config);
        String::from_utf8(config).unwrap_or_default()
    }

    /// Reads the request into the neutral form.
    ///
    /// # Errors
    /// Fails if a field has a wrong value; the error names it.
    pub fn neutral(&self) -> Result<Request<'a>, RequestError> {
        super::read::read(&unique(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    const ADDRESS: Addressed<'static> = Addressed { model: Some("a/b"), stream: true, is_count: false };
    const TEXT: &str = r#""contents":[{"parts":[{"text":"x"}]}]"#;

    fn upstream(body: &str, cap: Option<u64>) -> String {
        let (_, body) = read(body.as_bytes(), &ADDRESS).unwrap();
        String::from_utf8(body.upstream_body(&Target { model: "b", cap, dialect: &Dialect::default() })).unwrap()
    }

    fn message(rest: &str) -> String {
        read(format!("{{{rest}}}").as_bytes(), &ADDRESS).unwrap_err().to_string()
    }

    #[test]
    fn the_address_names_the_model() {
        let body = format!(r#"{{{TEXT},"model":"z","models":["c/d"],"serviceTier":"STANDARD"}}"#);
        let (head, _) = read(body.as_bytes(), &ADDRESS).unwrap();
        assert_eq!(
            (head.models, head.stream, head.service_tier.as_deref()),
            (vec!["a/b".to_owned(), "c/d".to_owned()], true, Some("default"))
        );
        let nameless = read(body.as_bytes(), &Addressed::default()).unwrap();
        assert_eq!(nameless.0.models, ["c/d"]);
        assert!(read(format!("{{{TEXT}}}").as_bytes(), &Addressed::default()).unwrap_err().to_string().contains("'model'"));
    }

    #[test]
    fn the_provider_gets_the_callers_bytes_and_the_cap() {
        let body = r#"{"contents":[{"parts":{"text":"h\u00e9"}}],"models":["c"],"generation_config":{"max_output_tokens":9,"topP":1.0}}"#;
        assert_eq!(
            upstream(body, Some(7)),
            r#"{"contents":[{"parts":{"text":"h\u00e9"}}],"generation_config":{"max_output_tokens":7,"topP":1.0}}"#
        );
        assert_eq!(upstream(&format!("{{{TEXT}}}"), Some(7)), format!(r#"{{{TEXT},"generationConfig":{{"maxOutputTokens":7}}}}"#));
        assert_eq!(
            upstream(&format!("{{{TEXT},\"generationConfig\":null}}"), Some(7)),
            format!(r#"{{{TEXT},"generationConfig":{{"maxOutputTokens":7}}}}"#)
        );
        assert_eq!(upstream(&format!("{{{TEXT}}}"), None), format!("{{{TEXT}}}"));
    }

    #[test]
    fn settings_are_read_in_both_spellings() {
        let body = format!(r#"{{{TEXT},"generation_config":{{"max_output_tokens":"9","candidate_count":2.0}}}}"#);
        let (head, _) = read(body.as_bytes(), &ADDRESS).unwrap();
        assert_eq!((head.output_tokens_max, head.choices), (Some(9), 2));
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (rest, field) in [
            (r#""x":1"#.to_owned(), "'contents'"),
            (r#""contents":[]"#.to_owned(), "'contents'"),
            (r#""contents":7"#.to_owned(), "'contents'"),
            (r#""contents":["x"]"#.to_owned(), "'contents'"),
            (format!(r#"{TEXT},"generationConfig":[]"#), "'generationConfig'"),
            (format!(r#"{TEXT},"generationConfig":{{"maxOutputTokens":0}}"#), "'generationConfig.maxOutputTokens'"),
            (format!(r#"{TEXT},"generationConfig":{{"candidateCount":129}}"#), "'generationConfig.candidateCount'"),
            (format!(r#"{TEXT},"serviceTier":7"#), "'serviceTier'"),
            (format!(r#"{TEXT},"route":"x""#), "'route'"),
        ] {
            assert!(message(&rest).contains(field), "{rest}: {}", message(&rest));
        }
        assert!(message(&format!(r#"{TEXT},"generationConfig":{{}},"generation_config":{{}}"#)).contains("twice"));
        assert!(message(&format!(r#"{TEXT},"generationConfig":{{"maxOutputTokens":1,"max_output_tokens":9}}"#)).contains("twice"));
        assert!(read(b"[]", &ADDRESS).is_err());
    }
}
