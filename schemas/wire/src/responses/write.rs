//! Requests, written for a provider of this format.

use super::conversation;
use super::object::Object;
use super::read::{INCLUDE_LOGPROBS, REASONING, TEXT};
use super::tools;
use crate::call::{Format, Target};
use crate::neutral::{Effort, Level, OutputFormat, Request, Settings, Untranslatable, fate};

/// The fields that may be dropped on the way to another format.
pub const HARMLESS: &[(&str, &str)] = &[
    ("client_metadata", "labels for the caller's own records"),
    ("metadata", "labels for the caller's own records"),
    ("safety_identifier", "an id of the end user for OpenAI's abuse detection"),
    ("prompt_cache_key", "a hint for OpenAI's cache"),
    ("prompt_cache_options", "a hint for OpenAI's cache"),
    ("prompt_cache_retention", "a hint for OpenAI's cache"),
    ("include", "details of OpenAI's own tools, and encrypted reasoning, which comes anyway"),
    ("stream_options", "padding of OpenAI's streams"),
    ("truncation", "other providers refuse a prompt that is too long"),
    ("max_tool_calls", "a bound for OpenAI's own tools, which go to no other format"),
    ("reasoning.summary", "the length of the shown reasoning; it is shown all the same"),
    ("reasoning.generate_summary", "the length of the shown reasoning; it is shown all the same"),
    ("reasoning.context", "other providers decide which earlier reasoning the model reads"),
];

/// The name of a schema whose caller gave none; this format requires one.
const SCHEMA_NAME: &str = "answer";

/// Writes a request for a provider.
///
/// # Errors
/// Fails if this format cannot express a part of the request; the error names the caller's field.
pub fn write(request: &Request<'_>, stream: bool, target: &Target<'_>) -> Result<Vec<u8>, Untranslatable> {
    fate::check(request, Format::Responses)?;
    refuse_settings(request)?;
    let settings = &request.settings;
    let extra = |name: &str| request.extras.iter().find(|(own, _)| own == name).map(|(_, raw)| raw);
    let conversation = conversation::write(request)?;
    let mut body = Object::new();
    body.put("model", &target.model);
    body.put_some("instructions", conversation.instructions.as_ref());
    body.put("input", &conversation.items);
    body.put_some("max_output_tokens", target.cap.as_ref());
    if stream {
        body.put("stream", &true);
    }
    body.put("store", &false);
    body.put_some("temperature", settings.temperature.as_ref());
    body.put_some("top_p", settings.top_p.as_ref());
    if !request.tools.is_empty() {
        body.put("tools", &tools::write(request)?);
    }
    body.put_some("tool_choice", request.tool_choice.as_ref().map(|choice| tools::choice(choice, &request.tools)).as_ref());
    body.put_some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
    body.put_some("top_logprobs", settings.logprobs.filter(|count| *count > 0).as_ref());
    if settings.logprobs.is_some() && request.source != Format::Responses {
        body.put("include", &[INCLUDE_LOGPROBS]);
    }
    body.put_some("user", settings.user.as_ref());
    body.put_some("service_tier", settings.service_tier.as_ref());
    let own = (request.source == Format::Responses).then_some(&request.extras);
    let inner = |prefix: &'static str| own.into_iter().flatten().filter_map(move |(name, raw)| Some((name.strip_prefix(prefix)?, raw)));
    let mut text = text_config(request)?;
    inner(TEXT).for_each(|(name, raw)| text.put(name, raw));
    put_object(&mut body, "text", text);
    let has_summary = extra("reasoning.summary").or_else(|| extra("reasoning.generate_summary")).is_some();
    let mut reasoning = reasoning(settings, has_summary);
    inner(REASONING).for_each(|(name, raw)| reasoning.put(name, raw));
    put_object(&mut body, "reasoning", reasoning);
    for (name, raw) in own.into_iter().flatten().filter(|(name, _)| !name.starts_with(TEXT) && !name.starts_with(REASONING)) {
        body.put(name, raw);
    }
    Ok(body.finish())
}

fn put_object(body: &mut Object, name: &str, object: Object) {
    if !object.is_empty() {
        body.put(name, &object.into_json());
    }
}

/// Refuses the settings that this format does not have.
fn refuse_settings(request: &Request<'_>) -> Result<(), Untranslatable> {
    let Settings { stop, frequency_penalty, presence_penalty, seed, choices, .. } = &request.settings;
    let is_set = |number: &Option<serde_json::Number>| number.as_ref().is_some_and(|number| number.as_f64() != Some(0.0));
    let all = [
        (!stop.is_empty(), "stop", "stop_sequences", "generationConfig.stopSequences"),
        (request.settings.has_narrow_top_k(), "top_k", "top_k", "generationConfig.topK"),
        (is_set(frequency_penalty), "frequency_penalty", "frequency_penalty", "generationConfig.frequencyPenalty"),
        (is_set(presence_penalty), "presence_penalty", "presence_penalty", "generationConfig.presencePenalty"),
        (seed.is_some(), "seed", "seed", "generationConfig.seed"),
        (*choices > 1, "n", "n", "generationConfig.candidateCount"),
    ];
    let Some((_, chat, messages, generate)) = all.into_iter().find(|(is_given, ..)| *is_given) else { return Ok(()) };
    let field = match request.source {
        Format::Chat | Format::Responses | Format::Embeddings(_) => chat,
        Format::Messages => messages,
        Format::Generate => generate,
    };
    Err(Untranslatable::new(field, "its API has no such field; leave it out"))
}

fn text_config(request: &Request<'_>) -> Result<Object, Untranslatable> {
    let is_own = request.source == Format::Responses;
    let mut text = Object::new();
    match &request.settings.output {
        OutputFormat::Text => {}
        OutputFormat::Json => {
            let mut format = Object::new();
            format.put("type", &"json_object");
            text.put("format", &format.into_json());
        }
        OutputFormat::Schema { name, description, schema, strict } => {
            let name = name.as_deref().unwrap_or(SCHEMA_NAME);
            if !is_own && !tools::is_name(name) {
                return Err(Untranslatable::new("response_format", "a schema's name must have 1 to 64 letters, digits, '_' or '-'"));
            }
            let mut format = Object::new();
            format.put("type", &"json_schema");
            format.put("name", &name);
            format.put_some("description", description.as_ref());
            format.put("schema", schema);
            // An absent `strict` may mean true here, and means false elsewhere.
            format.put_some("strict", strict.or_else(|| (!is_own).then_some(false)).as_ref());
            text.put("format", &format.into_json());
        }
    }
    text.put_some("verbosity", request.settings.verbosity.as_ref());
    Ok(text)
}

fn reasoning(settings: &Settings<'_>, has_summary: bool) -> Object {
    let mut reasoning = Object::new();
    let effort = match settings.reasoning {
        None | Some(Level::Auto) => None,
        Some(Level::Off) => Some("none"),
        Some(Level::Effort(effort)) => Some(effort.as_str()),
        Some(Level::Budget(tokens)) => Some(Effort::of_budget(tokens).as_str()),
    };
    reasoning.put_some("effort", effort.as_ref());
    if settings.shows_reasoning == Some(true) && !has_summary {
        reasoning.put("summary", &"auto");
    }
    reasoning
}

#[cfg(test)]
mod tests {
    use serde_json::{Number, Value, json};

    use super::*;
    use crate::dialect::Dialect;
    use crate::neutral::{
        Cache, Json, Media, MediaKind, Part, Reasoning, Role, Signature, Source, Text, Tool, ToolCall, ToolChoice, ToolResult, Turn, Vendor,
    };

    fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role, parts, name: None }
    }

    fn of(source: Format, turns: Vec<Turn<'static>>) -> Request<'static> {
        Request { turns, ..Request::new(source) }
    }

    fn chat(part: Part<'static>) -> Request<'static> {
        of(Format::Chat, vec![turn(Role::User, vec![part])])
    }

    fn result(request: &Request<'_>) -> Result<Value, Untranslatable> {
        let target = Target { model: "b", cap: Some(9), dialect: &Dialect::default() };
        write(request, true, &target).map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    fn written(request: &Request<'_>) -> Value {
        result(request).unwrap()
    }

    fn refused(request: &Request<'_>) -> Text<'static> {
        result(request).unwrap_err().field
    }

    fn call(id: &str, name: &str, is_custom: bool) -> Part<'static> {
        let (id, name) = (id.to_owned().into(), name.to_owned().into());
        let signature = Some(Signature { vendor: Vendor::Google, data: "g".into() });
        Part::ToolCall(ToolCall { id, name, arguments: "".into(), is_custom, signature, cache: None })
    }

    fn answer(id: &str, content: Vec<Part<'static>>) -> Part<'static> {
        let call_id = id.to_owned().into();
        Part::ToolResult(ToolResult { call_id, name: Some("f".into()), content, is_error: true, is_custom: false, cache: None })
    }

    fn media(kind: MediaKind, source: Source<'static>, mime: Option<&'static str>) -> Part<'static> {
        Part::Media(Media { kind, source, mime: mime.map(Into::into), name: None, detail: None, cache: None })
    }

    #[test]
    fn a_conversation_becomes_items() {
        let cached = Part::Text { text: "a".into(), citations: Vec::new(), cache: Some(Cache::FiveMinutes), signature: None };
        let request = of(
            Format::Messages,
            vec![
                turn(Role::System, vec![Part::text("s")]),
                turn(Role::User, vec![cached, Part::text("b")]),
                turn(Role::Assistant, vec![Part::text("c"), call("1", "f", false), call("2", "g", true)]),
                turn(Role::User, vec![answer("1", vec![]), answer("2", vec![Part::text("x"), Part::text("y")]), Part::text("d")]),
                turn(Role::Developer, vec![Part::text("e")]),
            ],
        );
        let body = written(&request);
        assert_eq!(body["instructions"], "s");
        assert_eq!(
            body["input"],
            json!([
                {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]},
                {"type":"message","role":"assistant","content":"c"},
                {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
                {"type":"custom_tool_call","call_id":"2","name":"g","input":""},
                {"type":"function_call_output","call_id":"1","output":"Error:"},
                {"type":"custom_tool_call_output","call_id":"2","output":[{"type":"input_text","text":"Error:"},{"type":"input_text","text":"x"},{"type":"input_text","text":"y"}]},
                {"type":"message","role":"user","content":"d"},
                {"type":"message","role":"developer","content":"e"},
            ])
        );
        assert_eq!(
            (&body["model"], &body["stream"], &body["max_output_tokens"], &body["store"]),
            (&json!("b"), &json!(true), &json!(9), &json!(false))
        );
    }

    #[test]
    fn a_lone_system_turn_is_the_input() {
        let body = written(&of(Format::Chat, vec![turn(Role::System, vec![Part::text("s")])]));
        assert_eq!((&body["input"][0]["role"], body.get("instructions")), (&json!("system"), None));
    }

    #[test]
    fn an_absent_strict_is_written_as_false_unless_it_was_absent_here() {
        let tool = || Tool::Function { name: "f".into(), description: None, parameters: None, strict: None, cache: Some(Cache::Default) };
        let with = |source| Request { tools: vec![tool()], ..of(source, vec![turn(Role::User, vec![Part::text("x")])]) };
        let empty = json!({"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false});
        assert_eq!(written(&with(Format::Chat))["tools"][0], empty);
        assert_eq!(written(&with(Format::Responses))["tools"][0], json!({"type":"function","name":"f"}));
        let schema = |source| {
            let mut request = with(source);
            request.settings.output = OutputFormat::Schema { name: None, description: None, schema: Json::of(&json!({})), strict: None };
            written(&request)["text"]["format"].clone()
        };
        assert_eq!(schema(Format::Generate), json!({"type":"json_schema","name":"answer","schema":{},"strict":false}));
        assert_eq!(schema(Format::Responses).get("strict"), None);
    }

    #[test]
    fn custom_tools_and_choices_are_flat() {
        let format = Json::of(&json!({"type":"grammar","grammar":{"syntax":"lark","definition":"d"}}));
        let custom = Tool::Custom { name: "g".into(), description: None, format: Some(format) };
        let mut request = Request { tools: vec![custom], ..chat(Part::text("x")) };
        request.tool_choice = Some(ToolChoice::Tool("g".into()));
        let body = written(&request);
        assert_eq!(body["tools"][0], json!({"type":"custom","name":"g","format":{"type":"grammar","syntax":"lark","definition":"d"}}));
        assert_eq!(body["tool_choice"], json!({"type":"custom","name":"g"}));
        request.tool_choice = Some(ToolChoice::AnyOf { names: vec!["f".into(), "g".into()], is_required: false });
        let tools = json!([{"type":"function","name":"f"},{"type":"custom","name":"g"}]);
        assert_eq!(written(&request)["tool_choice"], json!({"type":"allowed_tools","mode":"auto","tools":tools}));
    }

    type Set = fn(&mut Settings<'static>, Option<Number>);

    #[test]
    fn settings_that_this_format_lacks_are_refused_in_the_callers_words() {
        let one = || Some(Number::from(1));
        let cases: [(Set, &str, &str, &str); 6] = [
            (|settings, _| settings.stop = vec!["x".into()], "stop", "stop_sequences", "generationConfig.stopSequences"),
            (|settings, one| settings.top_k = one, "top_k", "top_k", "generationConfig.topK"),
            (
                |settings, one| settings.frequency_penalty = one,
                "frequency_penalty",
                "frequency_penalty",
                "generationConfig.frequencyPenalty",
            ),
            (|settings, one| settings.presence_penalty = one, "presence_penalty", "presence_penalty", "generationConfig.presencePenalty"),
            (|settings, one| settings.seed = one, "seed", "seed", "generationConfig.seed"),
            (|settings, _| settings.choices = 2, "n", "n", "generationConfig.candidateCount"),
        ];
        for (set, in_chat, in_messages, in_generate) in cases {
            for (source, field) in [(Format::Chat, in_chat), (Format::Messages, in_messages), (Format::Generate, in_generate)] {
                let mut request = of(source, vec![turn(Role::User, vec![Part::text("x")])]);
                set(&mut request.settings, one());
                assert_eq!(refused(&request), field);
            }
        }
        let mut request = chat(Part::text("x"));
        (request.settings.choices, request.settings.frequency_penalty) = (1, Some(Number::from(0)));
        assert!(result(&request).is_ok(), "the defaults ask for nothing");
        request.extras = vec![("logit_bias".into(), Json::of(&json!({})))];
        assert_eq!(refused(&request), "logit_bias");
    }

    #[test]
    fn content_that_cannot_be_sent_is_refused() {
        let opaque = |format| Part::Opaque { format, raw: Json::of(&json!({"type":"x"})) };
        let base64 = || Source::Base64("eA==".into());
        for part in [
            opaque(Format::Messages),
            media(MediaKind::Audio, base64(), Some("audio/wav")),
            media(MediaKind::Image, base64(), None),
            media(MediaKind::Image, Source::Url("gs://b/o".into()), Some("image/png")),
            media(MediaKind::Document, Source::File { format: Format::Messages, id: "f".into() }, None),
            answer("1", vec![opaque(Format::Messages)]),
        ] {
            assert_eq!(refused(&chat(part.clone())), "messages", "{part:?}");
        }
        let image = media(MediaKind::Image, base64(), Some("image/png"));
        assert_eq!(refused(&of(Format::Generate, vec![turn(Role::Assistant, vec![image])])), "contents");
        let named = Turn { name: Some("n".into()), ..turn(Role::User, vec![Part::text("x")]) };
        assert_eq!(refused(&of(Format::Chat, vec![named])), "messages");
        assert_eq!(refused(&of(Format::Generate, vec![turn(Role::Assistant, vec![call("1", "a.b", false)])])), "tools");
        let vendor = Request { tools: vec![Tool::Opaque { format: Format::Messages, raw: Json::of(&json!({})) }], ..chat(Part::text("x")) };
        assert_eq!(refused(&vendor), "tools");
        let tool = Tool::Function { name: "x".repeat(65).into(), description: None, parameters: None, strict: None, cache: None };
        assert_eq!(refused(&Request { tools: vec![tool], ..chat(Part::text("x")) }), "tools");
        let raw = json!({"type":"web_search_call","id":"w"});
        let own = of(Format::Responses, vec![turn(Role::Assistant, vec![Part::Opaque { format: Format::Responses, raw: Json::of(&raw) }])]);
        assert_eq!(written(&own)["input"][0], raw);
    }

    #[test]
    fn media_have_the_required_members() {
        let part = |part| written(&chat(part))["input"][0]["content"].clone();
        let image = media(MediaKind::Image, Source::Base64("eA==".into()), Some("image/png"));
        assert_eq!(part(image), json!([{"type":"input_image","image_url":"data:image/png;base64,eA==","detail":"auto"}]));
        let pdf = media(MediaKind::Document, Source::Base64("eA==".into()), None);
        assert_eq!(part(pdf), json!([{"type":"input_file","filename":"document.pdf","file_data":"data:application/pdf;base64,eA=="}]));
        let url = media(MediaKind::Document, Source::Url("https://x".into()), None);
        assert_eq!(part(url), json!([{"type":"input_file","file_url":"https://x"}]));
        assert_eq!(part(media(MediaKind::Document, Source::Text("t".into()), None)), "t");
    }

    #[test]
    fn only_openais_own_reasoning_is_sent() {
        let proof = |vendor| Some(Signature { vendor, data: "e".into() });
        let thought = |signature, encrypted, id: Option<&'static str>| {
            Part::Reasoning(Reasoning { text: "t".into(), is_summary: false, signature, encrypted, id: id.map(Into::into) })
        };
        let items = |source, parts| written(&of(source, vec![turn(Role::Assistant, parts)]))["input"].clone();
        let own = json!([{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"e"}]);
        assert_eq!(items(Format::Messages, vec![thought(proof(Vendor::OpenAi), None, None)]), own);
        assert_eq!(items(Format::Chat, vec![thought(None, proof(Vendor::OpenAi), None)]), own);
        for vendor in [Vendor::Anthropic, Vendor::Google, Vendor::XAi] {
            assert_eq!(items(Format::Chat, vec![thought(proof(vendor), None, None), thought(None, proof(vendor), None)]), json!([]));
            assert_eq!(items(Format::Responses, vec![thought(None, proof(vendor), None)]), json!([]));
        }
        assert_eq!(items(Format::Chat, vec![thought(None, None, None)]), json!([]));
        let thought_of = |text: &str| json!({"type":"reasoning_text","text":text});
        assert_eq!(
            items(Format::Responses, vec![thought(None, None, Some("r")), thought(None, proof(Vendor::OpenAi), Some("r"))]),
            json!([{"type":"reasoning","id":"r","summary":[],"content":[thought_of("t"), thought_of("t")],"encrypted_content":"e"}])
        );
    }

    #[test]
    fn reasoning_and_logprobs_are_asked_for() {
        let mut request = chat(Part::text("x"));
        (request.settings.logprobs, request.settings.shows_reasoning) = (Some(0), Some(true));
        for (level, effort) in [
            (Level::Off, json!("none")),
            (Level::Effort(Effort::Max), json!("max")),
            (Level::Budget(9_000), json!("medium")),
            (Level::Auto, Value::Null),
        ] {
            request.settings.reasoning = Some(level);
            let body = written(&request);
            assert_eq!((&body["reasoning"]["effort"], &body["reasoning"]["summary"]), (&effort, &json!("auto")));
            assert_eq!((&body["include"], body.get("top_logprobs")), (&json!([INCLUDE_LOGPROBS]), None));
        }
    }

    #[test]
    fn own_fields_come_back_in_their_places() {
        let text = r#"{"model":"b","input":[{"type":"message","role":"user","content":"x"}],"store":false,"stream":true,"max_output_tokens":9,
            "reasoning":{"effort":"low","summary":"concise","mode":"pro","context":"all_turns"},"text":{"verbosity":"high","format":{"type":"new"}},
            "include":["message.output_text.logprobs"],"metadata":{"a":"b"},"moderation":{"model":"m"},"tool_choice":{"type":"shell"},
            "tools":[{"type":"shell"}],"top_logprobs":2,"user":"u","service_tier":"flex","parallel_tool_calls":false,"brand_new":[1]}"#;
        let (_, body) = crate::responses::request::read(text.as_bytes()).unwrap();
        assert_eq!(written(&body.neutral().unwrap()), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn long_ids_of_calls_are_shortened_alike() {
        let long = format!("call_0_{}", "n".repeat(64));
        let request =
            of(Format::Generate, vec![turn(Role::Assistant, vec![call(&long, "f", false)]), turn(Role::User, vec![answer(&long, vec![])])]);
        let items = written(&request)["input"].clone();
        assert_eq!(items[0]["call_id"], items[1]["call_id"]);
        assert!(items[0]["call_id"].as_str().unwrap().len() <= 64);
    }
}
