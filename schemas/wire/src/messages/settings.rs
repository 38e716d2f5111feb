//! The settings of a request for Anthropic, as far as the model takes them.

use serde::Serialize;
use serde_json::Number;

use super::models::{Sampling, Thinking, Traits};
use super::schema;
use super::spelling::Field;
use crate::call::Format;
use crate::neutral::{Effort, Json, Level, OutputFormat, Request, Text, Untranslatable};

/// The least budget that Anthropic takes.
pub const BUDGET_MIN: u64 = 1_024;
/// The bound on the completion if nobody gives one.
pub const CAP: u64 = 4_096;
/// The least `top_p` beside `enabled` thinking.
const TOP_P_MIN: f64 = 0.95;
/// The effort of a model that decides itself.
const AUTO: Effort = Effort::Medium;

/// The reasoning that is asked for, and the bound on the completion that leaves room for it.
#[derive(Debug)]
pub struct Reasoning {
    pub thinking: Option<ThinkingBody>,
    pub effort: Option<&'static str>,
    pub cap: u64,
}

#[derive(Debug, Serialize)]
pub struct ThinkingBody {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'static str>,
}

/// Writes the level of reasoning for a model. `cap` is the target's or the caller's bound on the completion.
pub fn reasoning(request: &Request<'_>, traits: Traits, cap: Option<u64>) -> Result<Reasoning, Untranslatable> {
    let settings = &request.settings;
    let refuse = |reason: &'static str| Err(Untranslatable::new(Field::Reasoning.of(request.source), reason));
    // Callers of other formats who ask for reasoning expect to see it, which newer models do not show by themselves.
    let hides = matches!(traits.thinking, Thinking::Adaptive | Thinking::Always);
    let is_asked = hides && request.source != Format::Messages && settings.reasoning.is_some_and(|level| level != Level::Off);
    let shows = settings.shows_reasoning.or_else(|| is_asked.then_some(true));
    let display = shows.map(|shows| if shows { "summarized" } else { "omitted" });
    let body = |kind| ThinkingBody { r#type: kind, budget_tokens: None, display };
    let effort = match settings.reasoning {
        None => {
            let thinking = (traits.thinking == Thinking::Always && display.is_some()).then(|| body("adaptive"));
            return Ok(Reasoning { thinking, effort: None, cap: cap.unwrap_or(CAP) });
        }
        Some(Level::Off) if traits.thinking == Thinking::Always => return refuse("this model always reasons; leave it out"),
        Some(Level::Off) => {
            let thinking = (traits.thinking != Thinking::Never).then_some(ThinkingBody { display: None, ..body("disabled") });
            return Ok(Reasoning { thinking, effort: None, cap: cap.unwrap_or(CAP) });
        }
        Some(Level::Auto) => None,
        Some(Level::Effort(effort)) => Some(effort),
        Some(Level::Budget(tokens)) => Some(Effort::of_budget(tokens)),
    };
    let wanted = match settings.reasoning {
        Some(Level::Budget(tokens)) => tokens.min(cap.map_or(u64::MAX, |cap| cap.saturating_sub(1))),
        _ => effort.unwrap_or(AUTO).budget(cap),
    };
    let budget = wanted.max(BUDGET_MIN);
    let raised = cap.unwrap_or_else(|| CAP.saturating_add(budget));
    match traits.thinking {
        Thinking::Never => refuse("this model does not reason; leave it out"),
        Thinking::Budget if budget >= raised => refuse("the bound on output tokens must be above 1024 for this model to reason"),
        Thinking::Budget => {
            let thinking = Some(ThinkingBody { budget_tokens: Some(budget), ..body("enabled") });
            Ok(Reasoning { thinking, effort: None, cap: raised })
        }
        Thinking::Adaptive | Thinking::Always => {
            Ok(Reasoning { thinking: Some(body("adaptive")), effort: effort.map(|effort| word(effort, traits)), cap: raised })
        }
    }
}

/// Returns Anthropic's word for an effort, or for the nearest one that the model has.
const fn word(effort: Effort, traits: Traits) -> &'static str {
    match effort {
        Effort::Minimal => Effort::Low.as_str(),
        Effort::XHigh if !traits.has_xhigh => Effort::High.as_str(),
        Effort::Low | Effort::Medium | Effort::High | Effort::XHigh | Effort::Max => effort.as_str(),
    }
}

impl Reasoning {
    /// Returns whether the model thinks with a budget, which excludes most other settings.
    pub fn has_budget(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.budget_tokens.is_some())
    }

    /// Returns whether the model thinks.
    pub fn is_on(&self, traits: Traits) -> bool {
        traits.thinking == Thinking::Always || self.thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled")
    }
}

/// The sampling settings that are sent.
#[derive(Debug, Default, Serialize)]
pub struct SamplingBody<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'r Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'r Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'r Number>,
}

/// Writes the sampling settings. A caller of this format gets what he asks for; for any other, a setting that the model does not take is
/// refused unless it is the default.
pub fn sampling<'r>(request: &'r Request<'_>, traits: Traits, has_budget: bool) -> Result<SamplingBody<'r>, Untranslatable> {
    let settings = &request.settings;
    let mut body =
        SamplingBody { temperature: settings.temperature.as_ref(), top_p: settings.top_p.as_ref(), top_k: settings.top_k.as_ref() };
    if request.source == Format::Messages {
        return Ok(body);
    }
    let refuse = |field: Field, reason: &'static str| Err(Untranslatable::new(field.of(request.source), reason));
    let above = |number: Option<&Number>, bound: f64| number.and_then(Number::as_f64).is_some_and(|number| number > bound);
    if above(body.temperature, 1.0) {
        return refuse(Field::Temperature, "it must be at most 1");
    }
    // 1 is the default of both.
    let is_set = |number: &&Number| number.as_f64() != Some(1.0);
    if traits.sampling != Sampling::Any || has_budget {
        body.temperature = body.temperature.filter(is_set);
        body.top_p = body.top_p.filter(is_set);
    }
    let is_default = traits.sampling == Sampling::Default;
    if body.temperature.is_some() && (is_default || has_budget) {
        return refuse(Field::Temperature, "this model takes only the default, 1, or takes no other while it reasons");
    }
    let is_low = body.top_p.is_some() && !above(body.top_p, TOP_P_MIN - f64::EPSILON);
    if body.top_p.is_some() && (is_default || (has_budget && is_low)) {
        return refuse(Field::TopP, "this model takes only the default, 1, or at least 0.95 while it reasons");
    }
    if body.top_k.is_some() && (is_default || has_budget) {
        return refuse(Field::TopK, "this model does not take it, or not while it reasons; leave it out");
    }
    if traits.sampling == Sampling::OneOf && body.temperature.is_some() && body.top_p.is_some() {
        return refuse(Field::TopP, "this model takes only one of the temperature and this");
    }
    Ok(body)
}

/// Checks that the request has no setting that Anthropic lacks. A default may stand there, because leaving it out changes nothing.
pub fn check(request: &Request<'_>) -> Result<(), Untranslatable> {
    let settings = &request.settings;
    let is_zero =
        |number: &Option<Number>| number.as_ref().is_none_or(|number| number.as_f64().is_some_and(|number| number.abs() < f64::EPSILON));
    let faults = [
        (Field::FrequencyPenalty, !is_zero(&settings.frequency_penalty)),
        (Field::PresencePenalty, !is_zero(&settings.presence_penalty)),
        (Field::Seed, settings.seed.is_some()),
        (Field::Choices, settings.choices > 1),
        (Field::Logprobs, settings.logprobs.is_some()),
        (Field::Verbosity, settings.verbosity.as_deref().is_some_and(|verbosity| verbosity != "medium")),
    ];
    match faults.into_iter().find(|(_, is_fault)| *is_fault) {
        None => Ok(()),
        Some((field, _)) => Err(Untranslatable::new(field.of(request.source), "its API has no such setting; leave it out")),
    }
}

/// Writes the sequences that stop the answer.
pub fn stop<'r>(request: &'r Request<'_>) -> Result<&'r [Text<'r>], Untranslatable> {
    let stop = &request.settings.stop;
    if request.source != Format::Messages && stop.iter().any(|sequence| sequence.trim().is_empty()) {
        return Err(Untranslatable::new(Field::Stop.of(request.source), "a sequence must have more than whitespace"));
    }
    Ok(stop)
}

/// Writes the tier.
pub fn service_tier<'r>(request: &'r Request<'_>) -> Result<Option<&'r str>, Untranslatable> {
    match request.settings.service_tier.as_deref() {
        None => Ok(None),
        Some("default") => Ok(Some("standard_only")),
        Some("auto") => Ok(Some("auto")),
        Some(tier) if request.source == Format::Messages => Ok(Some(tier)),
        Some(_) => Err(Untranslatable::new(Field::ServiceTier.of(request.source), "it must be \"auto\" or \"default\"")),
    }
}

/// The format of the answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FormatBody<'r> {
    JsonSchema { schema: Json<'r> },
}

/// Writes the format of the answer. Any JSON has no counterpart: an instruction in the system prompt asks for it.
pub fn format<'r>(request: &'r Request<'_>, traits: Traits) -> Result<Option<FormatBody<'r>>, Untranslatable> {
    let is_own = request.source == Format::Messages;
    let field = Field::Output.of(request.source);
    match &request.settings.output {
        OutputFormat::Text | OutputFormat::Json => Ok(None),
        OutputFormat::Schema { schema, .. } if is_own => Ok(Some(FormatBody::JsonSchema { schema: schema.clone() })),
        OutputFormat::Schema { .. } if !traits.has_schema => {
            Err(Untranslatable::new(field, "this model takes no schema; describe it in the prompt, or use a tool"))
        }
        OutputFormat::Schema { schema, .. } => Ok(Some(FormatBody::JsonSchema { schema: schema::closed(schema, field)? })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::messages::models::traits_of;
    use crate::neutral::Settings;

    const BUDGET_MODEL: &str = "claude-sonnet-4-5";

    fn request(settings: Settings<'static>) -> Request<'static> {
        Request { settings, ..Request::new(Format::Chat) }
    }

    fn level(level: Level) -> Request<'static> {
        request(Settings { reasoning: Some(level), ..Settings::default() })
    }

    fn reason(request: &Request<'_>, model: &str, cap: Option<u64>) -> Result<(Value, Option<&'static str>, u64), Untranslatable> {
        let Reasoning { thinking, effort, cap } = reasoning(request, traits_of(model), cap)?;
        Ok((serde_json::to_value(thinking).unwrap(), effort, cap))
    }

    #[test]
    fn older_models_get_a_budget_below_the_cap() {
        let of = |level, cap| reason(&self::level(level), BUDGET_MODEL, cap).unwrap();
        let enabled = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
        assert_eq!(of(Level::Effort(Effort::High), None), (enabled(16_384), None, 4_096 + 16_384));
        assert_eq!(of(Level::Effort(Effort::High), Some(10_000)), (enabled(9_999), None, 10_000));
        assert_eq!(of(Level::Budget(1), Some(10_000)), (enabled(1_024), None, 10_000));
        assert_eq!(of(Level::Budget(50_000), Some(10_000)), (enabled(9_999), None, 10_000));
        assert_eq!(of(Level::Auto, None), (enabled(8_192), None, 4_096 + 8_192));
        assert_eq!(of(Level::Off, None), (json!({"type": "disabled"}), None, 4_096));
        let error = reason(&level(Level::Effort(Effort::Low)), BUDGET_MODEL, Some(1_024)).unwrap_err();
        assert_eq!(error.field, "reasoning_effort");
    }

    #[test]
    fn newer_models_get_an_effort() {
        let of = |level, model| reason(&self::level(level), model, Some(500)).unwrap();
        let adaptive = json!({"type": "adaptive", "display": "summarized"});
        assert_eq!(of(Level::Effort(Effort::High), "m-1"), (adaptive.clone(), Some("high"), 500));
        assert_eq!(of(Level::Effort(Effort::Minimal), "claude-opus-4-7"), (adaptive.clone(), Some("low"), 500));
        assert_eq!(of(Level::Effort(Effort::XHigh), "claude-opus-4-7").1, Some("xhigh"));
        assert_eq!(of(Level::Effort(Effort::XHigh), "claude-opus-4-6").1, Some("high"));
        assert_eq!(of(Level::Budget(9_000), "claude-next").1, Some("medium"));
        assert_eq!(of(Level::Auto, "claude-next"), (adaptive, None, 500));
        assert_eq!(reason(&level(Level::Effort(Effort::Low)), "m-1", None).unwrap().2, 4_096 + 2_048);
        assert!(reason(&level(Level::Off), "claude-fable-5", None).is_err());
        assert!(reason(&level(Level::Auto), "claude-3-5-haiku", None).is_err());
        assert_eq!(reason(&level(Level::Off), "claude-3-5-haiku", None).unwrap().0, Value::Null);
    }

    #[test]
    fn the_display_is_asked_for() {
        let shown = |reasoning| request(Settings { reasoning, shows_reasoning: Some(true), ..Settings::default() });
        let of = |level, model| reason(&shown(level), model, None).unwrap().0;
        assert_eq!(of(Some(Level::Auto), "claude-opus-4-7"), json!({"type": "adaptive", "display": "summarized"}));
        assert_eq!(of(Some(Level::Off), "claude-opus-4-7"), json!({"type": "disabled"}));
        assert_eq!(of(None, "claude-opus-4-7"), Value::Null);
        assert_eq!(of(None, "claude-opus-5-5"), json!({"type": "adaptive", "display": "summarized"}));
    }

    fn sample(temperature: Option<f64>, top_p: Option<f64>, model: &str, has_budget: bool) -> Result<Value, String> {
        let of = |number: Option<f64>| number.and_then(Number::from_f64);
        let request = request(Settings { temperature: of(temperature), top_p: of(top_p), ..Settings::default() });
        let body = sampling(&request, traits_of(model), has_budget).map_err(|error| error.field.into_owned())?;
        Ok(serde_json::to_value(body).unwrap())
    }

    #[test]
    fn a_temperature_above_one_is_refused() {
        assert_eq!(sample(Some(1.2), None, "m-1", false), Err("temperature".into()));
        assert_eq!(sample(Some(0.5), Some(0.9), "m-1", false), Ok(json!({"temperature": 0.5, "top_p": 0.9})));
    }

    #[test]
    fn newer_models_take_only_the_default() {
        for model in ["claude-opus-4-7", "claude-next"] {
            assert_eq!(sample(Some(0.5), None, model, false), Err("temperature".into()));
            assert_eq!(sample(None, Some(0.99), model, false), Err("top_p".into()));
            assert_eq!(sample(Some(1.0), Some(1.0), model, false), Ok(json!({})));
        }
        let top_k = request(Settings { top_k: Some(Number::from(5)), ..Settings::default() });
        assert_eq!(sampling(&top_k, traits_of("claude-opus-4-7"), false).unwrap_err().field, "top_k");
        assert!(sampling(&top_k, traits_of(BUDGET_MODEL), false).is_ok());
        assert_eq!(sampling(&top_k, traits_of(BUDGET_MODEL), true).unwrap_err().field, "top_k");
    }

    #[test]
    fn some_models_take_one_of_two_and_thinking_takes_less() {
        assert_eq!(sample(Some(0.5), Some(0.9), BUDGET_MODEL, false), Err("top_p".into()));
        assert_eq!(sample(Some(0.5), Some(1.0), BUDGET_MODEL, false), Ok(json!({"temperature": 0.5})));
        assert_eq!(sample(Some(0.5), None, BUDGET_MODEL, true), Err("temperature".into()));
        assert_eq!(sample(None, Some(0.9), BUDGET_MODEL, true), Err("top_p".into()));
        assert_eq!(sample(Some(1.0), Some(0.95), BUDGET_MODEL, true), Ok(json!({"top_p": 0.95})));
    }

    #[test]
    fn settings_that_anthropic_lacks_are_refused_unless_they_are_the_default() {
        let none = Settings::default;
        let number = || Some(Number::from(1));
        for (settings, field) in [
            (Settings { frequency_penalty: number(), ..none() }, "frequency_penalty"),
            (Settings { presence_penalty: number(), ..none() }, "presence_penalty"),
            (Settings { seed: number(), ..none() }, "seed"),
            (Settings { choices: 2, ..none() }, "n"),
            (Settings { logprobs: Some(0), ..none() }, "logprobs"),
            (Settings { verbosity: Some("low".into()), ..none() }, "verbosity"),
        ] {
            assert_eq!(check(&request(settings)).unwrap_err().field, field);
        }
        let zero = Number::from_f64(0.0);
        let defaults = Settings { frequency_penalty: zero, choices: 1, verbosity: Some("medium".into()), ..none() };
        assert_eq!(check(&request(defaults)), Ok(()));
    }

    #[test]
    fn tiers_and_sequences_are_checked() {
        let tier = |tier: &'static str| request(Settings { service_tier: Some(tier.into()), ..Settings::default() });
        assert_eq!(service_tier(&tier("default")), Ok(Some("standard_only")));
        assert_eq!(service_tier(&tier("auto")), Ok(Some("auto")));
        assert_eq!(service_tier(&tier("flex")).unwrap_err().field, "service_tier");
        assert_eq!(stop(&request(Settings { stop: vec!["\n".into()], ..Settings::default() })).unwrap_err().field, "stop");
    }

    #[test]
    fn a_schema_needs_a_model_that_takes_it() {
        let schema = Json::parse(r#"{"type":"object","properties":{}}"#).unwrap();
        let output = OutputFormat::Schema { name: Some("n".into()), description: None, schema, strict: None };
        let request = request(Settings { output, ..Settings::default() });
        let of = |model: &str| format(&request, traits_of(model)).map(|body| serde_json::to_value(body).unwrap());
        let expected = json!({"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": false}});
        assert_eq!(of("claude-haiku-4-5"), Ok(expected.clone()));
        assert_eq!(of("claude-next"), Ok(expected));
        assert_eq!(of("claude-opus-4-1").unwrap_err().field, "response_format");
    }
}
