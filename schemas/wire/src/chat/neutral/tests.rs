//! Tests of requests and whole answers.

use serde_json::{Value, json};

use super::{read_answer, write, write_answer};
use crate::answer::AnswerError;
use crate::call::{Addressed, Call, Format, Target};
use crate::dialect::{Dialect, EffortField, ReasoningHistory};
use crate::neutral::*;
use crate::testing;

fn read_with(fields: &Value) -> Result<Request<'static>, String> {
    let mut body = json!({"model": "m-1", "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let body: &'static [u8] = serde_json::to_vec(&body).unwrap().leak();
    Call::read(Format::Chat, body, &Addressed::default()).and_then(|call| call.neutral()).map_err(|error| error.to_string())
}

fn read(fields: &Value) -> Request<'static> {
    read_with(fields).unwrap()
}

/// Reads the parts of the last message.
fn parts(messages: &Value) -> Vec<Part<'static>> {
    read(&json!({ "messages": messages })).turns.pop().unwrap().parts
}

fn written(request: &Request<'_>, dialect: &Dialect) -> Result<Value, Untranslatable> {
    let target = Target { model: "m-2", cap: None, dialect };
    write(request, false, &target).map(|body| serde_json::from_slice(&body).unwrap())
}

fn of(source: Format, turns: Vec<(Role, Vec<Part<'static>>)>) -> Request<'static> {
    let turns = turns.into_iter().map(|(role, parts)| Turn { role, parts, name: None }).collect();
    Request { turns, ..Request::new(source) }
}

fn messages(source: Format, turns: Vec<(Role, Vec<Part<'static>>)>, dialect: &Dialect) -> Value {
    written(&of(source, turns), dialect).unwrap()["messages"].take()
}

/// Returns the field and the reason of a refusal.
fn refused(request: &Request<'_>) -> (String, String) {
    let error = written(request, &Dialect::default()).unwrap_err();
    (error.field.into_owned(), error.reason.into_owned())
}

fn call(id: &'static str) -> ToolCall<'static> {
    ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into(), is_custom: false, signature: None, cache: None }
}

fn result(id: &'static str, content: Vec<Part<'static>>) -> ToolResult<'static> {
    ToolResult { call_id: id.into(), name: None, content, is_error: false, is_custom: false, cache: None }
}

fn media(kind: MediaKind, source: Source<'static>, mime: Option<&'static str>) -> Media<'static> {
    Media { kind, source, mime: mime.map(Into::into), name: None, detail: None, cache: None }
}

fn signature(vendor: Vendor, data: &'static str) -> Signature<'static> {
    Signature { vendor, data: data.into() }
}

#[test]
fn every_setting_has_its_place() {
    let request = read(&json!({
        "max_tokens": 9, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop": "END", "frequency_penalty": 0.1,
        "presence_penalty": -0.2, "seed": 7, "n": 2, "logprobs": true, "top_logprobs": 3, "verbosity": "low", "user": "u",
        "service_tier": "flex", "parallel_tool_calls": false, "reasoning_effort": "xhigh", "include_reasoning": false,
        "models": ["m-3"], "route": "fallback", "logit_bias": {}, "modalities": ["text"], "min_p": 0.0, "store": null,
    }));
    let settings = request.settings;
    assert_eq!(settings.output_tokens_max, Some(7));
    assert_eq!([settings.temperature, settings.top_p].map(|number| number.unwrap().to_string()), ["0.5", "0.9"]);
    assert_eq!([settings.top_k, settings.seed].map(|number| number.unwrap().to_string()), ["40", "7"]);
    assert_eq!([settings.frequency_penalty, settings.presence_penalty].map(|number| number.unwrap().to_string()), ["0.1", "-0.2"]);
    assert_eq!((settings.stop, settings.choices, settings.logprobs), (vec!["END".into()], 2, Some(3)));
    assert_eq!(
        (settings.verbosity.as_deref(), settings.user.as_deref(), settings.service_tier.as_deref()),
        (Some("low"), Some("u"), Some("flex"))
    );
    assert_eq!((settings.reasoning, settings.shows_reasoning), (Some(Level::Effort(Effort::XHigh)), Some(false)));
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(request.extras, [], "no field of the gateway, and none that says nothing");
}

#[test]
fn fields_of_chat_alone_go_back_to_chat_and_are_refused_elsewhere_unless_harmless() {
    let harmless =
        json!({"metadata": {"a": "b"}, "store": true, "prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"}});
    let request = read(&harmless);
    let body = written(&request, &Dialect::default()).unwrap();
    for (name, value) in harmless.as_object().unwrap() {
        assert_eq!(body[name], *value);
    }
    for to in [Format::Responses, Format::Messages, Format::Generate] {
        assert_eq!(fate::check(&request, to), Ok(()));
        for name in ["logit_bias", "web_search_options", "audio", "functions", "min_p", "what_comes_next"] {
            let request = read(&json!({ name: {"x": 1} }));
            assert_eq!(fate::check(&request, to).unwrap_err().field, name);
        }
    }
    assert_eq!(read(&json!({"safety_identifier": "s"})).settings.user.as_deref(), Some("s"));
    let both = read(&json!({"safety_identifier": "s", "user": "u"}));
    assert_eq!((both.settings.user.as_deref(), both.extras.len()), (Some("u"), 1));
}

#[test]
fn wrong_values_name_their_field() {
    for (field, value) in [
        ("temperature", json!("hot")),
        ("stop", json!([1])),
        ("reasoning_effort", json!("enormous")),
        ("reasoning_effort", json!(3)),
        ("reasoning", json!({"max_tokens": "x"})),
        ("tool_choice", json!("perhaps")),
        ("tool_choice", json!({"type": "web_search"})),
        ("tools", json!({})),
        ("tools", json!(["x"])),
        ("top_logprobs", json!(2)),
        ("logprobs", json!("yes")),
        ("verbosity", json!(1)),
        ("parallel_tool_calls", json!(1)),
    ] {
        let error = read_with(&json!({ field: value })).unwrap_err();
        assert!(error.contains(&format!("'{field}'")), "{field}: {error}");
    }
}

#[test]
fn reasoning_is_asked_for_in_every_known_way() {
    let level = |fields: Value| read(&fields).settings.reasoning;
    assert_eq!(level(json!({"reasoning_effort": "none"})), Some(Level::Off));
    assert_eq!(level(json!({"reasoning_effort": "default"})), Some(Level::Auto));
    assert_eq!(level(json!({"reasoning": {"effort": "low"}})), Some(Level::Effort(Effort::Low)));
    assert_eq!(level(json!({"reasoning": {"max_tokens": 2000}})), Some(Level::Budget(2_000)));
    assert_eq!(level(json!({"reasoning": {"enabled": true}})), Some(Level::Auto));
    assert_eq!(level(json!({"reasoning": {"enabled": false, "effort": "high"}})), Some(Level::Off));
    assert_eq!(read(&json!({"reasoning": {"exclude": true}})).settings.shows_reasoning, Some(false));
    assert_eq!(read(&json!({"reasoning": {"budget": 1}})).extras.len(), 1, "a member that is not known");

    let with = |level, effort| {
        let mut request = of(Format::Messages, vec![(Role::User, vec![Part::text("x")])]);
        request.settings.reasoning = Some(level);
        let body = written(&request, &Dialect { effort, ..Dialect::default() }).unwrap();
        (body["reasoning_effort"].clone(), body["reasoning"].clone())
    };
    for (level, openai, openrouter) in [
        (Level::Off, json!("none"), json!({"enabled": false})),
        (Level::Auto, Value::Null, json!({"enabled": true})),
        (Level::Effort(Effort::Max), json!("max"), json!({"effort": "max"})),
        (Level::Budget(9_000), json!("medium"), json!({"max_tokens": 9_000})),
    ] {
        assert_eq!(with(level, EffortField::ReasoningEffort), (openai, Value::Null));
        assert_eq!(with(level, EffortField::Reasoning), (Value::Null, openrouter));
    }
}

#[test]
fn what_chat_has_no_word_for_is_refused_in_the_callers_words() {
    let user = || vec![(Role::User, vec![Part::text("x")])];
    let mut request = of(Format::Generate, user());
    request.settings.top_k = Some(5.into());
    assert_eq!(refused(&request).0, "generationConfig.topK");
    let mut request = of(Format::Messages, user());
    request.settings.stop = vec!["a".into(); 5];
    assert_eq!(refused(&request).0, "stop_sequences");
    let mut request = of(Format::Messages, user());
    request.tools = vec![Tool::Opaque { format: Format::Messages, raw: Json::of(&json!({"type": "bash_20250124", "name": "bash"})) }];
    assert!(refused(&request).1.contains("'bash_20250124'"));
    let mut request = of(Format::Generate, user());
    request.tools = vec![Tool::Function { name: "a.b".into(), description: None, parameters: None, strict: None, cache: None }];
    assert!(refused(&request).1.contains("'a.b'"));
    let mut request = of(Format::Messages, user());
    request.extras = vec![("container".into(), Json::of(&1))];
    assert_eq!(refused(&request).0, "container");
}

#[test]
fn several_answers_go_only_to_providers_that_give_them() {
    let mut request = of(Format::Generate, vec![(Role::User, vec![Part::text("x")])]);
    request.settings.choices = 2;
    assert_eq!(written(&request, &Dialect::default()).unwrap()["n"], 2);
    let error = written(&request, &Dialect { has_choices: false, ..Dialect::default() }).unwrap_err();
    assert_eq!(error.field, "generationConfig.candidateCount");
    request.settings.choices = 1;
    assert_eq!(written(&request, &Dialect { has_choices: false, ..Dialect::default() }).unwrap().get("n"), None);
}

#[test]
fn the_provider_chooses_its_names_of_fields() {
    let mut request = of(Format::Responses, vec![(Role::Developer, vec![Part::text("d")]), (Role::User, vec![Part::text("x")])]);
    request.settings.seed = Some(7.into());
    let mistral = Dialect::of_provider("mistralai", "max_tokens");
    let openai = Dialect::of_provider("openai", "max_completion_tokens");
    let body = |dialect| -> Value {
        serde_json::from_slice(&write(&request, true, &Target { model: "m", cap: Some(5), dialect }).unwrap()).unwrap()
    };
    let (mistral, openai) = (body(&mistral), body(&openai));
    assert_eq!(
        (&mistral["random_seed"], &mistral["max_tokens"], &mistral["messages"][0]["role"]),
        (&json!(7), &json!(5), &json!("system"))
    );
    assert_eq!(
        (&openai["seed"], &openai["max_completion_tokens"], &openai["messages"][0]["role"]),
        (&json!(7), &json!(5), &json!("developer"))
    );
    assert_eq!((&openai["stream"], &openai["stream_options"]), (&json!(true), &json!({"include_usage": true})));
    let plain = Dialect { has_stream_options: false, ..Dialect::default() };
    assert_eq!(body(&plain).get("stream_options"), None);
}

#[test]
fn names_of_speakers_go_only_to_providers_that_take_them() {
    let request = read(&json!({"messages": [{"role": "user", "name": "ann", "content": "x"}]}));
    assert_eq!(written(&request, &Dialect::default()).unwrap()["messages"][0]["name"], "ann");
    assert_eq!(written(&request, &Dialect { has_names: false, ..Dialect::default() }).unwrap()["messages"][0].get("name"), None);
}

#[test]
fn marks_for_caches_go_only_to_providers_that_know_them() {
    let request = read(&json!({
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "content": "x", "cache_control": {"type": "ephemeral"}},
            {"role": "user", "content": [{"type": "text", "text": "y", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    }));
    let caches: Vec<_> = request
        .turns
        .iter()
        .map(|turn| match turn.parts.as_slice() {
            [Part::Text { cache, .. }] => *cache,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(caches, [Some(Cache::OneHour), Some(Cache::Default), Some(Cache::Default)]);
    let body = written(&request, &Dialect { has_cache_control: true, ..Dialect::default() }).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(body["tools"][0]["cache_control"]["ttl"], "5m");
    let body = written(&request, &Dialect::default()).unwrap();
    assert_eq!(body["messages"][0]["content"], "s");
    assert_eq!(body["tools"][0].get("cache_control"), None);
}

#[test]
fn results_of_tools_stand_together_in_one_turn() {
    let request = read(&json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "custom", "custom": {"name": "g", "input": "free"}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "x"},
    ]}));
    assert_eq!(request.turns.len(), 3);
    assert_eq!(request.turns[1].role, Role::User);
    let b = ToolResult { is_custom: true, ..result("b", vec![Part::text("2")]) };
    assert_eq!(request.turns[1].parts, [Part::ToolResult(result("a", vec![Part::text("1")])), Part::ToolResult(b)]);
    let Part::ToolCall(custom) = &request.turns[0].parts[1] else { panic!() };
    assert_eq!((custom.is_custom, custom.arguments.as_ref()), (true, "free"));
    let body = written(&request, &Dialect::default()).unwrap();
    assert_eq!(body["messages"][0]["content"], Value::Null);
    assert_eq!(body["messages"][0]["tool_calls"][1], json!({"id": "b", "type": "custom", "custom": {"name": "g", "input": "free"}}));
    assert_eq!(body["messages"][2], json!({"role": "tool", "tool_call_id": "b", "content": "2"}));
}

#[test]
fn results_come_first_and_their_images_follow_in_a_users_message() {
    let image = Part::Media(media(MediaKind::Image, Source::Base64("aGk=".into()), Some("image/png")));
    let turns = vec![
        (Role::Assistant, vec![Part::ToolCall(call("a"))]),
        (Role::Assistant, vec![Part::ToolCall(call("b"))]),
        (Role::User, vec![Part::ToolResult(result("a", vec![image]))]),
        (Role::User, vec![Part::text("next"), Part::ToolResult(result("b", vec![Part::text("2")]))]),
    ];
    let all = messages(Format::Responses, turns, &Dialect::default());
    assert_eq!(all[0]["tool_calls"].as_array().unwrap().len(), 2, "calls of one turn stand in one message");
    assert_eq!(all[1], json!({"role": "tool", "tool_call_id": "a", "content": "The result follows in the next message."}));
    assert_eq!(all[2], json!({"role": "tool", "tool_call_id": "b", "content": "2"}));
    assert_eq!(
        all[3],
        json!({"role": "user", "content": [
            {"type": "text", "text": "The result of the call a:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "text", "text": "next"},
        ]})
    );
}

#[test]
fn an_error_is_marked_once() {
    let with = |content| {
        let result = ToolResult { is_error: true, ..result("a", content) };
        messages(Format::Messages, vec![(Role::User, vec![Part::ToolResult(result)])], &Dialect::default())[0]["content"].take()
    };
    assert_eq!(with(vec![Part::text("no file")]), "Error: no file");
    assert_eq!(with(vec![Part::text("Error: no file")]), "Error: no file");
    assert_eq!(with(vec![]), "Error: ");
    assert_eq!(with(vec![Part::text("a"), Part::text("b")])[0]["text"], "Error: a");
}

#[test]
fn short_ids_are_the_same_for_a_call_and_its_result() {
    let dialect = Dialect::of_provider("mistralai", "max_tokens");
    let turns = || {
        vec![
            (Role::Assistant, vec![Part::ToolCall(call("toolu_01A")), Part::ToolCall(call("abcdeFG12"))]),
            (Role::User, vec![Part::ToolResult(result("toolu_01A", vec![])), Part::ToolResult(result("abcdeFG12", vec![]))]),
        ]
    };
    let all = messages(Format::Messages, turns(), &dialect);
    let id = all[0]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(all[1]["tool_call_id"], id);
    assert_eq!(all[0]["tool_calls"][1]["id"], "abcdeFG12", "it is short already");
    assert_eq!(messages(Format::Messages, turns(), &dialect), all, "stable");
    assert_eq!(messages(Format::Messages, turns(), &Dialect::default())[1]["tool_call_id"], "toolu_01A");
    let long = "call_0_a_function_with_a_name_that_is_too_long_for_openai";
    let all = messages(Format::Generate, vec![(Role::User, vec![Part::ToolResult(result(long, vec![]))])], &Dialect::default());
    assert_eq!(all[0]["tool_call_id"].as_str().unwrap().len(), 14);
}

#[test]
fn media_go_both_ways() {
    let content = json!([
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]);
    let messages = json!([{"role": "user", "content": content}]);
    let parts = parts(&messages);
    let expected = [
        Media { detail: Some("low".into()), ..media(MediaKind::Image, Source::Url("https://x/y.png".into()), None) },
        media(MediaKind::Image, Source::Base64("aGk=".into()), Some("image/png")),
        media(MediaKind::Audio, Source::Base64("aGk=".into()), Some("audio/mpeg")),
        Media { name: Some("a.pdf".into()), ..media(MediaKind::Document, Source::Base64("aGk=".into()), Some("application/pdf")) },
        media(MediaKind::Document, Source::File { format: Format::Chat, id: "file-1".into() }, None),
    ];
    assert_eq!(parts, expected.map(Part::Media));
    assert_eq!(written(&read(&json!({ "messages": messages })), &Dialect::default()).unwrap()["messages"], messages);
}

#[test]
fn media_that_chat_cannot_carry_are_refused() {
    let refusal = |media| refused(&of(Format::Messages, vec![(Role::User, vec![Part::Media(media)])]));
    for (kind, source, mime) in [
        (MediaKind::Image, Source::File { format: Format::Messages, id: "f".into() }, None),
        (MediaKind::Document, Source::File { format: Format::Generate, id: "f".into() }, None),
        (MediaKind::Document, Source::Url("https://x/a.pdf".into()), None),
        (MediaKind::Audio, Source::Base64("aGk=".into()), Some("audio/ogg")),
        (MediaKind::Audio, Source::Url("https://x/a.wav".into()), Some("audio/wav")),
    ] {
        assert_eq!(refusal(media(kind, source, mime)).0, "messages");
    }
    let text = Media { name: Some("a.txt".into()), ..media(MediaKind::Document, Source::Text("hello".into()), Some("text/plain")) };
    let all = messages(Format::Messages, vec![(Role::User, vec![Part::Media(text)])], &Dialect::default());
    assert_eq!(all[0]["content"], "a.txt\n\nhello", "a text is a text");
    let image = media(MediaKind::Image, Source::Base64("aGk=".into()), Some("image/png"));
    assert_eq!(refused(&of(Format::Generate, vec![(Role::Assistant, vec![Part::Media(image.clone())])])).0, "contents");
    assert_eq!(refused(&of(Format::Messages, vec![(Role::System, vec![Part::Media(image)])])).0, "messages");
    let block = Part::Opaque { format: Format::Messages, raw: Json::of(&json!({"type": "server_tool_use"})) };
    assert_eq!(refused(&of(Format::Messages, vec![(Role::Assistant, vec![block])])).0, "messages");
}

#[test]
fn a_message_that_is_not_known_goes_back_whole_and_nowhere_else() {
    for message in [
        json!({"role": "function", "name": "f", "content": "1"}),
        json!({"role": "assistant", "content": "x", "prefix": true}),
        json!({"role": "assistant", "content": null, "audio": {"id": "a"}}),
        json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
        json!({"role": "user", "content": "x", "images": ["aGk="]}),
        json!({"role": "user", "content": 7}),
        json!({"role": "tool", "content": "no id"}),
        json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}, "new": 1}]}),
    ] {
        let request = read(&json!({"messages": [message]}));
        assert!(matches!(request.turns[0].parts.as_slice(), [Part::Opaque { format: Format::Chat, .. }]), "{message}");
        assert_eq!(written(&request, &Dialect::default()).unwrap()["messages"][0], message);
    }
    let part = json!({"type": "video_url", "video_url": {"url": "https://x"}});
    let message = json!([{"role": "user", "content": [part, {"type": "text", "text": "x"}]}]);
    assert!(matches!(parts(&message).as_slice(), [Part::Opaque { .. }, Part::Text { .. }]));
    assert_eq!(written(&read(&json!({ "messages": message })), &Dialect::default()).unwrap()["messages"], message);
    let echo =
        json!([{"role": "assistant", "content": "x", "refusal": null, "annotations": [], "audio": null, "tool_calls": [], "parsed": {}}]);
    assert_eq!(parts(&echo), [Part::text("x")], "what the SDK returns of an answer");
}

#[test]
fn tools_and_choices_go_both_ways() {
    let tools = json!([
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
        {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}},
        {"type": "what_comes_next", "x": 1},
        {"type": "function", "function": {"name": "h", "new": 1}},
    ]);
    let names = json!([{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]);
    for choice in [
        json!("auto"),
        json!("none"),
        json!("required"),
        json!({"type": "function", "function": {"name": "f"}}),
        json!({"type": "custom", "custom": {"name": "g"}}),
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": names}}),
    ] {
        let request = read(&json!({"tools": tools, "tool_choice": choice}));
        assert!(matches!(&request.tools[3], Tool::Opaque { .. }));
        let body = written(&request, &Dialect::default()).unwrap();
        assert_eq!((&body["tools"], &body["tool_choice"]), (&tools, &choice));
    }
    let request = read(&json!({"tools": tools, "tool_choice": "any"}));
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    let Tool::Custom { format: Some(format), .. } = &request.tools[1] else { panic!() };
    assert_eq!(format.value(), json!({"type": "grammar", "syntax": "lark", "definition": "x"}), "flat, as in Responses");
    let mut request = of(Format::Generate, vec![(Role::User, vec![Part::text("x")])]);
    (request.tool_choice, request.parallel_tool_calls) = (Some(ToolChoice::Auto), Some(true));
    let body = written(&request, &Dialect::default()).unwrap();
    assert_eq!((body.get("tool_choice"), body.get("parallel_tool_calls")), (None, None), "OpenAI refuses both without tools");
}

#[test]
fn output_formats_go_both_ways() {
    for format in [
        json!({"type": "json_object"}),
        json!({"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": false}}),
        json!({"type": "grammar", "grammar": "x"}),
    ] {
        let request = read(&json!({ "response_format": format }));
        assert_eq!(written(&request, &Dialect::default()).unwrap()["response_format"], format);
    }
    assert_eq!(read(&json!({"response_format": {"type": "text"}})).settings.output, OutputFormat::Text);
    let mut request = of(Format::Messages, vec![(Role::User, vec![Part::text("x")])]);
    request.settings.output = OutputFormat::Schema { name: None, description: None, schema: Json::of(&json!({})), strict: None };
    let body = written(&request, &Dialect::default()).unwrap();
    assert_eq!(body["response_format"]["json_schema"], json!({"name": "answer", "schema": {}}));
}

#[test]
fn earlier_reasoning_is_read_wherever_it_stands() {
    let parts = |message: Value| {
        let mut message = message;
        message["role"] = json!("assistant");
        message["content"] = json!("x");
        parts(&json!([message]))
    };
    let thought = |text: &'static str| Reasoning { text: text.into(), ..Reasoning::default() };
    for name in ["reasoning", "reasoning_content", "thinking"] {
        assert_eq!(parts(json!({ name: "hm" })), [Part::Reasoning(thought("hm")), Part::text("x")]);
    }
    let details = json!([
        {"type": "reasoning.text", "text": "h", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": "m", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "enc", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.summary", "summary": "sum", "format": "openai-responses-v1", "id": "rs_1", "index": 3},
        {"type": "reasoning.encrypted", "data": "oai", "format": "openai-responses-v1", "id": "rs_1", "index": 3},
        {"type": "reasoning.server_tool_call", "index": 4},
    ]);
    let all = parts(json!({"reasoning": "hm", "reasoning_details": details}));
    let first = Reasoning { signature: Some(signature(Vendor::Anthropic, "sig")), ..thought("hm") };
    let second = Reasoning { encrypted: Some(signature(Vendor::Anthropic, "enc")), ..thought("") };
    let third =
        Reasoning { is_summary: true, encrypted: Some(signature(Vendor::OpenAi, "oai")), id: Some("rs_1".into()), ..thought("sum") };
    assert_eq!(all[..4], [Part::Reasoning(first), Part::Reasoning(second), Part::text("x"), Part::Reasoning(third)]);
    assert!(matches!(&all[4..], [Part::Opaque { format: Format::Chat, .. }]));
    let unknown = json!([{"type": "reasoning.text", "text": "hm", "signature": "s", "format": "new-v1"}]);
    assert_eq!(parts(json!({"reasoning_details": unknown}))[0], Part::Reasoning(thought("hm")), "a signature of nobody is of no use");
}

#[test]
fn googles_signatures_find_their_calls() {
    let signed = |data| Some(signature(Vendor::Google, data));
    let calls = json!([
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s1"}}},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]);
    let details = json!([
        {"type": "reasoning.encrypted", "data": "other", "id": "a", "format": "google-gemini-v1"},
        {"type": "reasoning.encrypted", "data": "s2", "id": "b", "format": "google-gemini-v1"},
        {"type": "reasoning.encrypted", "data": "s3", "format": "google-gemini-v1"},
    ]);
    let message = json!([{"role": "assistant", "content": "x", "tool_calls": calls, "reasoning_details": details}]);
    let parts = parts(&message);
    assert_eq!(parts[0], Part::Text { text: "x".into(), citations: vec![], cache: None, signature: signed("s3") });
    assert_eq!(parts[1], Part::ToolCall(ToolCall { signature: signed("s1"), ..call("a") }));
    assert_eq!(parts[2], Part::ToolCall(ToolCall { signature: signed("s2"), ..call("b") }));

    let request = of(Format::Generate, vec![(Role::Assistant, parts)]);
    let to = |model, dialect: &Dialect| -> Value {
        let target = Target { model, cap: None, dialect };
        serde_json::from_slice::<Value>(&write(&request, false, &target).unwrap()).unwrap()["messages"][0].take()
    };
    let google = to("models/gemini-3-pro", &Dialect::default());
    assert_eq!(google["tool_calls"][1]["extra_content"]["google"]["thought_signature"], "s2");
    assert_eq!(to("gpt-5.4", &Dialect::default())["tool_calls"][1].get("extra_content"), None, "another vendor");
    let details = to("x", &Dialect { reasoning: ReasoningHistory::Details, ..Dialect::default() })["reasoning_details"].take();
    assert_eq!(details[2], json!({"type": "reasoning.encrypted", "data": "s2", "id": "b", "format": "google-gemini-v1", "index": 2}));
}

#[test]
fn earlier_reasoning_goes_out_as_the_provider_takes_it() {
    let thought = Reasoning { text: "hm".into(), signature: Some(signature(Vendor::Anthropic, "sig")), ..Reasoning::default() };
    let turns = || {
        vec![
            (Role::User, vec![Part::text("x")]),
            (Role::Assistant, vec![Part::Reasoning(thought.clone()), Part::text("y"), Part::ToolCall(call("a"))]),
            (Role::User, vec![Part::ToolResult(result("a", vec![]))]),
            (Role::Assistant, vec![Part::ToolCall(call("b"))]),
        ]
    };
    let with = |reasoning| messages(Format::Messages, turns(), &Dialect { reasoning, ..Dialect::default() });
    let dropped = with(ReasoningHistory::Dropped);
    assert_eq!((dropped[1].get("reasoning_content"), dropped[1].get("reasoning_details")), (None, None));
    let content = with(ReasoningHistory::Content);
    assert_eq!((&content[1]["reasoning_content"], &content[3]["reasoning_content"]), (&json!("hm"), &json!("")), "beside each call");
    let details = json!([{"type": "reasoning.text", "text": "hm", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}]);
    assert_eq!(with(ReasoningHistory::Details)[1]["reasoning_details"], details);
    let only = vec![(Role::Assistant, vec![Part::Reasoning(thought.clone())]), (Role::User, vec![Part::text("x")])];
    assert_eq!(messages(Format::Messages, only, &Dialect::default()), json!([{"role": "user", "content": "x"}]), "no empty message");
}

#[test]
fn an_answers_signed_thoughts_come_back_with_the_next_turn() {
    let thought = |text: &'static str, data| Reasoning {
        text: text.into(),
        signature: Some(signature(Vendor::Anthropic, data)),
        ..Reasoning::default()
    };
    let google = ToolCall { signature: Some(signature(Vendor::Google, "g")), ..call("call_1") };
    let parts = vec![
        Part::Reasoning(thought("one", "s1")),
        Part::text("text"),
        Part::Reasoning(Reasoning { encrypted: Some(signature(Vendor::Anthropic, "red")), ..Reasoning::default() }),
        Part::Reasoning(thought("", "s2")),
        Part::ToolCall(google),
        Part::ToolCall(call("call_2")),
    ];
    let answer = Answer { choices: vec![Choice { parts: parts.clone(), ..Choice::default() }], ..Answer::default() };
    let body: Value = serde_json::from_slice(&write_answer(&answer, &testing::NAMES, &testing::billed())).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!((&message["reasoning"], &message["reasoning_content"]), (&json!("one"), &json!("one")));
    assert_eq!(super::tests::parts(&json!([message])), parts);
    let mut bare = message.clone();
    bare.as_object_mut().unwrap().remove("reasoning_details");
    let first = Reasoning { text: "one".into(), ..Reasoning::default() };
    assert_eq!(super::tests::parts(&json!([bare]))[0], Part::Reasoning(first), "a client that keeps only the text");
}

#[test]
fn answers_have_every_field_that_the_sdk_requires() {
    let citation = Citation::Url { url: "https://x".into(), title: Some("X".into()), start: Some(1), end: None };
    let cited = Part::Text { text: "Zürich".into(), citations: vec![citation], cache: None, signature: None };
    let logprobs = Some(Json::of(&json!([{"token": "a", "logprob": -0.1, "bytes": null, "top_logprobs": []}])));
    let finish = |reason| Finish { reason, native: Some("word".into()), ..Finish::default() };
    let choice = |parts, reason| Choice { parts, finish: finish(reason), logprobs: None };
    let empty = ToolCall { arguments: "".into(), ..call("a") };
    let filtered = Finish { message: Some("because".into()), ..finish(Reason::Filtered) };
    let broken = Finish { message: Some("gone".into()), ..finish(Reason::Broken) };
    let choices = vec![
        Choice { logprobs, ..choice(vec![Part::text("ab"), cited], Reason::Stop) },
        choice(vec![Part::ToolCall(empty)], Reason::ToolCalls),
        choice(vec![Part::Refusal("no".into())], Reason::Filtered),
        Choice { finish: filtered, ..Choice::default() },
        Choice { finish: broken, ..Choice::default() },
        choice(vec![], Reason::Length),
    ];
    let answer = Answer { choices, ..Answer::default() };
    let body: Value = serde_json::from_slice(&write_answer(&answer, &testing::NAMES, &testing::billed())).unwrap();
    assert_eq!(
        (&body["id"], &body["object"], &body["created"], &body["model"]),
        (&json!("gen-1"), &json!("chat.completion"), &json!(7), &json!("a/m"))
    );
    assert_eq!((&body["usage"]["prompt_tokens"], &body["usage"]["cost"]), (&json!(5), &json!(0.000_001_5)));
    let choices = body["choices"].as_array().unwrap();
    let annotation = json!({"type": "url_citation", "url_citation": {"url": "https://x", "title": "X", "start_index": 3, "end_index": 8}});
    assert_eq!(choices[0]["message"], json!({"role": "assistant", "content": "abZürich", "refusal": null, "annotations": [annotation]}));
    assert_eq!((&choices[0]["logprobs"]["content"][0]["token"], &choices[0]["logprobs"]["refusal"]), (&json!("a"), &Value::Null));
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(choices[1]["message"], json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]}));
    assert_eq!(choices[2]["message"], json!({"role": "assistant", "content": null, "refusal": "no"}));
    assert_eq!(choices[3]["message"]["refusal"], "because");
    assert_eq!(choices[4]["error"], json!({"code": 502, "message": "gone"}));
    assert_eq!(choices[5]["message"]["content"], "");
    let words: Vec<_> = choices.iter().map(|choice| choice["finish_reason"].as_str().unwrap()).collect();
    assert_eq!(words, ["stop", "tool_calls", "content_filter", "content_filter", "error", "length"]);
    assert_eq!((&choices[5]["index"], &choices[5]["native_finish_reason"]), (&json!(5), &json!("word")));
}

fn answer(choice: &Value) -> Choice<'static> {
    let body: &'static [u8] = serde_json::to_vec(&json!({"id": "x", "choices": [choice]})).unwrap().leak();
    read_answer(body).unwrap().choices.pop().unwrap()
}

#[test]
fn answers_of_every_dialect_are_read() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}, "index": 0});
    let seen = answer(&json!({"message": {"content": null, "images": [image], "new": 1}}));
    assert_eq!(seen.parts.len(), 0, "a part with a member that is not known");
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}});
    assert!(matches!(answer(&json!({"message": {"images": [image]}})).parts.as_slice(), [Part::Media(_)]));
    let mistral = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}, {"type": "text", "text": "x"}]);
    let thought = Part::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() });
    assert_eq!(answer(&json!({"message": {"content": mistral}})).parts, [thought, Part::text("x")]);
    let sloppy =
        json!({"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, 7]}, "finish_reason": "stop"});
    let sloppy = answer(&sloppy);
    assert_eq!(sloppy.parts, [Part::ToolCall(ToolCall { arguments: r#"{"a":1}"#.into(), ..call("call_0_f") })]);
    assert_eq!(sloppy.finish.reason, Reason::ToolCalls);
    let old =
        answer(&json!({"message": {"content": null, "function_call": {"name": "f", "arguments": "{}"}}, "finish_reason": "function_call"}));
    assert_eq!((old.parts, old.finish.reason), (vec![Part::ToolCall(call("call_0_f"))], Reason::ToolCalls));
    let refused = answer(&json!({"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}));
    assert_eq!(refused.parts, [Part::Refusal("no".into())]);
    let annotation = json!({"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}});
    let cited = answer(&json!({"message": {"content": "x", "annotations": [annotation, {"type": "file"}]}}));
    let [Part::Text { citations, .. }] = cited.parts.as_slice() else { panic!("{cited:?}") };
    assert_eq!(citations[0], Citation::Url { url: "u".into(), title: Some("t".into()), start: Some(0), end: Some(1) });
    assert!(matches!(citations[1], Citation::Opaque { format: Format::Chat, .. }));
    let logged = answer(&json!({"message": {"content": "x"}, "logprobs": {"content": [{"token": "x"}], "refusal": null}}));
    assert_eq!(logged.logprobs.unwrap().value(), json!([{"token": "x"}]));
}

#[test]
fn finish_reasons_are_read_and_unknown_ones_are_a_stop() {
    for (word, reason) in [
        (json!("stop"), Reason::Stop),
        (json!("length"), Reason::Length),
        (json!("model_length"), Reason::Length),
        (json!("content_filter"), Reason::Filtered),
        (json!("error"), Reason::Broken),
        (json!("what_comes_next"), Reason::Stop),
        (json!(null), Reason::Stop),
    ] {
        let finish = answer(&json!({"message": {"content": "x"}, "finish_reason": word})).finish;
        assert_eq!((finish.reason, finish.native.as_deref()), (reason, word.as_str()));
    }
    let broken = answer(&json!({"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "gone"}}));
    assert_eq!(broken.finish.message.as_deref(), Some("gone"));
}

#[test]
fn choices_stand_in_their_order_and_errors_are_no_answers() {
    let body = br#"{"choices":[{"index":1,"message":{"content":"b"}},{"index":0,"message":{"content":"a"}}]}"#;
    let parts: Vec<_> = read_answer(body).unwrap().choices.into_iter().map(|choice| choice.parts).collect();
    assert_eq!(parts, [[Part::text("a")], [Part::text("b")]]);
    assert!(matches!(read_answer(br#"{"error":{"message":"no"}}"#), Err(AnswerError::Reported(_))));
    for body in [&b"<html>"[..], b"{}", br#"{"choices":7}"#, br#"{"choices":[7]}"#] {
        assert_eq!(read_answer(body).unwrap_err(), AnswerError::Malformed);
    }
}
