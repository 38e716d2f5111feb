//! Tests of streams.

use serde_json::{Value, json};

use super::{Reader, Writer};
use crate::answer::{AnswerError, End};
use crate::call::Format;
use crate::client_error::ClientError;
use crate::neutral::*;
use crate::testing;

fn events(frames: &[Value]) -> Vec<Event<'static>> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(serde_json::to_vec(frame).unwrap().leak(), &mut events).unwrap();
    }
    reader.finish(&mut events);
    assert_blocks(&events);
    events
}

/// Asserts that the blocks of a choice do not overlap, and that each choice finishes once.
fn assert_blocks(events: &[Event<'_>]) {
    let (mut open, mut finished) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Start { .. } | Event::Delta { delta: Delta::Logprobs(_), .. } => {}
            Event::BlockStart { choice, .. } => {
                assert!(!open.contains(choice), "{events:#?}");
                open.push(*choice);
            }
            Event::Delta { choice, .. } => assert!(open.contains(choice), "{events:#?}"),
            Event::BlockEnd { choice } => {
                assert!(open.contains(choice), "{events:#?}");
                open.retain(|other| other != choice);
            }
            Event::Finish { choice, .. } => {
                assert!(!open.contains(choice) && !finished.contains(choice), "{events:#?}");
                finished.push(*choice);
            }
        }
    }
}

fn deltas(deltas: &[Value]) -> Vec<Value> {
    deltas.iter().map(|delta| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})).collect()
}

/// Reads deltas of one choice into its parts.
fn parts(all: &[Value]) -> Vec<Part<'static>> {
    answer(&deltas(all)).choices.pop().map(|choice| choice.parts).unwrap_or_default()
}

fn answer(frames: &[Value]) -> Answer<'static> {
    assembled(&events(frames))
}

fn assembled(events: &[Event<'static>]) -> Answer<'static> {
    let mut assembler = Assembler::default();
    for event in events {
        assembler.add(event.clone());
    }
    assembler.finish()
}

fn call(id: &'static str, name: &'static str, arguments: &'static str) -> Part<'static> {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        is_custom: false,
        signature: None,
        cache: None,
    })
}

fn thought(text: &'static str) -> Reasoning<'static> {
    Reasoning { text: text.into(), ..Reasoning::default() }
}

fn signature(vendor: Vendor, data: &'static str) -> Signature<'static> {
    Signature { vendor, data: data.into() }
}

fn calls(pieces: &[Value]) -> Vec<Part<'static>> {
    let all: Vec<Value> = pieces.iter().map(|piece| json!({ "tool_calls": [piece] })).collect();
    parts(&all)
}

#[test]
fn calls_are_told_apart_in_every_dialect() {
    let two = || [call("a", "f", r#"{"x":1}"#), call("b", "g", "{}")];
    let piece = |index: Option<u32>, id: &str, name: &str, arguments: &str| {
        let mut piece = json!({"function": {"arguments": arguments}});
        let mut put = |name: &str, value: Value| piece[name] = value;
        if let Some(index) = index {
            put("index", json!(index));
        }
        if !id.is_empty() {
            put("id", json!(id));
        }
        if !name.is_empty() {
            piece["function"]["name"] = json!(name);
        }
        piece
    };
    let usual = [
        piece(Some(0), "a", "f", ""),
        piece(Some(0), "", "", r#"{"x""#),
        piece(Some(0), "", "", ":1}"),
        piece(Some(1), "b", "g", ""),
        piece(Some(1), "", "", "{}"),
    ];
    assert_eq!(calls(&usual), two());
    let whole = [piece(None, "a", "f", r#"{"x":1}"#), piece(None, "b", "g", "{}")];
    assert_eq!(calls(&whole), two(), "no index");
    let repeating = [piece(Some(0), "a", "f", r#"{"x""#), piece(Some(0), "a", "f", ":1}"), piece(Some(1), "b", "g", "{}")];
    assert_eq!(calls(&repeating), two(), "id and name in every piece");
    let one_index = [piece(Some(0), "a", "f", r#"{"x":1}"#), piece(Some(0), "b", "g", "{}")];
    assert_eq!(calls(&one_index), two(), "the same index for every call");
    let other_ids = [piece(Some(0), "a", "f", r#"{"x""#), piece(Some(0), "z", "", ":1}"), piece(Some(1), "b", "g", "{}")];
    assert_eq!(calls(&other_ids), two(), "another id in every piece");
    let bare = [piece(None, "a", "f", r#"{"x""#), piece(None, "", "", ":1}"), piece(None, "b", "g", "{}")];
    assert_eq!(calls(&bare), two(), "neither index nor id in later pieces");
    let late_name = [piece(Some(0), "a", "", ""), piece(Some(0), "", "f", r#"{"x":1}"#), piece(Some(1), "b", "g", "{}")];
    assert_eq!(calls(&late_name), two(), "the name comes late");
    let nameless = [piece(None, "", "f", r#"{"x":1}"#), piece(None, "", "f", "{}")];
    assert_eq!(calls(&nameless), [call("call_0_f", "f", r#"{"x":1}"#), call("call_1_f", "f", "{}")], "no ids");
    assert_eq!(calls(&[json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}})])[0], two()[0], "an object");
    assert_eq!(
        parts(&[json!({"function_call": {"name": "f", "arguments": "{"}}), json!({"function_call": {"arguments": "}"}})]),
        [call("call_0_f", "f", "{}")]
    );
}

#[test]
fn interleaved_calls_wait_for_the_one_before() {
    let frames = deltas(&[
        json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}]}),
        json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"y\""}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        json!({"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}]}),
        json!({"content": "done"}),
    ]);
    let all = events(&frames);
    let parts = assembled(&all).choices.pop().unwrap().parts;
    assert_eq!(parts, [call("a", "f", r#"{"x":1}"#), call("b", "g", r#"{"y":2}"#), Part::text("done")]);
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    let data: Vec<Vec<u8>> = frames.iter().map(|frame| serde_json::to_vec(frame).unwrap()).collect();
    for data in &data[..3] {
        reader.read(data, &mut seen).unwrap();
    }
    let starts = seen.iter().filter(|event| matches!(event, Event::BlockStart { .. })).count();
    assert_eq!(starts, 2, "the second call opens as soon as the first one is complete");
    let unfinished = calls(&[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x"}}),
        json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}),
    ]);
    assert_eq!(unfinished, [call("a", "f", "{\"x"), call("b", "g", "{}")], "a call that was cut");
}

#[test]
fn a_brace_in_a_string_does_not_end_the_arguments() {
    let pieces = [
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": r#"{"x":"}\"}"#}}),
        json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}),
        json!({"index": 0, "function": {"arguments": r#""}"#}}),
    ];
    assert_eq!(calls(&pieces), [call("a", "f", r#"{"x":"}\"}"}"#), call("b", "g", "{}")]);
}

#[test]
fn custom_calls_are_free_text() {
    let pieces = [
        json!({"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "{}"}}),
        json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
        json!({"index": 0, "custom": {"input": " more"}}),
    ];
    let Part::ToolCall(custom) = call("a", "f", "{} more") else { unreachable!() };
    assert_eq!(calls(&pieces), [Part::ToolCall(ToolCall { is_custom: true, ..custom }), call("b", "g", "{}")]);
}

#[test]
fn reasoning_is_read_wherever_it_stands_and_once() {
    for name in ["reasoning", "reasoning_content"] {
        assert_eq!(
            parts(&[json!({ name: "h" }), json!({ name: "m" }), json!({"content": "x"})]),
            [Part::Reasoning(thought("hm")), Part::text("x")]
        );
    }
    let detail = |text: &str| json!({"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0});
    let signed = json!({"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0});
    let all = parts(&[
        json!({"reasoning": "h", "reasoning_content": "h", "reasoning_details": [detail("h")]}),
        json!({"reasoning": "m", "reasoning_content": "m", "reasoning_details": [detail("m")]}),
        json!({"reasoning": null, "reasoning_details": [signed]}),
        json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "red", "format": "anthropic-claude-v1", "index": 1}]}),
        json!({"content": "x"}),
    ]);
    let first = Reasoning { signature: Some(signature(Vendor::Anthropic, "sig")), ..thought("hm") };
    let second = Reasoning { encrypted: Some(signature(Vendor::Anthropic, "red")), ..thought("") };
    assert_eq!(all, [Part::Reasoning(first), Part::Reasoning(second), Part::text("x")]);
    let summary = json!({"type": "reasoning.summary", "summary": "s", "format": "openai-responses-v1", "index": 0});
    let hidden = json!({"type": "reasoning.encrypted", "data": "e", "format": "openai-responses-v1", "index": 0});
    let other = json!({"type": "reasoning.server_tool_call", "index": 1});
    let all = parts(&[json!({"reasoning": "s", "reasoning_details": [summary]}), json!({"reasoning_details": [hidden, other]})]);
    let expected = Reasoning { is_summary: true, encrypted: Some(signature(Vendor::OpenAi, "e")), ..thought("s") };
    assert_eq!(all[0], Part::Reasoning(expected));
    assert!(matches!(all[1], Part::Opaque { format: Format::Chat, .. }));
}

#[test]
fn mistrals_parts_are_thoughts_and_text() {
    let all = parts(&[
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]}),
        json!({"content": [{"type": "text", "text": "x"}, {"type": "reference", "reference_ids": [1]}]}),
        json!({"content": "y"}),
    ]);
    assert_eq!(all, [Part::Reasoning(thought("hm")), Part::text("xy")]);
}

#[test]
fn googles_signatures_find_their_calls() {
    let with = |part: Part<'static>| {
        let Part::ToolCall(call) = part else { unreachable!() };
        Part::ToolCall(ToolCall { signature: Some(signature(Vendor::Google, "s")), ..call })
    };
    let native = json!({"id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}});
    assert_eq!(calls(std::slice::from_ref(&native)), [with(call("a", "f", "{}"))]);
    let plain = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let detail = |id: Option<&str>| json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "s", "id": id, "format": "google-gemini-v1"}]});
    assert_eq!(parts(&[detail(Some("a")), plain.clone()]), [with(call("a", "f", "{}"))], "before the call");
    assert_eq!(parts(&[plain, detail(Some("a"))]), [with(call("a", "f", "{}"))], "behind the call");
    let text = |text: &'static str| Part::Text {
        text: text.into(),
        citations: vec![],
        cache: None,
        signature: Some(signature(Vendor::Google, "s")),
    };
    assert_eq!(parts(&[json!({"content": "x"}), detail(None)]), [text("x")], "of the text");
    assert_eq!(
        parts(&[json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "f", "arguments": "{}"}}]}), detail(None)])[1],
        text("")
    );
}

#[test]
fn choices_finish_once_at_the_end_whatever_the_server_repeats() {
    let frame = |choices: Value| json!({"id": "x", "model": "m", "created": 3, "choices": choices, "usage": {"prompt_tokens": 1}});
    let all = events(&[
        json!({"id": "", "choices": [], "usage": null, "prompt_filter_results": []}),
        frame(json!([{"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}])),
        frame(json!([{"index": 1, "delta": {"content": "b"}, "finish_reason": ""}])),
        frame(
            json!([{"index": 0, "delta": {"content": "c"}, "finish_reason": "stop"}, {"index": 1, "delta": {}, "finish_reason": "length"}]),
        ),
        frame(json!([])),
    ]);
    assert_eq!(all[0], Event::Start { id: Some("x".into()), model: Some("m".into()), created_s: Some(3) });
    let answer = assembled(&all);
    assert_eq!(answer.choices[0].parts, [Part::text("ac")]);
    assert_eq!(answer.choices[1].parts, [Part::text("b")]);
    let finishes = answer.choices.iter().map(|choice| (choice.finish.reason, choice.finish.native.as_deref()));
    assert_eq!(finishes.collect::<Vec<_>>(), [(Reason::Stop, Some("stop")), (Reason::Length, Some("length"))]);
    let call = json!({"delta": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]}, "finish_reason": "stop"});
    assert_eq!(answer_of(&call).finish.reason, Reason::ToolCalls);
    assert_eq!(answer_of(&json!({"delta": {"content": "x"}})).finish.reason, Reason::Stop, "no reason at all");
}

fn answer_of(choice: &Value) -> Choice<'static> {
    answer(&[json!({ "choices": [choice] })]).choices.pop().unwrap()
}

#[test]
fn refusals_annotations_probabilities_and_bare_texts_are_read() {
    let annotation = json!({"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}});
    let choice = answer(&[
        json!({"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}}]}),
        json!({"choices": [{"delta": {"content": "y"}, "logprobs": {"content": [{"token": "y"}]}}]}),
        json!({"choices": [{"delta": {"annotations": [annotation]}}]}),
        json!({"choices": [{"delta": {"refusal": "no"}}]}),
    ])
    .choices
    .pop()
    .unwrap();
    let citation = Citation::Url { url: "u".into(), title: Some("t".into()), start: Some(0), end: Some(1) };
    let text = Part::Text { text: "xy".into(), citations: vec![citation], cache: None, signature: None };
    assert_eq!(choice.parts, [text, Part::Refusal("no".into())]);
    assert_eq!(choice.logprobs.unwrap().value(), json!([{"token": "x"}, {"token": "y"}]));
    for bare in [
        json!({"content": "x"}),
        json!({"delta": {"content": "x"}}),
        json!({"choices": [{"text": "x"}]}),
        json!({"choices": [{"message": {"content": "x"}}]}),
    ] {
        assert_eq!(answer(&[bare]).choices[0].parts, [Part::text("x")]);
    }
}

#[test]
fn metadata_makes_no_events_and_errors_are_reported() {
    for data in [json!({"type": "ping"}), json!({"choices": []}), json!({"choices": null, "delta": {}})] {
        assert_eq!(events(&[data]), []);
    }
    let read = |data: &'static [u8]| Reader::default().read(data, &mut Vec::new());
    assert_eq!(read(b" [DONE] "), Ok(()));
    assert!(matches!(read(br#"{"error":{"message":"x"}}"#), Err(AnswerError::Reported(_))));
    for data in [&b"<html>"[..], br#"{"choices":7}"#, br#"{"choices":[7]}"#, br#"{"choices":[{"index":128,"delta":{}}]}"#] {
        assert_eq!(read(data), Err(AnswerError::Malformed));
    }
    let many: Vec<Value> = (0..1_100).map(|index| json!({"index": index, "id": format!("c{index}"), "function": {"name": "f"}})).collect();
    let frame = serde_json::to_vec(&json!({"choices": [{"delta": {"tool_calls": many}}]})).unwrap();
    assert_eq!(Reader::default().read(&frame, &mut Vec::new()), Err(AnswerError::Malformed));
}

/// Writes events, and returns the frames.
fn written(events: &[Event<'_>], end: &End<'_>) -> Vec<Value> {
    let mut writer = Writer::default();
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &testing::NAMES, &mut out);
    }
    writer.end(end, &testing::NAMES, &mut out);
    let text = String::from_utf8(out).unwrap();
    let frames = text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap());
    frames.map(|data| if data == "[DONE]" { json!("[DONE]") } else { serde_json::from_str(data).unwrap() }).collect()
}

fn block(block: Block<'static>, deltas: Vec<Delta<'static>>) -> Vec<Event<'static>> {
    let mut all = vec![Event::BlockStart { choice: 0, block }];
    all.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
    all.push(Event::BlockEnd { choice: 0 });
    all
}

fn text(text: &'static str) -> Delta<'static> {
    Delta::Text(text.into())
}

fn finish(choice: u32, reason: Reason) -> Event<'static> {
    Event::Finish { choice, finish: Finish { reason, native: Some("word".into()), ..Finish::default() } }
}

fn everything() -> Vec<Event<'static>> {
    let citation = Citation::Url { url: "u".into(), title: None, start: None, end: None };
    let tool = |id: &'static str| Block::ToolCall { id: id.into(), name: "f".into(), is_custom: false };
    let mut all = vec![Event::Start { id: Some("x".into()), model: None, created_s: None }];
    all.extend(block(
        Block::Reasoning { id: None, is_summary: false },
        vec![text("h"), text("m"), Delta::Signature(signature(Vendor::Anthropic, "s"))],
    ));
    all.extend(block(Block::Text, vec![text("a"), text("b"), Delta::Citation(citation)]));
    all.extend(block(
        Block::Reasoning { id: Some("rs_1".into()), is_summary: true },
        vec![text("sum"), Delta::Encrypted(signature(Vendor::OpenAi, "e"))],
    ));
    all.extend(block(tool("c1"), vec![Delta::Signature(signature(Vendor::Google, "g")), text("{\"x\":"), text("1}")]));
    all.extend(block(tool("c2"), vec![]));
    all.push(finish(0, Reason::ToolCalls));
    all
}

#[test]
fn a_written_stream_reads_back_and_ends_with_finish_usage_and_done() {
    let frames = written(&everything(), &End::Completed(&testing::billed()));
    let first = json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null});
    assert_eq!(frames[0], json!({"id": "gen-1", "object": "chat.completion.chunk", "created": 7, "model": "a/m", "choices": [first]}));
    let thought =
        json!({"reasoning": "h", "reasoning_content": "h", "reasoning_details": [{"type": "reasoning.text", "text": "h", "index": 0}]});
    assert_eq!(frames[1]["choices"][0]["delta"], thought);
    let signed = json!([{"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]);
    assert_eq!(frames[3]["choices"][0]["delta"], json!({"reasoning_details": signed}));
    let last: Vec<_> = frames.iter().rev().take(3).collect();
    let finish = json!({"index": 0, "delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "word"});
    assert_eq!(last[2]["choices"], json!([finish]));
    assert_eq!((&last[1]["choices"], &last[1]["usage"]["prompt_tokens"]), (&json!([]), &json!(5)));
    assert_eq!(last[0], "[DONE]");

    let back = answer(&frames[..frames.len() - 1]).choices.pop().unwrap();
    let expected = assembled(&everything()).choices.pop().unwrap();
    assert_eq!(back.finish.reason, Reason::ToolCalls);
    let fill = |part: &Part<'static>| {
        let mut part = part.clone();
        if let Part::Text { citations, .. } = &mut part {
            *citations = vec![Citation::Url { url: "u".into(), title: Some("".into()), start: Some(0), end: Some(2) }];
        }
        if let Part::ToolCall(ToolCall { arguments, .. }) = &mut part
            && arguments.is_empty()
        {
            *arguments = "{}".into();
        }
        part
    };
    let expected: Vec<_> = expected.parts.iter().map(fill).collect();
    assert_eq!(back.parts, expected, "but the range of the citation, and arguments that clients can parse");
}

/// Joins the deltas of a stream as a simple client does: texts are appended, lists of details concatenated, calls joined by index.
fn accumulated(frames: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []});
    for delta in frames.iter().filter_map(|frame| frame.get("choices")?.get(0)?.get("delta")) {
        let content = format!("{}{}", message["content"].as_str().unwrap(), delta["content"].as_str().unwrap_or_default());
        message["content"] = json!(content);
        let details = delta["reasoning_details"].as_array().cloned().unwrap_or_default();
        message["reasoning_details"].as_array_mut().unwrap().extend(details);
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let calls = message["tool_calls"].as_array_mut().unwrap();
            let place = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
            if calls.len() <= place {
                calls
                    .push(json!({"id": piece["id"], "type": "function", "function": {"name": piece["function"]["name"], "arguments": ""}}));
            }
            let arguments =
                calls[place]["function"]["arguments"].as_str().unwrap().to_owned() + piece["function"]["arguments"].as_str().unwrap();
            calls[place]["function"]["arguments"] = json!(arguments);
        }
    }
    message
}

#[test]
fn signed_thoughts_return_from_a_client_that_only_joins_what_it_gets() {
    let message = accumulated(&written(&everything(), &End::Completed(&testing::billed())));
    let body = serde_json::to_vec(&json!({"model": "m", "messages": [message]})).unwrap();
    let call = crate::call::Call::read(Format::Chat, &body, &crate::call::Addressed::default()).unwrap();
    let parts = call.neutral().unwrap().turns.pop().unwrap().parts;
    let first = Reasoning { signature: Some(signature(Vendor::Anthropic, "s")), ..thought("hm") };
    let second = Reasoning { is_summary: true, id: Some("rs_1".into()), encrypted: Some(signature(Vendor::OpenAi, "e")), ..thought("sum") };
    let tool = |id, arguments: &'static str, signature| {
        Part::ToolCall(ToolCall { id, name: "f".into(), arguments: arguments.into(), is_custom: false, signature, cache: None })
    };
    let google = Some(signature(Vendor::Google, "g"));
    let calls = [tool("c1".into(), "{\"x\":1}", google), tool("c2".into(), "{}", None)];
    assert_eq!(parts[..3], [Part::Reasoning(first), Part::text("ab"), Part::Reasoning(second)], "each in its place");
    assert_eq!(parts[3..], calls);
}

#[test]
fn every_choice_gets_its_finish() {
    let begin = |choice| Event::BlockStart { choice, block: Block::Text };
    let events = [begin(0), begin(2), finish(0, Reason::Stop), finish(2, Reason::StopSequence)];
    let words = |frames: &[Value]| -> Vec<(u64, String)> {
        let choices = frames.iter().filter_map(|frame| frame.get("choices")?.get(0));
        let ended = choices.filter_map(|choice| Some((choice["index"].as_u64()?, choice["finish_reason"].as_str()?.to_owned())));
        ended.collect()
    };
    let (stop, length) = ("stop".to_owned(), "length".to_owned());
    assert_eq!(words(&written(&events, &End::Completed(&testing::billed()))), [(0, stop.clone()), (2, stop.clone())]);
    assert_eq!(words(&written(&events, &End::Length(&testing::billed()))), [(2, length.clone()), (0, length)]);
    assert_eq!(words(&written(&[], &End::Completed(&testing::billed()))), [(0, stop)], "nothing ends without a finish");
}

#[test]
fn a_refused_answer_says_why() {
    let finish = Finish { reason: Reason::Filtered, message: Some("because".into()), ..Finish::default() };
    let frames = written(&[Event::Finish { choice: 0, finish }], &End::Completed(&testing::billed()));
    assert_eq!(frames[1]["choices"][0], json!({"index": 0, "delta": {"refusal": "because"}, "finish_reason": "content_filter"}));
}

#[test]
fn a_broken_stream_ends_with_the_error_only() {
    let metadata = json!({});
    let error = ClientError {
        status: 502,
        message: "gone",
        kind: "upstream_error",
        code: "c",
        has_status_code: false,
        retry_after_s: None,
        param: None,
        metadata: &metadata,
    };
    let frames = written(&[everything().swap_remove(1)], &End::Error(&error));
    let last = frames.last().unwrap();
    assert_eq!((&last["error"]["message"], &last["choices"][0]["finish_reason"]), (&json!("gone"), &json!("error")));
    assert!(frames.iter().all(|frame| frame != "[DONE]" && frame.get("usage").is_none()));
}

#[test]
fn probabilities_and_custom_calls_are_written() {
    let mut events = block(Block::Text, vec![text("x"), Delta::Logprobs(Json::of(&json!([{"token": "x"}])))]);
    events.extend(block(Block::ToolCall { id: "c".into(), name: "f".into(), is_custom: true }, vec![text("free")]));
    let frames = written(&events, &End::Completed(&testing::billed()));
    assert_eq!(frames[2]["choices"][0]["logprobs"], json!({"content": [{"token": "x"}], "refusal": null}));
    let begin = json!({"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}});
    assert_eq!(frames[3]["choices"][0]["delta"], json!({"tool_calls": [begin]}));
    assert_eq!(frames[4]["choices"][0]["delta"], json!({"tool_calls": [{"index": 0, "custom": {"input": "free"}}]}));
}

proptest::proptest! {
    #[test]
    fn never_panics_and_blocks_never_overlap(picks in proptest::collection::vec((0_usize..12, 0_u8..3), 0..40)) {
        let piece = |(pick, number): (usize, u8)| match pick {
            0 => json!({"content": "x"}),
            1 => json!({"reasoning": "r"}),
            2 => json!({"refusal": "n"}),
            3 => json!({"tool_calls": [{"index": number, "id": format!("c{number}"), "function": {"name": "f", "arguments": "{"}}]}),
            4 => json!({"tool_calls": [{"index": number, "function": {"arguments": "}"}}]}),
            5 => json!({"tool_calls": [{"index": number, "id": format!("c{number}")}]}),
            6 => json!({"tool_calls": [{"index": number, "custom": {"name": "g", "input": "i"}}]}),
            7 => json!({"reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "index": number}]}),
            8 => json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "id": format!("c{number}"), "format": "google-gemini-v1"}]}),
            9 => json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "format": "openai-responses-v1"}]}),
            10 => json!({"annotations": [{"type": "x"}]}),
            _ => json!({"tool_calls": [{"function": {"name": "h", "arguments": "{}"}}]}),
        };
        let frames: Vec<Value> = picks.into_iter().map(piece).collect();
        events(&deltas(&frames));
    }
}
