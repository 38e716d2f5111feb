//! `generationConfig`, read into the settings that formats share.

use serde_json::Number;
use serde_json::value::RawValue;

use super::read::extra;
use super::request::{CONFIG, wrong};
use super::schema;
use super::spelling::{list, number, object, text, whole};
use super::thinking;
use crate::call::RequestError;
use crate::fields::Fields;
use crate::neutral::{Json, OutputFormat, Request, Text};

/// Reads the settings of a request.
///
/// # Errors
/// Fails if a value is wrong; the error names its field.
pub fn read<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let config = object(raw).ok_or_else(|| wrong(CONFIG, "it must be an object, and name each setting once"))?;
    output(&config, request)?;
    logprobs(&config, request)?;
    for (name, raw) in &config.0 {
        let settings = &mut request.settings;
        match name.as_ref() {
            "maxOutputTokens" => settings.output_tokens_max = count("generationConfig.maxOutputTokens", raw)?,
            "candidateCount" => settings.choices = count("generationConfig.candidateCount", raw)?.unwrap_or(0),
            "temperature" => settings.temperature = numeric("generationConfig.temperature", raw)?,
            "topP" => settings.top_p = numeric("generationConfig.topP", raw)?,
            "topK" => settings.top_k = numeric("generationConfig.topK", raw)?,
            "frequencyPenalty" => settings.frequency_penalty = numeric("generationConfig.frequencyPenalty", raw)?,
            "presencePenalty" => settings.presence_penalty = numeric("generationConfig.presencePenalty", raw)?,
            "seed" => settings.seed = numeric("generationConfig.seed", raw)?,
            "stopSequences" => {
                let texts: Option<Vec<Text<'a>>> = list(raw).into_iter().map(text).collect();
                let fault = || wrong("generationConfig.stopSequences", "it must be an array of strings");
                settings.stop = texts.filter(|_| raw.get().starts_with('[')).ok_or_else(fault)?;
            }
            "thinkingConfig" => thinking::read(raw, request)?,
            "responseLogprobs" | "logprobs" | "responseMimeType" | "responseSchema" | "responseJsonSchema" => {}
            _ => extra(CONFIG, name, raw, request)?,
        }
    }
    Ok(())
}

fn numeric(field: &'static str, raw: &RawValue) -> Result<Option<Number>, RequestError> {
    number(raw).map(Some).ok_or_else(|| wrong(field, "it must be a number"))
}

fn count(field: &'static str, raw: &RawValue) -> Result<Option<u64>, RequestError> {
    let count = whole(raw).and_then(|count| u64::try_from(count).ok());
    count.map(Some).ok_or_else(|| wrong(field, "it must be a whole number"))
}

/// Reads the format of the output. The caller's own words for it are kept for the same format.
fn output<'a>(config: &Fields<'a>, request: &mut Request<'a>) -> Result<(), RequestError> {
    let mime = config.get("responseMimeType").map(text);
    let is_json = match mime {
        None => false,
        Some(None) => return Err(wrong("generationConfig.responseMimeType", "it must be a string")),
        Some(Some(mime)) if mime.is_empty() || mime == "text/plain" => false,
        Some(Some(mime)) if mime == "application/json" => true,
        Some(Some(_)) => {
            for name in ["responseMimeType", "responseSchema", "responseJsonSchema"] {
                if let Some(raw) = config.get(name) {
                    extra(CONFIG, &name.into(), raw, request)?;
                }
            }
            return Ok(());
        }
    };
    let schema = match (config.get("responseJsonSchema"), config.get("responseSchema")) {
        (None, None) => None,
        (Some(schema), None) => Some(Json::from(schema)),
        (None, Some(raw)) => {
            let schema = schema::converted(raw);
            let schema =
                schema.ok_or_else(|| wrong("generationConfig.responseSchema", "it must be a schema, and not nested too deeply"))?;
            extra(CONFIG, &"responseSchema".into(), raw, request)?;
            Some(schema)
        }
        (Some(_), Some(_)) => return Err(wrong("generationConfig.responseSchema", "give either this or 'responseJsonSchema'")),
    };
    request.settings.output = match schema {
        Some(schema) => OutputFormat::Schema { name: None, description: None, schema, strict: None },
        None if is_json => OutputFormat::Json,
        None => OutputFormat::Text,
    };
    Ok(())
}

fn logprobs<'a>(config: &Fields<'a>, request: &mut Request<'a>) -> Result<(), RequestError> {
    let is_on = match config.get("responseLogprobs").map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(wrong("generationConfig.responseLogprobs", "it must be true or false")),
    };
    let alternatives = config.get("logprobs").map(|raw| count("generationConfig.logprobs", raw)).transpose()?.flatten();
    match config.get("logprobs") {
        Some(raw) if !is_on => extra(CONFIG, &"logprobs".into(), raw, request)?,
        Some(_) | None if is_on => request.settings.logprobs = Some(alternatives.unwrap_or(0)),
        Some(_) | None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Format;
    use crate::neutral::{Effort, Level};

    fn settings(config: &str) -> Result<Request<'static>, RequestError> {
        let raw: &'static RawValue = Box::leak(RawValue::from_string(config.to_owned()).unwrap());
        let mut request = Request::new(Format::Generate);
        read(raw, &mut request).map(|()| request)
    }

    #[test]
    fn every_setting_is_read_in_both_spellings() {
        let config = r#"{"max_output_tokens":5,"temperature":"0.5","top_p":0.9,"topK":40,"candidate_count":2,"stop_sequences":["END"],
            "presence_penalty":1,"frequencyPenalty":2,"seed":7,"response_logprobs":true,"logprobs":3,"response_mime_type":"application/json",
            "thinking_config":{"thinking_level":"high","include_thoughts":true}}"#;
        let all = settings(config).unwrap();
        assert!(all.extras.is_empty());
        let all = all.settings;
        assert_eq!((all.output_tokens_max, all.choices, all.logprobs), (Some(5), 2, Some(3)));
        assert_eq!((all.temperature, all.top_p, all.top_k), (Number::from_f64(0.5), Number::from_f64(0.9), Some(40.into())));
        assert_eq!((all.presence_penalty, all.frequency_penalty, all.seed), (Some(1.into()), Some(2.into()), Some(7.into())));
        assert_eq!((all.stop, all.output), (vec![Text::Borrowed("END")], OutputFormat::Json));
        assert_eq!((all.reasoning, all.shows_reasoning), (Some(Level::Effort(Effort::High)), Some(true)));
    }

    #[test]
    fn a_schema_is_translated_and_kept() {
        let request = settings(r#"{"responseMimeType":"application/json","response_schema":{"type":"STRING","nullable":true}}"#).unwrap();
        let OutputFormat::Schema { schema, .. } = request.settings.output else { panic!() };
        assert_eq!(schema.get(), r#"{"type":["string","null"]}"#);
        assert_eq!(request.extras[0].0, "generationConfig.responseSchema");
        assert!(settings(r#"{"responseSchema":{},"responseJsonSchema":{}}"#).is_err());
    }

    #[test]
    fn other_settings_are_extras() {
        for (config, name) in [
            (r#"{"response_modalities":["IMAGE"]}"#, "generationConfig.responseModalities"),
            (r#"{"speechConfig":{}}"#, "generationConfig.speechConfig"),
            (r#"{"responseMimeType":"text/x.enum"}"#, "generationConfig.responseMimeType"),
            (r#"{"logprobs":3}"#, "generationConfig.logprobs"),
        ] {
            assert_eq!(settings(config).unwrap().extras[0].0, name);
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (config, field) in [
            (r#"{"temperature":"hot"}"#, "generationConfig.temperature"),
            (r#"{"stopSequences":"END"}"#, "generationConfig.stopSequences"),
            (r#"{"stopSequences":[1]}"#, "generationConfig.stopSequences"),
            (r#"{"responseLogprobs":1}"#, "generationConfig.responseLogprobs"),
            (r#"{"responseMimeType":1}"#, "generationConfig.responseMimeType"),
            (r#"{"thinkingConfig":{"thinkingLevel":"EXTREME"}}"#, "generationConfig.thinkingConfig.thinkingLevel"),
            (r#"{"thinkingConfig":{"thinkingBudget":-2}}"#, "generationConfig.thinkingConfig.thinkingBudget"),
        ] {
            assert_eq!(settings(config).unwrap_err().param(), Some(field), "{config}");
        }
    }
}
