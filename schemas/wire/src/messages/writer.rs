//! Events, written as frames for a client of Anthropic's format.

use std::borrow::Cow;

use super::answer::{FinishBody, citation, id, signature_block};
use super::body::{Block as BlockBody, Typed, free_input};
use super::error;
use super::stream::{block_stop, frame, message_delta, stop};
use super::thoughts::wrapped;
use crate::answer::{Billed, End, Names};
use crate::call::Format;
use crate::fields::quoted;
use crate::neutral::{Block, Delta, Event, Finish, Json, Reason, Signature, Text, Vendor};

/// A writer of frames. This format has one choice; events of others are left out.
#[derive(Debug, Default)]
pub struct Writer {
    has_begun: bool,
    /// The number of the open block, or of the next one.
    index: u64,
    open: Open,
    has_calls: bool,
    has_refusal: bool,
    finish: Option<Finish<'static>>,
}

/// The open block. A block is written with its first content, because a signature stands in a block before it.
#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    Text {
        is_written: bool,
    },
    Reasoning {
        id: Option<String>,
        is_written: bool,
    },
    Call(Call),
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    is_custom: bool,
    signature: Option<Signature<'static>>,
    /// The arguments that are held back: the first piece of an object, or all of free text, which must become an object.
    held: String,
    is_written: bool,
}

fn owned(text: &str) -> Text<'static> {
    Cow::Owned(text.to_owned())
}

impl Writer {
    /// Writes an event.
    pub fn write(&mut self, event: &Event<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.begin(names, into);
        match event {
            Event::BlockStart { choice: 0, block } => {
                self.close(into);
                self.block(block, into);
            }
            Event::Delta { choice: 0, delta } => self.delta(delta, into),
            Event::BlockEnd { choice: 0 } => self.close(into),
            Event::Finish { choice: 0, finish: Finish { reason, native, stop_sequence, message } } => {
                self.close(into);
                let of = |text: &Option<Text<'_>>| text.as_deref().map(owned);
                self.finish = Some(Finish { reason: *reason, native: of(native), stop_sequence: of(stop_sequence), message: of(message) });
            }
            Event::Start { .. } | Event::BlockStart { .. } | Event::Delta { .. } | Event::BlockEnd { .. } | Event::Finish { .. } => {}
        }
    }

    /// Writes the end: the finish with usage and charge and the end mark, or the error. A stream without a finish, or one that its provider
    /// gave up, ends with an error after its charge.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match end {
            End::Completed(billed) => self.completed(billed, names, into),
            End::Length(billed) => {
                self.begin(names, into);
                self.close(into);
                message_delta(&FinishBody::length(), billed, names, into);
                stop(into);
            }
            End::Error(error) => frame("error", &error::body(error, Some(names.id)), into),
        }
    }

    fn completed(&mut self, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
        self.begin(names, into);
        self.close(into);
        let finish = self.finish.take().unwrap_or(Finish { reason: Reason::Broken, ..Finish::default() });
        message_delta(&FinishBody::new(&finish, self.has_calls, self.has_refusal), billed, names, into);
        if finish.reason == Reason::Broken {
            let message = finish.message.or(finish.native);
            let message = message.as_deref().unwrap_or("The provider ended the answer before its end.");
            frame("error", &error::broken(message, names.id), into);
        } else {
            stop(into);
        }
    }

    fn begin(&mut self, names: &Names<'_>, into: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let (id, model) = (quoted(&id(names)), names.model_json);
        let message = format!(
            r#"{{"type":"message_start","message":{{"id":{id},"type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":0,"output_tokens":0}}}}}}"#
        );
        frame("message_start", &message, into);
    }

    fn block(&mut self, block: &Block<'_>, into: &mut Vec<u8>) {
        self.open = match block {
            Block::Text => Open::Text { is_written: false },
            Block::Refusal => {
                self.has_refusal = true;
                Open::Text { is_written: false }
            }
            Block::Reasoning { id, .. } => Open::Reasoning { id: id.as_deref().map(str::to_owned), is_written: false },
            Block::ToolCall { id, name, is_custom } => {
                self.has_calls = true;
                let (id, name) = (id.clone().into_owned(), name.clone().into_owned());
                Open::Call(Call { id, name, is_custom: *is_custom, signature: None, held: String::new(), is_written: false })
            }
            Block::Opaque { format: Format::Messages, raw } => {
                self.whole(&BlockBody::Raw(raw.clone()), into);
                Open::None
            }
            // The trace of another vendor's tools has no meaning here.
            Block::Opaque { .. } => Open::None,
        };
    }

    fn delta(&mut self, delta: &Delta<'_>, into: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::None => {}
            Open::Text { is_written } => self.text(is_written, delta, into),
            Open::Reasoning { id, is_written } => self.reasoning(id, is_written, delta, into),
            Open::Call(mut call) => {
                self.call(&mut call, delta, into);
                self.open = Open::Call(call);
            }
        }
    }

    fn text(&mut self, mut is_written: bool, delta: &Delta<'_>, into: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) if !text.is_empty() => {
                self.start_text(is_written, into);
                self.piece("text_delta", "text", &quoted(text), into);
                is_written = true;
            }
            Delta::Citation(reference) => {
                if let Some(reference) = citation(reference) {
                    self.start_text(is_written, into);
                    self.piece("citations_delta", "citation", &one_line(&reference), into);
                    is_written = true;
                }
            }
            // The signed text is the one after the signature, even if it is empty.
            Delta::Signature(signature) => {
                if let Some(block) = signature_block(signature) {
                    if is_written {
                        self.stop(into);
                    }
                    self.whole(&block, into);
                    self.start_text(false, into);
                    is_written = true;
                }
            }
            Delta::Text(_) | Delta::Encrypted(_) | Delta::Logprobs(_) => {}
        }
        self.open = Open::Text { is_written };
    }

    fn start_text(&self, is_written: bool, into: &mut Vec<u8>) {
        if !is_written {
            self.start(&BlockBody::text(""), into);
        }
    }

    fn reasoning(&mut self, id: Option<String>, mut is_written: bool, delta: &Delta<'_>, into: &mut Vec<u8>) {
        let piece = match delta {
            Delta::Text(text) if !text.is_empty() => Some(("thinking_delta", "thinking", quoted(text))),
            Delta::Signature(signature) => Some(("signature_delta", "signature", quoted(&signature.wrapped(Vendor::Anthropic)))),
            Delta::Encrypted(data) if data.vendor == Vendor::Anthropic => {
                if std::mem::take(&mut is_written) {
                    self.stop(into);
                }
                self.whole(&BlockBody::Typed(Typed::RedactedThinking { data: owned(&data.data) }), into);
                None
            }
            Delta::Encrypted(data) => Some(("signature_delta", "signature", quoted(&wrapped(data, id.as_deref())))),
            Delta::Text(_) | Delta::Citation(_) | Delta::Logprobs(_) => None,
        };
        if let Some((kind, name, value)) = piece {
            if !is_written {
                self.start(&BlockBody::Typed(Typed::Thinking { thinking: "".into(), signature: "".into() }), into);
            }
            self.piece(kind, name, &value, into);
            is_written = true;
        }
        self.open = Open::Reasoning { id, is_written };
    }

    fn call(&mut self, call: &mut Call, delta: &Delta<'_>, into: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) if call.is_custom || (!call.is_written && call.held.is_empty()) => call.held.push_str(text),
            Delta::Text(text) if !text.is_empty() => {
                self.start_call(call, into);
                self.piece("input_json_delta", "partial_json", &quoted(text), into);
            }
            Delta::Signature(signature) => {
                call.signature = Some(Signature { vendor: signature.vendor, data: owned(&signature.data) });
            }
            Delta::Text(_) | Delta::Encrypted(_) | Delta::Citation(_) | Delta::Logprobs(_) => {}
        }
    }

    /// Writes the beginning of a call with what is held back.
    fn start_call(&mut self, call: &mut Call, into: &mut Vec<u8>) {
        if std::mem::replace(&mut call.is_written, true) {
            return;
        }
        if let Some(block) = call.signature.as_ref().and_then(signature_block) {
            self.whole(&block, into);
        }
        let input = Json::of(&serde_json::Map::new());
        self.start(&BlockBody::Typed(Typed::ToolUse { id: owned(&call.id), name: owned(&call.name), input, cache_control: None }), into);
        let held = if call.is_custom { free_input(&call.held).get().to_owned() } else { std::mem::take(&mut call.held) };
        if !held.is_empty() {
            self.piece("input_json_delta", "partial_json", &quoted(&held), into);
        }
    }

    /// Ends the open block; nothing for one without content.
    fn close(&mut self, into: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::None | Open::Text { is_written: false } | Open::Reasoning { is_written: false, .. } => {}
            Open::Text { is_written: true } | Open::Reasoning { is_written: true, .. } => self.stop(into),
            Open::Call(mut call) => {
                self.start_call(&mut call, into);
                self.stop(into);
            }
        }
    }

    /// Writes a block that comes whole.
    fn whole(&mut self, block: &BlockBody<'_>, into: &mut Vec<u8>) {
        self.start(block, into);
        self.stop(into);
    }

    fn start(&self, block: &BlockBody<'_>, into: &mut Vec<u8>) {
        let block = one_line(&Json::of(block));
        frame("content_block_start", &format!(r#"{{"type":"content_block_start","index":{},"content_block":{block}}}"#, self.index), into);
    }

    fn piece(&self, kind: &str, name: &str, value: &str, into: &mut Vec<u8>) {
        let index = self.index;
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{name}":{value}}}}}"#);
        frame("content_block_delta", &data, into);
    }

    fn stop(&mut self, into: &mut Vec<u8>) {
        block_stop(self.index, into);
        self.index += 1;
    }
}

/// Returns JSON text without line ends, which stand only between values.
fn one_line(json: &Json<'_>) -> String {
    json.get().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client_error::ClientError;
    use crate::sse::Parser;
    use crate::testing;

    fn frames(events: &[Event<'_>], end: &End<'_>) -> Vec<Value> {
        let (mut writer, mut text, mut parser) = (Writer::default(), Vec::new(), Parser::default());
        for event in events {
            writer.write(event, &testing::NAMES, &mut text);
        }
        writer.end(end, &testing::NAMES, &mut text);
        parser.push(&text);
        let frames: Vec<Value> =
            std::iter::from_fn(|| parser.next_frame().unwrap()).map(|frame| serde_json::from_slice(&frame).unwrap()).collect();
        let names: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(names, frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect::<Vec<_>>());
        frames
    }

    /// Returns the frames of blocks, and checks the frame of the message before them and the two after them.
    fn blocks(events: Vec<Event<'static>>) -> Vec<Value> {
        let finish = Event::Finish { choice: 0, finish: Finish::default() };
        let mut frames = frames(&[events, vec![finish]].concat(), &End::Completed(&testing::billed()));
        assert_eq!(frames.pop().unwrap(), json!({"type": "message_stop"}));
        assert_eq!(frames.pop().unwrap()["type"], "message_delta");
        assert_eq!(frames.remove(0)["type"], "message_start");
        frames
    }

    fn open(block: Block<'static>) -> Event<'static> {
        Event::BlockStart { choice: 0, block }
    }

    fn text(text: &'static str) -> Event<'static> {
        Event::Delta { choice: 0, delta: Delta::Text(text.into()) }
    }

    fn signed(vendor: Vendor) -> Event<'static> {
        Event::Delta { choice: 0, delta: Delta::Signature(Signature { vendor, data: "s".into() }) }
    }

    const CLOSE: Event<'static> = Event::BlockEnd { choice: 0 };

    fn call(is_custom: bool) -> Event<'static> {
        open(Block::ToolCall { id: "a".into(), name: "f".into(), is_custom })
    }

    fn start(index: u64, block: &Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn piece(index: u64, delta: &Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    fn stopped(index: u64) -> Value {
        json!({"type": "content_block_stop", "index": index})
    }

    #[test]
    fn a_stream_begins_with_the_message_and_ends_with_usage_and_charge() {
        let events = [
            Event::Start { id: Some("x".into()), model: Some("y".into()), created_s: None },
            Event::Finish {
                choice: 0,
                finish: Finish { reason: Reason::StopSequence, stop_sequence: Some("E".into()), ..Finish::default() },
            },
        ];
        let frames = frames(&events, &End::Completed(&testing::billed()));
        assert_eq!(
            frames[0],
            json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "a/m", "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 0, "output_tokens": 0}}})
        );
        assert_eq!(frames[1]["delta"], json!({"stop_reason": "stop_sequence", "stop_sequence": "E"}));
        assert_eq!((&frames[1]["usage"]["input_tokens"], &frames[1]["usage"]["output_tokens"]), (&json!(3), &json!(3)));
        assert_eq!(frames[1]["arouter"], json!({"cost": 0.000_001_5, "generation_id": "gen-1", "provider": "p"}));
        assert_eq!(frames[2], json!({"type": "message_stop"}));
    }

    #[test]
    fn a_signature_of_a_call_stands_before_it_whenever_it_comes() {
        let wrapped = json!({"type": "redacted_thinking", "data": "arouter:google-gemini-v1:s"});
        let tool = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        let delta = json!({"type": "input_json_delta", "partial_json": "{}"});
        let expected = [start(0, &wrapped), stopped(0), start(1, &tool), piece(1, &delta), stopped(1)];
        assert_eq!(blocks(vec![call(false), signed(Vendor::Google), text("{}"), CLOSE]), expected);
        assert_eq!(blocks(vec![call(false), text("{}"), signed(Vendor::Google), CLOSE]), expected);
    }

    #[test]
    fn arguments_pass_in_pieces_and_may_be_empty() {
        let tool = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        let delta = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
        assert_eq!(
            blocks(vec![call(false), text(""), text("{"), text("1"), text("}"), CLOSE]),
            [start(0, &tool), piece(0, &delta("{")), piece(0, &delta("1")), piece(0, &delta("}")), stopped(0)]
        );
        assert_eq!(blocks(vec![call(false), CLOSE]), [start(0, &tool), stopped(0)]);
        assert_eq!(
            blocks(vec![call(true), text("a\""), text("b"), CLOSE]),
            [start(0, &tool), piece(0, &delta(r#"{"input":"a\"b"}"#)), stopped(0)]
        );
    }

    #[test]
    fn a_late_signature_of_a_text_belongs_to_an_empty_text_after_it() {
        let empty = json!({"type": "text", "text": ""});
        let wrapped = json!({"type": "redacted_thinking", "data": "arouter:google-gemini-v1:s"});
        let delta = json!({"type": "text_delta", "text": "x"});
        assert_eq!(
            blocks(vec![open(Block::Text), text("x"), signed(Vendor::Google), CLOSE]),
            [start(0, &empty), piece(0, &delta), stopped(0), start(1, &wrapped), stopped(1), start(2, &empty), stopped(2)]
        );
        assert_eq!(
            blocks(vec![open(Block::Text), signed(Vendor::Google), text("x"), CLOSE]),
            [start(0, &wrapped), stopped(0), start(1, &empty), piece(1, &delta), stopped(1)]
        );
        assert!(blocks(vec![open(Block::Text), text(""), CLOSE]).is_empty());
    }

    #[test]
    fn thoughts_carry_own_and_foreign_proofs() {
        let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
        let reasoning = || open(Block::Reasoning { id: Some("rs_1".into()), is_summary: false });
        let encrypted = |vendor| Event::Delta { choice: 0, delta: Delta::Encrypted(Signature { vendor, data: "e".into() }) };
        let sign = |text: &str| json!({"type": "signature_delta", "signature": text});
        assert_eq!(
            blocks(vec![reasoning(), text("t"), signed(Vendor::Anthropic), CLOSE])[1..],
            [piece(0, &json!({"type": "thinking_delta", "thinking": "t"})), piece(0, &sign("s")), stopped(0)]
        );
        assert_eq!(
            blocks(vec![reasoning(), encrypted(Vendor::OpenAi), CLOSE]),
            [start(0, &thinking), piece(0, &sign("arouter:openai-responses-v1:rs_1:e")), stopped(0)]
        );
        assert_eq!(
            blocks(vec![reasoning(), encrypted(Vendor::Anthropic), CLOSE]),
            [start(0, &json!({"type": "redacted_thinking", "data": "e"})), stopped(0)]
        );
        assert!(blocks(vec![reasoning(), CLOSE]).is_empty());
    }

    #[test]
    fn citations_opaque_blocks_and_other_choices() {
        let raw = || Json::parse("{\"type\":\n\"x\"}").unwrap();
        assert_eq!(
            blocks(vec![open(Block::Opaque { format: Format::Messages, raw: raw() }), CLOSE]),
            [start(0, &json!({"type": "x"})), stopped(0)]
        );
        assert!(blocks(vec![open(Block::Opaque { format: Format::Responses, raw: raw() }), CLOSE]).is_empty());
        let other = Event::BlockStart { choice: 1, block: Block::Text };
        assert!(blocks(vec![other, Event::Delta { choice: 1, delta: Delta::Text("x".into()) }, Event::BlockEnd { choice: 1 }]).is_empty());
        let page = crate::neutral::Citation::Url { url: "u".into(), title: Some("t".into()), start: None, end: None };
        let frames = blocks(vec![open(Block::Text), text("x"), Event::Delta { choice: 0, delta: Delta::Citation(page) }, CLOSE]);
        assert_eq!((&frames[2]["delta"]["type"], &frames[2]["delta"]["citation"]["url"]), (&json!("citations_delta"), &json!("u")));
    }

    #[test]
    fn a_cut_answer_closes_its_block() {
        let frames = frames(&[open(Block::Text), text("x")], &End::Length(&testing::billed()));
        let kinds: Vec<&str> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
        assert_eq!(kinds[3..], ["content_block_stop", "message_delta", "message_stop"]);
        assert_eq!(frames[4]["delta"]["stop_reason"], "max_tokens");
    }

    #[test]
    fn a_broken_answer_never_ends_cleanly() {
        let error = ClientError {
            status: 503,
            message: "m",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &Value::Null,
        };
        let broken = frames(&[open(Block::Text), text("x")], &End::Error(&error));
        assert_eq!(broken.last().unwrap()["error"], json!({"type": "overloaded_error", "message": "m"}));
        let given_up =
            Event::Finish { choice: 0, finish: Finish { reason: Reason::Broken, message: Some("m".into()), ..Finish::default() } };
        for events in [vec![given_up], vec![]] {
            let frames = frames(&events, &End::Completed(&testing::billed()));
            assert_eq!(frames[1]["delta"]["stop_reason"], Value::Null);
            assert_eq!((frames[2]["error"]["type"].as_str(), frames.len()), (Some("api_error"), 3));
        }
    }

    #[test]
    fn calls_and_refusals_decide_over_a_plain_stop() {
        let reason = |block| {
            let finish = Event::Finish { choice: 0, finish: Finish::default() };
            let frames = frames(&[open(block), text("{}"), CLOSE, finish], &End::Completed(&testing::billed()));
            frames[frames.len() - 2]["delta"]["stop_reason"].clone()
        };
        assert_eq!(reason(Block::ToolCall { id: "a".into(), name: "f".into(), is_custom: false }), "tool_use");
        assert_eq!(reason(Block::Refusal), "refusal");
        assert_eq!(reason(Block::Text), "end_turn");
    }
}
