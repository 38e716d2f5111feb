//! Reasoning: levels for Gemini 3 and newer, budgets in tokens for older models. Source: Google's guide to thinking.

use serde::Serialize;
use serde_json::value::RawValue;

use super::read::extra;
use super::request::wrong;
use super::spelling::{object, text, whole};
use crate::call::{Format, RequestError};
use crate::neutral::{Effort, Json, Level, Request};

const PATH: &str = "generationConfig.thinkingConfig";
/// The budget with which the model decides.
const AUTOMATIC: i64 = -1;
/// The bounds of the budget: a Pro model of 2.5 always thinks; the others think less at most.
const PRO_BUDGETS: (u64, u64) = (128, 32_768);
const OTHER_BUDGETS: (u64, u64) = (0, 24_576);

/// `thinkingConfig`.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThinkingBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<&'static str>,
}

/// Reads `thinkingConfig`.
///
/// # Errors
/// Fails if a value is wrong; the error names its field.
pub fn read<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let config = object(raw).ok_or_else(|| wrong(PATH, "it must be an object"))?;
    let mut levels = Vec::new();
    for (name, raw) in &config.0 {
        match name.as_ref() {
            "includeThoughts" => {
                let shows = serde_json::from_str(raw.get());
                let fault = |_| wrong("generationConfig.thinkingConfig.includeThoughts", "it must be true or false");
                request.settings.shows_reasoning = Some(shows.map_err(fault)?);
            }
            "thinkingBudget" => {
                let fault = || wrong("generationConfig.thinkingConfig.thinkingBudget", "it must be a number of tokens, 0 or -1");
                levels.push(match whole(raw).ok_or_else(fault)? {
                    0 => Level::Off,
                    AUTOMATIC => Level::Auto,
                    tokens => Level::Budget(u64::try_from(tokens).map_err(|_| fault())?),
                });
            }
            "thinkingLevel" => {
                let word = text(raw).unwrap_or_default();
                if word.eq_ignore_ascii_case("THINKING_LEVEL_UNSPECIFIED") {
                    continue;
                }
                let effort = Effort::parse(&word).filter(|effort| *effort != Effort::Max);
                let fault = || wrong("generationConfig.thinkingConfig.thinkingLevel", "it must be MINIMAL, LOW, MEDIUM, HIGH or XHIGH");
                levels.push(Level::Effort(effort.ok_or_else(fault)?));
            }
            _ => extra(PATH, name, raw, request)?,
        }
    }
    if levels.len() > 1 {
        return Err(wrong(PATH, "give either 'thinkingBudget' or 'thinkingLevel'"));
    }
    request.settings.reasoning = levels.pop();
    Ok(())
}

/// Returns the version of a Gemini model; `None` if the name has none.
fn version(model: &str) -> Option<u32> {
    let lower = model.to_ascii_lowercase();
    let rest = lower.split_once("gemini-")?.1;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Returns whether a model is Gemini 3 or newer by its name.
pub fn is_gemini_3(model: &str) -> bool {
    version(model).is_some_and(|version| version >= 3)
}

/// Returns whether a model is older than Gemini 3 by its name.
pub fn is_older(model: &str) -> bool {
    version(model).is_some_and(|version| version < 3)
}

/// Returns the part of a request that asks for reasoning; `None` if the caller does not speak of it.
pub fn write(request: &Request<'_>, model: &str, cap: Option<u64>) -> Option<Json<'static>> {
    let settings = &request.settings;
    let body = if request.source == Format::Generate {
        own(settings.reasoning, settings.shows_reasoning)
    } else {
        let is_asked = match settings.reasoning {
            Some(Level::Off) => false,
            Some(Level::Auto | Level::Effort(_) | Level::Budget(_)) => settings.shows_reasoning != Some(false),
            None => settings.shows_reasoning == Some(true),
        };
        let body = match settings.reasoning {
            None => ThinkingBody::default(),
            Some(level) if is_older(model) => ThinkingBody { thinking_budget: Some(budget(level, model, cap)), ..ThinkingBody::default() },
            Some(level) => ThinkingBody { thinking_level: nearest(level, model), ..ThinkingBody::default() },
        };
        ThinkingBody { include_thoughts: is_asked.then_some(true), ..body }
    };
    (body != ThinkingBody::default()).then(|| Json::of(&body))
}

/// Returns the caller's own words.
fn own(level: Option<Level>, include_thoughts: Option<bool>) -> ThinkingBody {
    let (thinking_budget, thinking_level) = match level {
        None => (None, None),
        Some(Level::Off) => (Some(0), None),
        Some(Level::Auto) => (Some(AUTOMATIC), None),
        Some(Level::Budget(tokens)) => (i64::try_from(tokens).ok(), None),
        Some(Level::Effort(effort)) => (None, Some(word(effort))),
    };
    ThinkingBody { include_thoughts, thinking_budget, thinking_level }
}

const fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
        Effort::XHigh | Effort::Max => "XHIGH",
    }
}

/// Returns the nearest level that a model has: no model is known to go beyond HIGH, and a Pro model begins with LOW. `None` lets the model
/// decide.
fn nearest(level: Level, model: &str) -> Option<&'static str> {
    let effort = match level {
        Level::Auto => return None,
        Level::Off => Effort::Minimal,
        Level::Effort(effort) => effort,
        Level::Budget(tokens) => Effort::of_budget(tokens),
    };
    let lowest = if is_gemini_3(model) && model.to_ascii_lowercase().contains("-pro") { Effort::Low } else { Effort::Minimal };
    Some(word(effort.clamp(lowest, Effort::High)))
}

/// Returns the budget in tokens within the bounds of a model.
fn budget(level: Level, model: &str, cap: Option<u64>) -> i64 {
    let (lowest, highest) = if model.to_ascii_lowercase().contains("2.5-pro") { PRO_BUDGETS } else { OTHER_BUDGETS };
    let tokens = match level {
        Level::Auto => return AUTOMATIC,
        Level::Off => 0,
        Level::Effort(effort) => effort.budget(cap),
        Level::Budget(tokens) => cap.map_or(tokens, |cap| tokens.min(cap.saturating_sub(1))),
    };
    i64::try_from(tokens.clamp(lowest, highest)).unwrap_or(AUTOMATIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: Format, level: Option<Level>, shows: Option<bool>, model: &str) -> String {
        let mut request = Request::new(source);
        (request.settings.reasoning, request.settings.shows_reasoning) = (level, shows);
        write(&request, model, Some(30_000)).map_or_else(String::new, |body| body.get().to_owned())
    }

    #[test]
    fn models_are_told_by_name() {
        for (model, expected) in
            [("gemini-3-pro-preview", true), ("models/gemini-3.1-flash", true), ("gemini-10", true), ("Gemini-2.5-pro", false)]
        {
            assert_eq!((is_gemini_3(model), is_older(model)), (expected, !expected), "{model}");
        }
        for model in ["gemini-flash-latest", "gemma-3-27b-it", "m-1", "gemini-robotics-er-1.5"] {
            assert_eq!((is_gemini_3(model), is_older(model)), (false, false), "{model}");
        }
    }

    #[test]
    fn newer_and_unknown_models_get_levels() {
        for (level, model, expected) in [
            (Level::Effort(Effort::High), "m-1", r#"{"includeThoughts":true,"thinkingLevel":"HIGH"}"#),
            (Level::Effort(Effort::Max), "gemini-3-flash", r#"{"includeThoughts":true,"thinkingLevel":"HIGH"}"#),
            (Level::Budget(2_100), "gemini-3-flash", r#"{"includeThoughts":true,"thinkingLevel":"LOW"}"#),
            (Level::Off, "gemini-3-flash", r#"{"thinkingLevel":"MINIMAL"}"#),
            (Level::Off, "gemini-3-pro-preview", r#"{"thinkingLevel":"LOW"}"#),
            (Level::Auto, "gemini-3-flash", r#"{"includeThoughts":true}"#),
        ] {
            assert_eq!(written(Format::Chat, Some(level), None, model), expected, "{level:?} {model}");
        }
    }

    #[test]
    fn older_models_get_budgets() {
        for (level, model, expected) in [
            (Level::Effort(Effort::Low), "gemini-2.5-flash", r#"{"includeThoughts":true,"thinkingBudget":2048}"#),
            (Level::Effort(Effort::Max), "gemini-2.5-flash", r#"{"includeThoughts":true,"thinkingBudget":24576}"#),
            (Level::Effort(Effort::Max), "gemini-2.5-pro", r#"{"includeThoughts":true,"thinkingBudget":29999}"#),
            (Level::Budget(50_000), "gemini-2.5-pro", r#"{"includeThoughts":true,"thinkingBudget":29999}"#),
            (Level::Off, "gemini-2.5-flash", r#"{"thinkingBudget":0}"#),
            (Level::Off, "gemini-2.5-pro", r#"{"thinkingBudget":128}"#),
            (Level::Auto, "gemini-2.5-flash", r#"{"includeThoughts":true,"thinkingBudget":-1}"#),
        ] {
            assert_eq!(written(Format::Chat, Some(level), None, model), expected, "{level:?} {model}");
        }
    }

    #[test]
    fn thoughts_are_shown_unless_they_are_refused() {
        let high = Some(Level::Effort(Effort::High));
        assert_eq!(written(Format::Chat, high, Some(false), "m-1"), r#"{"thinkingLevel":"HIGH"}"#);
        assert_eq!(written(Format::Chat, None, Some(true), "m-1"), r#"{"includeThoughts":true}"#);
        assert_eq!(written(Format::Chat, None, None, "m-1"), "");
        assert_eq!(written(Format::Chat, None, Some(false), "m-1"), "");
    }

    #[test]
    fn the_callers_own_words_stay() {
        for (level, expected) in [
            (Level::Off, r#"{"includeThoughts":false,"thinkingBudget":0}"#),
            (Level::Budget(50_000), r#"{"includeThoughts":false,"thinkingBudget":50000}"#),
            (Level::Effort(Effort::XHigh), r#"{"includeThoughts":false,"thinkingLevel":"XHIGH"}"#),
        ] {
            assert_eq!(written(Format::Generate, Some(level), Some(false), "gemini-3-pro"), expected);
        }
    }
}
