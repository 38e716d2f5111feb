//! Requests, written from the neutral form.

use serde_json::Number;

use super::body::Members;
use super::declarations;
use super::thinking;
use super::turns;
use crate::call::{Format, Target};
use crate::neutral::fate;
use crate::neutral::{Json, OutputFormat, Request, Text, Untranslatable};

/// Writes a request for a provider.
///
/// # Errors
/// Fails if the format cannot express a part of the request; the error names the caller's field.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Vec<u8>, Untranslatable> {
    fate::check(request, Format::Generate)?;
    let is_own = request.source == Format::Generate;
    let (system, contents) = turns::write(request, target.model)?;
    let mut body = Members::default();
    body.put("systemInstruction", system);
    body.put("contents", contents);
    body.put("tools", declarations::tools(request)?);
    body.put_object("toolConfig", &declarations::config(request)?);
    body.put_object("generationConfig", &settings(request, target)?);
    body.put("serviceTier", service_tier(request)?);
    if is_own {
        for (name, value) in own(request, "") {
            match name {
                "tools" => body.put(name, value.clone()),
                _ => body.put_if_absent(name, value.clone()),
            }
        }
    }
    Ok(serde_json::to_vec(&body).unwrap_or_default())
}

/// Returns the fields that only this format has, directly under a path; nothing for another format's request.
pub fn own<'r>(request: &'r Request<'r>, path: &'static str) -> impl Iterator<Item = (&'r str, &'r Json<'r>)> {
    let extras = if request.source == Format::Generate { request.extras.as_slice() } else { &[] };
    extras.iter().filter_map(move |(name, value)| Some((name.strip_prefix(path)?, value))).filter(|(name, _)| !name.contains('.'))
}

fn settings<'r>(request: &'r Request<'r>, target: &Target<'_>) -> Result<Members<'r>, Untranslatable> {
    let settings = &request.settings;
    refuse(request)?;
    let mut config = Members::default();
    let number = |number: &Option<Number>| number.as_ref().map(Json::of);
    config.put("maxOutputTokens", target.cap.map(|cap| Json::of(&cap)));
    config.put("temperature", number(&settings.temperature));
    config.put("topP", number(&settings.top_p));
    config.put("topK", number(&settings.top_k));
    config.put("stopSequences", (!settings.stop.is_empty()).then(|| Json::of(&settings.stop)));
    config.put("frequencyPenalty", number(&settings.frequency_penalty));
    config.put("presencePenalty", number(&settings.presence_penalty));
    config.put("seed", number(&settings.seed));
    config.put("candidateCount", (settings.choices > 1).then(|| Json::of(&settings.choices)));
    config.put("responseLogprobs", settings.logprobs.map(|_| Json::of(&true)));
    config.put("logprobs", settings.logprobs.filter(|count| *count > 0).map(|count| Json::of(&count)));
    output(request, &mut config);
    let mut reasoning = Members::default();
    for (name, value) in own(request, "generationConfig.thinkingConfig.") {
        reasoning.put(name, value.clone());
    }
    let thinking = thinking::write(request, target.model, target.cap);
    for (name, value) in thinking.as_ref().and_then(Json::read::<serde_json::Map<_, _>>).into_iter().flatten() {
        reasoning.put(name, Json::of(&value));
    }
    config.put_object("thinkingConfig", &reasoning);
    for (name, value) in own(request, "generationConfig.") {
        config.put_if_absent(name, value.clone());
    }
    Ok(config)
}

/// Refuses the settings that the format does not have. A user's name is for the provider's own records, and is left out.
fn refuse(request: &Request<'_>) -> Result<(), Untranslatable> {
    match request.settings.verbosity.as_deref() {
        // This is OpenAI's default.
        None | Some("medium") => Ok(()),
        Some(_) => {
            let field = if request.source == Format::Responses { "text.verbosity" } else { "verbosity" };
            Err(Untranslatable::new(field, "its API has no such setting; leave it out"))
        }
    }
}

fn output<'r>(request: &'r Request<'r>, config: &mut Members<'r>) {
    let json = || Json::of(&"application/json");
    match &request.settings.output {
        OutputFormat::Text => {}
        OutputFormat::Json => config.put("responseMimeType", json()),
        OutputFormat::Schema { schema, .. } => {
            config.put("responseMimeType", json());
            let has_own = own(request, "generationConfig.").any(|(name, _)| name == "responseSchema");
            if !has_own {
                config.put("responseJsonSchema", schema.clone());
            }
        }
    }
}

/// Returns the processing tier in Google's words.
fn service_tier(request: &Request<'_>) -> Result<Option<Json<'static>>, Untranslatable> {
    let is_own = request.source == Format::Generate;
    match request.settings.service_tier.as_deref() {
        None | Some("auto") => Ok(None),
        Some("default") => Ok(Some(Json::of(&"standard"))),
        Some(tier) if is_own || matches!(tier, "flex" | "priority") => Ok(Some(Json::of(&tier))),
        Some(_) => Err(Untranslatable::new("service_tier", "its API has no such tier; give auto, default, flex or priority")),
    }
}

/// Returns the name of the conversation in the caller's format.
pub const fn conversation(source: Format) -> Text<'static> {
    Text::Borrowed(match source {
        Format::Chat | Format::Messages => "messages",
        Format::Responses | Format::Embeddings(_) => "input",
        Format::Generate => "contents",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::Dialect;
    use crate::neutral::{Part, Role, Turn};

    fn request(source: Format) -> Request<'static> {
        let turn = Turn { role: Role::User, parts: vec![Part::text("x")], name: None };
        Request { turns: vec![turn], ..Request::new(source) }
    }

    fn written(request: &Request<'_>) -> Result<Value, Untranslatable> {
        let body = write(request, &Target { model: "m-1", cap: Some(500), dialect: &Dialect::default() })?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn every_setting_has_its_field() {
        let mut request = request(Format::Chat);
        let settings = &mut request.settings;
        (settings.temperature, settings.top_p, settings.top_k) = (Some(1.into()), Some(1.into()), Some(40.into()));
        (settings.frequency_penalty, settings.presence_penalty, settings.seed) = (Some(1.into()), Some(2.into()), Some(7.into()));
        (settings.stop, settings.choices, settings.logprobs) = (vec!["END".into()], 2, Some(3));
        (settings.service_tier, settings.user, settings.verbosity) = (Some("default".into()), Some("u".into()), Some("medium".into()));
        let schema = json!({"type": "object"});
        settings.output = OutputFormat::Schema { name: Some("n".into()), description: None, schema: Json::of(&schema), strict: Some(true) };
        assert_eq!(
            written(&request).unwrap(),
            json!({
                "contents": [{"role": "user", "parts": [{"text": "x"}]}],
                "generationConfig": {
                    "maxOutputTokens": 500, "temperature": 1, "topP": 1, "topK": 40, "stopSequences": ["END"], "frequencyPenalty": 1,
                    "presencePenalty": 2, "seed": 7, "candidateCount": 2, "responseLogprobs": true, "logprobs": 3,
                    "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                },
                "serviceTier": "standard",
            })
        );
    }

    #[test]
    fn what_the_format_cannot_say_is_refused_by_name() {
        let mut verbose = request(Format::Responses);
        verbose.settings.verbosity = Some("low".into());
        assert_eq!(written(&verbose).unwrap_err().field, "text.verbosity");
        let mut tier = request(Format::Chat);
        tier.settings.service_tier = Some("scale".into());
        assert_eq!(written(&tier).unwrap_err().field, "service_tier");
        let mut foreign = request(Format::Chat);
        foreign.extras.push(("logit_bias".into(), Json::of(&json!({"1": 2}))));
        assert_eq!(written(&foreign).unwrap_err().field, "logit_bias");
    }

    #[test]
    fn own_fields_return_to_their_places() {
        let mut request = request(Format::Generate);
        for name in ["cachedContent", "generationConfig.speechConfig", "generationConfig.thinkingConfig.x", "toolConfig.retrievalConfig"] {
            request.extras.push((name.into(), Json::of(&1)));
        }
        request.extras.push(("generationConfig.maxOutputTokens".into(), Json::of(&999_999)));
        request.extras.push(("tools.functionDeclarations.behavior".into(), Json::of(&1)));
        assert_eq!(
            written(&request).unwrap(),
            json!({
                "contents": [{"role": "user", "parts": [{"text": "x"}]}],
                "cachedContent": 1,
                "toolConfig": {"retrievalConfig": 1},
                "generationConfig": {"maxOutputTokens": 500, "speechConfig": 1, "thinkingConfig": {"x": 1}},
            })
        );
    }
}
