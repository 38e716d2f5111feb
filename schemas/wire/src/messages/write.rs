//! A neutral request, written for a provider of Anthropic's format.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::body::{Block, Content};
use super::models::traits_of;
use super::settings::{self, FormatBody, SamplingBody, ThinkingBody};
use super::spelling::Field;
use super::tools::{self, ChoiceBody, ToolBody};
use super::turns::{Conversation, Message};
use crate::call::{Format, Target};
use crate::neutral::{Json, OutputFormat, Request, Text, Untranslatable, fate};

/// The instruction that stands for a demand of any JSON object.
const JSON_INSTRUCTION: &str = "Answer with a single JSON object only: no other text, and no code fence around it.";

/// A request as it is written.
#[derive(Debug, Serialize)]
struct Body<'r> {
    model: &'r str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "is_empty")]
    system: Content<'r>,
    messages: Vec<Message<'r>>,
    #[serde(skip_serializing_if = "Tools::is_empty")]
    tools: Tools<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceBody<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingBody>,
    #[serde(skip_serializing_if = "OutputConfig::is_empty")]
    output_config: OutputConfig<'r>,
    #[serde(flatten)]
    sampling: SamplingBody<'r>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'r [Text<'r>],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'r str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    extras: Extras<'r>,
}

#[derive(Debug, Default, Serialize)]
struct OutputConfig<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<FormatBody<'r>>,
}

#[derive(Debug, Serialize)]
struct Metadata<'r> {
    user_id: &'r str,
}

/// The tools, written anew or as the caller wrote them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Tools<'r> {
    Written(Vec<ToolBody<'r>>),
    Kept(Json<'r>),
}

/// Fields that only this format has.
#[derive(Debug, Default)]
struct Extras<'r>(Vec<(&'r str, &'r Json<'r>)>);

impl Serialize for Extras<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Tools<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Written(tools) if tools.is_empty())
    }
}

impl OutputConfig<'_> {
    fn is_empty(&self) -> bool {
        self.effort.is_none() && self.format.is_none()
    }
}

fn is_empty(content: &Content<'_>) -> bool {
    content.0.is_empty()
}

/// Writes a request. Fields that a caller of this format wrote are kept as they are; those of another format are checked against what the
/// model takes.
pub fn request(request: &Request<'_>, stream: bool, target: &Target<'_>) -> Result<Vec<u8>, Untranslatable> {
    fate::check(request, Format::Messages)?;
    settings::check(request)?;
    let traits = traits_of(target.model);
    let mut conversation = Conversation::of(request)?;
    if request.settings.output == OutputFormat::Json {
        conversation.system.0.push(Block::text(JSON_INSTRUCTION));
    }
    let lacks_thoughts = conversation.lacks_thoughts();
    let tools = tools::tools(request)?;
    let tool_choice = tools::choice(request, tools.len())?;
    let format = settings::format(request, traits)?;
    let cap = target.cap.or(request.settings.output_tokens_max);
    let mut body = Body {
        model: target.model,
        max_tokens: cap.unwrap_or(settings::CAP),
        system: conversation.system,
        messages: conversation.messages,
        tools: Tools::Written(tools),
        tool_choice,
        thinking: None,
        output_config: OutputConfig { effort: None, format },
        sampling: SamplingBody::default(),
        stop_sequences: settings::stop(request)?,
        metadata: request.settings.user.as_deref().map(|user_id| Metadata { user_id }),
        service_tier: settings::service_tier(request)?,
        stream,
        extras: Extras::default(),
    };
    let mut has_budget = false;
    if request.source == Format::Messages {
        body.keep(request);
    } else {
        let mut reasoning = settings::reasoning(request, traits, cap)?;
        // A turn with tools must begin with its thoughts if thinking has a budget. Most clients of other formats do not send them back.
        if reasoning.has_budget() && lacks_thoughts {
            reasoning.thinking = None;
        }
        if reasoning.is_on(traits) && !traits.has_forced_tools && body.tool_choice.as_ref().is_some_and(ChoiceBody::is_forced) {
            let field = Field::ToolChoice.of(request.source);
            return Err(Untranslatable::new(field, "this model cannot be made to call a tool while it reasons; use auto"));
        }
        has_budget = reasoning.has_budget();
        (body.thinking, body.output_config.effort, body.max_tokens) = (reasoning.thinking, reasoning.effort, reasoning.cap);
    }
    body.sampling = settings::sampling(request, traits, has_budget)?;
    serde_json::to_vec(&body).map_err(|error| Untranslatable::new(Field::Conversation.of(request.source), error.to_string()))
}

impl<'r> Body<'r> {
    /// Puts back what a caller of this format wrote. A name with a dot marks a member of a field that is kept as a whole.
    fn keep(&mut self, request: &'r Request<'_>) {
        for (name, value) in &request.extras {
            match name.as_ref() {
                "tools.eager_input_streaming" => self.tools = Tools::Kept(value.clone()),
                name if name.contains('.') => {}
                "output_config" => {
                    self.output_config = OutputConfig::default();
                    self.extras.0.push((name, value));
                }
                "metadata" => {
                    self.metadata = None;
                    self.extras.0.push((name, value));
                }
                name => self.extras.0.push((name, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::Dialect;
    use crate::neutral::{Effort, Level, Part, Role, Settings, Tool, ToolCall, ToolChoice, ToolResult, Turn};

    fn turn(role: Role, part: Part<'static>) -> Turn<'static> {
        Turn { role, parts: vec![part], name: None }
    }

    fn chat(settings: Settings<'static>) -> Request<'static> {
        Request { settings, turns: vec![turn(Role::User, Part::text("x"))], ..Request::new(Format::Chat) }
    }

    fn with_tool(settings: Settings<'static>) -> Request<'static> {
        let tool = Tool::Function { name: "f".into(), description: None, parameters: None, strict: None, cache: None };
        Request { tools: vec![tool], ..chat(settings) }
    }

    fn written(request: &Request<'_>, model: &str, cap: Option<u64>) -> Result<Value, Untranslatable> {
        let target = Target { model, cap, dialect: &Dialect::default() };
        super::request(request, true, &target).map(|body| serde_json::from_slice(&body).unwrap())
    }

    fn effort() -> Settings<'static> {
        Settings { reasoning: Some(Level::Effort(Effort::Low)), ..Settings::default() }
    }

    #[test]
    fn a_request_has_model_cap_and_stream() {
        let of = |settings, cap| written(&chat(settings), "m-1", cap).unwrap();
        assert_eq!(
            of(Settings::default(), None),
            json!({"model": "m-1", "max_tokens": 4096, "messages": [{"role": "user", "content": "x"}], "stream": true})
        );
        let bound = || Settings { output_tokens_max: Some(7), ..Settings::default() };
        assert_eq!(of(bound(), None)["max_tokens"], 7);
        assert_eq!(of(bound(), Some(5))["max_tokens"], 5);
        assert_eq!(of(effort(), None)["max_tokens"], 4096 + 2048);
        assert_eq!(of(effort(), Some(5))["max_tokens"], 5);
        assert_eq!(of(effort(), Some(5))["output_config"], json!({"effort": "low"}));
        let user = Settings { user: Some("u".into()), ..Settings::default() };
        assert_eq!(of(user, None)["metadata"], json!({"user_id": "u"}));
    }

    #[test]
    fn any_json_is_asked_for_in_the_system_prompt() {
        let body = written(&chat(Settings { output: OutputFormat::Json, ..Settings::default() }), "m-1", None).unwrap();
        assert!(body["system"].as_str().unwrap().contains("JSON object"));
        assert!(body.get("output_config").is_none());
    }

    #[test]
    fn fields_of_another_format_are_refused_and_own_ones_kept() {
        let extra = |name: &'static str, text: &str| (Text::Borrowed(name), Json::parse(text).unwrap());
        let foreign = Request { extras: vec![extra("logit_bias", "{}")], ..chat(Settings::default()) };
        assert_eq!(written(&foreign, "m-1", None).unwrap_err().field, "logit_bias");
        let extras = vec![
            extra("thinking", r#"{"type":"between_tools"}"#),
            extra("thinking.type", "{}"),
            extra("output_config", r#"{"effort":"max","task_budget":1}"#),
            extra("metadata", r#"{"user_id":"u","x":1}"#),
            extra("container", "\"c\""),
            extra("tools.eager_input_streaming", r#"[{"name":"f","eager_input_streaming":true}]"#),
        ];
        let own = Request { source: Format::Messages, extras, ..with_tool(Settings { user: Some("u".into()), ..effort() }) };
        let body = written(&own, "claude-sonnet-4-5", Some(9)).unwrap();
        assert_eq!(body["thinking"], json!({"type": "between_tools"}));
        assert_eq!(body["output_config"], json!({"effort": "max", "task_budget": 1}));
        assert_eq!((&body["metadata"]["x"], &body["container"], &body["max_tokens"]), (&json!(1), &json!("c"), &json!(9)));
        assert_eq!(body["tools"], json!([{"name": "f", "eager_input_streaming": true}]));
        assert!(body.as_object().unwrap().keys().all(|name| !name.contains('.')));
    }

    #[test]
    fn a_forced_call_and_reasoning_exclude_each_other_on_some_models() {
        let forced = Request { tool_choice: Some(ToolChoice::Required), ..with_tool(effort()) };
        assert_eq!(written(&forced, "claude-sonnet-4-5", Some(9_000)).unwrap_err().field, "tool_choice");
        assert_eq!(written(&forced, "claude-opus-5-5", Some(9_000)).unwrap_err().field, "tool_choice");
        assert!(written(&forced, "claude-opus-4-7", Some(9_000)).is_ok());
        let idle = Request { settings: Settings::default(), ..forced };
        assert!(written(&idle, "claude-sonnet-4-5", None).is_ok());
        assert!(written(&idle, "claude-opus-5-5", None).is_err(), "this model always thinks");
    }

    #[test]
    fn a_turn_with_tools_that_lost_its_thoughts_goes_on_without_a_budget() {
        let mut request = with_tool(effort());
        let (id, name, arguments) = (Text::Borrowed("a"), "f".into(), "{}".into());
        let call = ToolCall { id: id.clone(), name, arguments, is_custom: false, signature: None, cache: None };
        let result = ToolResult { call_id: id, name: None, content: vec![], is_error: true, is_custom: false, cache: None };
        request.turns.extend([turn(Role::Assistant, Part::ToolCall(call)), turn(Role::User, Part::ToolResult(result))]);
        let of = |model: &str| written(&request, model, Some(9_000)).unwrap();
        assert!(of("claude-sonnet-4-5").get("thinking").is_none());
        assert_eq!(of("claude-opus-4-7")["thinking"], json!({"type": "adaptive", "display": "summarized"}));
        assert_eq!(of("m-1")["messages"][2]["content"], json!([{"type": "tool_result", "tool_use_id": "a", "is_error": true}]));
    }
}
