//! The writer of a stream: events into frames.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::annotation::Annotation;
use super::frames::{Body, Frames, ItemBody, PartBody};
use super::output::{self, Outcome, OutputContent, OutputItem, item_id};
use crate::answer::{End, Names};
use crate::call::Format;
use crate::neutral::{Block, Citation, Delta, Event, Finish, Json, Reasoning, Signature, Text};

/// The writer's state.
#[derive(Debug, Default)]
pub struct Writer {
    pub(super) frames: Frames,
    has_begun: bool,
    /// The complete items.
    pub(super) output: Vec<Json<'static>>,
    /// The message that is not complete: neighbouring texts are parts of one message.
    message: Option<Message>,
    block: Option<Open>,
    finish: Finish<'static>,
}

#[derive(Debug)]
struct Message {
    id: String,
    content: Vec<OutputContent<'static>>,
}

/// The open block. Its first frames wait for its first text, because a signature that comes before the text goes out before it.
#[derive(Debug)]
struct Open {
    kind: Kind,
    text: String,
    /// The item's id, once its first frames are written.
    id: Option<String>,
    signature: Option<Signature<'static>>,
}

#[derive(Debug)]
enum Kind {
    Text { annotations: Vec<Json<'static>>, logprobs: Vec<Box<RawValue>> },
    Refusal,
    Reasoning { id: Option<String>, is_summary: bool, encrypted: Option<Signature<'static>> },
    Call { id: String, name: String, is_custom: bool },
}

impl Writer {
    /// Writes an event.
    pub fn write(&mut self, event: &Event<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.start(names, into);
        match event {
            Event::BlockStart { choice: 0, block } => self.begin(block, names, into),
            Event::Delta { choice: 0, delta } => self.delta(delta, names, into),
            Event::BlockEnd { choice: 0 } => self.close(names, into),
            Event::Finish { choice: 0, finish } => {
                let own = |text: &Option<Text<'_>>| text.as_deref().map(|text| Cow::Owned(text.to_owned()));
                let Finish { reason, native, stop_sequence, message } = finish;
                self.finish = Finish { reason: *reason, native: own(native), stop_sequence: own(stop_sequence), message: own(message) };
            }
            // This format has one choice.
            Event::Start { .. } | Event::BlockStart { .. } | Event::Delta { .. } | Event::BlockEnd { .. } | Event::Finish { .. } => {}
        }
    }

    /// Writes the end: the whole answer with its usage, or the error.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.start(names, into);
        let finish = std::mem::take(&mut self.finish);
        let (outcome, billed) = match end {
            End::Completed(billed) => (Outcome::of(&finish), Some(*billed)),
            End::Length(billed) => (Outcome::LENGTH, Some(*billed)),
            End::Error(error) => (Outcome::of_error(error), None),
        };
        if billed.is_some() {
            self.close(names, into);
            self.complete_message(outcome.item_status(), into);
        }
        let response = json(output::response(&outcome, &self.output, names, billed));
        self.frames.write(outcome.event(), Body { response: Some(&response), ..Body::default() }, into);
    }

    fn start(&mut self, names: &Names<'_>, into: &mut Vec<u8>) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        let response = json(output::response(&Outcome::InProgress, &[], names, None));
        for kind in ["response.created", "response.in_progress"] {
            self.frames.write(kind, Body { response: Some(&response), ..Body::default() }, into);
        }
    }

    fn begin(&mut self, block: &Block<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.close(names, into);
        let kind = match block {
            Block::Text => Kind::Text { annotations: Vec::new(), logprobs: Vec::new() },
            Block::Refusal => Kind::Refusal,
            Block::Reasoning { id, is_summary } => {
                Kind::Reasoning { id: id.as_deref().map(str::to_owned), is_summary: *is_summary, encrypted: None }
            }
            Block::ToolCall { id, name, is_custom } => {
                Kind::Call { id: id.clone().into_owned(), name: name.clone().into_owned(), is_custom: *is_custom }
            }
            Block::Opaque { format: Format::Responses, raw } => {
                self.complete_message("completed", into);
                return self.item(raw.clone().into_owned(), into);
            }
            // A vendor's own trace has no place here.
            Block::Opaque { format: Format::Chat | Format::Messages | Format::Generate | Format::Embeddings(_), .. } => return,
        };
        self.block = Some(Open { kind, text: String::new(), id: None, signature: None });
    }

    fn delta(&mut self, delta: &Delta<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) if text.is_empty() => {}
            Delta::Text(text) => self.text(text, names, into),
            Delta::Signature(signature) => {
                if let Some(open) = &mut self.block {
                    open.signature = Some(owned(signature));
                }
            }
            Delta::Encrypted(signature) => {
                if let Some(Open { kind: Kind::Reasoning { encrypted, .. }, .. }) = &mut self.block {
                    *encrypted = Some(owned(signature));
                }
            }
            Delta::Citation(citation) => self.citation(citation, names, into),
            Delta::Logprobs(raw) => self.logprobs(raw, names, into),
        }
    }

    /// Writes a piece of the open block's text.
    fn text(&mut self, text: &str, names: &Names<'_>, into: &mut Vec<u8>) {
        self.begin_item(names, into);
        let (at, content_index) = (self.output.len(), self.content_index());
        let Some(Open { kind, text: all, id: Some(id), .. }) = &mut self.block else { return };
        all.push_str(text);
        let body = Body { item_id: Some(id), output_index: Some(at), delta: Some(text), ..Body::default() };
        let (kind, body) = match kind {
            Kind::Text { .. } => ("response.output_text.delta", Body { content_index: Some(content_index), logprobs: Some(&[]), ..body }),
            Kind::Refusal => ("response.refusal.delta", Body { content_index: Some(content_index), ..body }),
            Kind::Reasoning { is_summary: true, .. } => ("response.reasoning_summary_text.delta", Body { summary_index: Some(0), ..body }),
            Kind::Reasoning { is_summary: false, .. } => ("response.reasoning_text.delta", Body { content_index: Some(0), ..body }),
            Kind::Call { is_custom: false, .. } => ("response.function_call_arguments.delta", body),
            Kind::Call { is_custom: true, .. } => ("response.custom_tool_call_input.delta", body),
        };
        self.frames.write(kind, body, into);
    }

    fn citation(&mut self, citation: &Citation<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.begin_item(names, into);
        let (at, content_index) = (self.output.len(), self.content_index());
        let Some(Open { kind: Kind::Text { annotations, .. }, text, id: Some(id), .. }) = &mut self.block else { return };
        let Some(annotation) = Annotation::of(citation, text).map(|annotation| Json::of(&annotation)) else { return };
        let body = Body {
            item_id: Some(id),
            output_index: Some(at),
            content_index: Some(content_index),
            annotation: Some(&annotation),
            annotation_index: Some(annotations.len()),
            ..Body::default()
        };
        self.frames.write("response.output_text.annotation.added", body, into);
        annotations.push(annotation);
    }

    /// Writes the probabilities of tokens, beside a piece without text.
    fn logprobs(&mut self, raw: &Json<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        if !matches!(self.block, Some(Open { kind: Kind::Text { .. }, .. })) {
            return;
        }
        self.begin_item(names, into);
        let (at, content_index) = (self.output.len(), self.content_index());
        let Some(Open { kind: Kind::Text { logprobs, .. }, id: Some(id), .. }) = &mut self.block else { return };
        let more: Vec<Box<RawValue>> = raw.read().unwrap_or_default();
        let body = Body {
            item_id: Some(id),
            output_index: Some(at),
            content_index: Some(content_index),
            delta: Some(""),
            logprobs: Some(&more),
            ..Body::default()
        };
        self.frames.write("response.output_text.delta", body, into);
        logprobs.extend(more);
    }

    fn content_index(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.content.len())
    }

    /// Writes the first frames of the open block, once.
    fn begin_item(&mut self, names: &Names<'_>, into: &mut Vec<u8>) {
        let Some(mut open) = self.block.take() else { return };
        if open.id.is_none() {
            let signature = if matches!(open.kind, Kind::Reasoning { .. }) { None } else { open.signature.take() };
            if let Some(signature) = signature {
                self.complete_message("completed", into);
                self.signature(&signature, names, into);
            }
            open.id = Some(match &open.kind {
                Kind::Text { .. } => {
                    let part = OutputContent::OutputText { annotations: Vec::new(), logprobs: Vec::new(), text: "".into() };
                    self.begin_part(&part, names, into)
                }
                Kind::Refusal => self.begin_part(&OutputContent::Refusal { refusal: "".into() }, names, into),
                Kind::Reasoning { id, is_summary, .. } => self.begin_reasoning(id.as_deref(), *is_summary, names, into),
                Kind::Call { id, name, is_custom } => {
                    self.complete_message("completed", into);
                    let item = item_id(output::call_prefix(*is_custom), names, self.output.len());
                    self.added(output::call(&item, id, name, "", *is_custom, "in_progress"), into);
                    item
                }
            });
        }
        self.block = Some(open);
    }

    /// Begins a part of the message, and the message if there is none.
    fn begin_part(&mut self, part: &OutputContent<'static>, names: &Names<'_>, into: &mut Vec<u8>) -> String {
        if self.message.is_none() {
            let id = item_id("msg", names, self.output.len());
            self.added(OutputItem::Message { id: &id, status: "in_progress", role: "assistant", content: &[] }, into);
            self.message = Some(Message { id, content: Vec::new() });
        }
        let id = self.message.as_ref().map(|message| message.id.clone()).unwrap_or_default();
        let (output_index, content_index) = (Some(self.output.len()), Some(self.content_index()));
        let part = Some(PartBody::Content(part));
        self.frames.write(
            "response.content_part.added",
            Body { item_id: Some(&id), output_index, content_index, part, ..Body::default() },
            into,
        );
        id
    }

    /// Ends the open block.
    fn close(&mut self, names: &Names<'_>, into: &mut Vec<u8>) {
        match &self.block {
            Some(Open { kind: Kind::Call { is_custom: false, .. }, text, .. }) if text.is_empty() => self.text("{}", names, into),
            Some(Open { kind: Kind::Call { .. }, .. }) => self.begin_item(names, into),
            Some(_) | None => {}
        }
        let Some(Open { kind, text, id, signature }) = self.block.take() else { return };
        let late = match (kind, id) {
            (Kind::Text { annotations, logprobs }, Some(id)) => {
                self.close_text(&id, &text, &logprobs, into);
                self.close_part(&id, OutputContent::OutputText { annotations, logprobs, text: text.into() }, into);
                signature
            }
            (Kind::Refusal, Some(id)) => {
                let (output_index, content_index) = (Some(self.output.len()), Some(self.content_index()));
                let refusal = Some(text.as_str());
                self.frames.write(
                    "response.refusal.done",
                    Body { item_id: Some(&id), output_index, content_index, refusal, ..Body::default() },
                    into,
                );
                self.close_part(&id, OutputContent::Refusal { refusal: text.into() }, into);
                None
            }
            (Kind::Reasoning { id: own, is_summary, encrypted }, id) => {
                let reasoning = Reasoning { text: text.into(), is_summary, signature, encrypted, id: None };
                self.close_reasoning(own.as_deref(), id, &reasoning, names, into);
                None
            }
            (Kind::Call { id: call_id, name, is_custom }, Some(id)) => {
                self.close_call(&id, &name, &text, is_custom, into);
                self.item_done(Json::of(&output::call(&id, &call_id, &name, &text, is_custom, "completed")), into);
                signature
            }
            // A text without text; its signature stands alone.
            (Kind::Text { .. } | Kind::Refusal | Kind::Call { .. }, None) => signature,
        };
        if let Some(signature) = late {
            self.complete_message("completed", into);
            self.signature(&signature, names, into);
        }
    }

    fn close_text(&mut self, id: &str, text: &str, logprobs: &[Box<RawValue>], into: &mut Vec<u8>) {
        let (output_index, content_index) = (Some(self.output.len()), Some(self.content_index()));
        let body = Body { item_id: Some(id), output_index, content_index, text: Some(text), logprobs: Some(logprobs), ..Body::default() };
        self.frames.write("response.output_text.done", body, into);
    }

    fn close_part(&mut self, id: &str, part: OutputContent<'static>, into: &mut Vec<u8>) {
        let (output_index, content_index) = (Some(self.output.len()), Some(self.content_index()));
        let body = Body { item_id: Some(id), output_index, content_index, part: Some(PartBody::Content(&part)), ..Body::default() };
        self.frames.write("response.content_part.done", body, into);
        if let Some(message) = &mut self.message {
            message.content.push(part);
        }
    }

    fn close_call(&mut self, id: &str, name: &str, text: &str, is_custom: bool, into: &mut Vec<u8>) {
        let body = Body { item_id: Some(id), output_index: Some(self.output.len()), ..Body::default() };
        let (kind, body) = if is_custom {
            ("response.custom_tool_call_input.done", Body { input: Some(text), ..body })
        } else {
            ("response.function_call_arguments.done", Body { name: Some(name), arguments: Some(text), ..body })
        };
        self.frames.write(kind, body, into);
    }

    /// Writes the item of a signature of a call or text.
    fn signature(&mut self, signature: &Signature<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        let id = item_id("rs", names, self.output.len());
        self.added(output::reasoning(&id, &Reasoning::default()), into);
        self.item_done(Json::of(&output::signature(&id, signature)), into);
    }

    /// Ends the message.
    pub(super) fn complete_message(&mut self, status: &'static str, into: &mut Vec<u8>) {
        if let Some(Message { id, content }) = self.message.take() {
            self.item_done(Json::of(&OutputItem::Message { id: &id, status, role: "assistant", content: &content }), into);
        }
    }

    pub(super) fn added(&mut self, item: OutputItem<'_>, into: &mut Vec<u8>) {
        let body = Body { output_index: Some(self.output.len()), item: Some(ItemBody::Begun(item)), ..Body::default() };
        self.frames.write("response.output_item.added", body, into);
    }

    pub(super) fn item_done(&mut self, item: Json<'static>, into: &mut Vec<u8>) {
        let body = Body { output_index: Some(self.output.len()), item: Some(ItemBody::Done(&item)), ..Body::default() };
        self.frames.write("response.output_item.done", body, into);
        self.output.push(item);
    }

    /// Writes an item that comes whole.
    fn item(&mut self, item: Json<'static>, into: &mut Vec<u8>) {
        let body = Body { output_index: Some(self.output.len()), item: Some(ItemBody::Done(&item)), ..Body::default() };
        self.frames.write("response.output_item.added", body, into);
        self.item_done(item, into);
    }
}

fn json(bytes: Vec<u8>) -> Json<'static> {
    Json::parse(&String::from_utf8(bytes).unwrap_or_default()).unwrap_or_else(|| Json::of(&()))
}

fn owned(signature: &Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: Cow::Owned(signature.data.clone().into_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client_error::ClientError;
    use crate::neutral::{Answer, Assembler, Reason, Vendor};
    use crate::responses::stream::Reader;
    use crate::sse::Parser;
    use crate::testing;

    const START: Event<'static> = Event::Start { id: None, model: None, created_s: None };
    const BLOCK_END: Event<'static> = Event::BlockEnd { choice: 0 };

    fn begin(block: Block<'static>) -> Event<'static> {
        Event::BlockStart { choice: 0, block }
    }

    fn delta(delta: Delta<'static>) -> Event<'static> {
        Event::Delta { choice: 0, delta }
    }

    fn text(text: &'static str) -> Event<'static> {
        delta(Delta::Text(text.into()))
    }

    fn finish(reason: Reason) -> Event<'static> {
        Event::Finish { choice: 0, finish: Finish { reason, ..Finish::default() } }
    }

    fn call(is_custom: bool) -> Event<'static> {
        begin(Block::ToolCall { id: "c".into(), name: "f".into(), is_custom })
    }

    fn signature(vendor: Vendor) -> Signature<'static> {
        Signature { vendor, data: "s".into() }
    }

    fn written(events: &[Event<'static>], end: &End<'_>) -> Vec<Value> {
        let (mut writer, mut out) = (Writer::default(), Vec::new());
        for event in events {
            writer.write(event, &testing::NAMES, &mut out);
        }
        writer.end(end, &testing::NAMES, &mut out);
        let all = String::from_utf8(out).unwrap();
        let frame = |(number, frame): (usize, &str)| {
            let (event, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
            assert_eq!(data["sequence_number"], number);
            data
        };
        all.trim_end().split("\n\n").enumerate().map(frame).collect()
    }

    fn completed(events: &[Event<'static>]) -> Vec<Value> {
        written(events, &End::Completed(&testing::billed()))
    }

    fn kinds(frames: &[Value]) -> Vec<&str> {
        frames.iter().map(|frame| frame["type"].as_str().unwrap().trim_start_matches("response.")).collect()
    }

    fn output(frames: &[Value]) -> &Vec<Value> {
        frames.last().unwrap()["response"]["output"].as_array().unwrap()
    }

    #[test]
    fn the_grammar_of_an_answer_with_every_kind_of_block() {
        let frames = completed(&[
            START,
            begin(Block::Reasoning { id: None, is_summary: true }),
            text("s"),
            delta(Delta::Encrypted(signature(Vendor::OpenAi))),
            BLOCK_END,
            begin(Block::Reasoning { id: Some("rs_own".into()), is_summary: false }),
            text("t"),
            BLOCK_END,
            begin(Block::Text),
            text("a"),
            text("b"),
            delta(Delta::Citation(Citation::Url { url: "https://x".into(), title: None, start: None, end: None })),
            BLOCK_END,
            begin(Block::Refusal),
            text("no"),
            BLOCK_END,
            call(false),
            text("{\"a\":"),
            text("1}"),
            BLOCK_END,
            call(true),
            text("free"),
            BLOCK_END,
            finish(Reason::ToolCalls),
        ]);
        let expected = "created in_progress \
            output_item.added reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done output_item.done \
            output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done output_item.done \
            output_item.added content_part.added output_text.delta output_text.delta output_text.annotation.added output_text.done content_part.done \
            content_part.added refusal.delta refusal.done content_part.done output_item.done \
            output_item.added function_call_arguments.delta function_call_arguments.delta function_call_arguments.done output_item.done \
            output_item.added custom_tool_call_input.delta custom_tool_call_input.done output_item.done \
            completed";
        assert_eq!(kinds(&frames).join(" "), expected);
        let piece = &frames[17];
        assert_eq!(
            *piece,
            json!({"type":"response.output_text.delta","sequence_number":17,"item_id":"msg_1_2","output_index":2,"content_index":0,"delta":"b","logprobs":[]})
        );
        let done: Vec<&Value> =
            frames.iter().filter(|frame| frame["type"] == "response.output_item.done").map(|frame| &frame["item"]).collect();
        assert_eq!(done, output(&frames).iter().collect::<Vec<_>>());
        assert_eq!((&done[0]["encrypted_content"], &done[1]["id"]), (&json!("s"), &json!("rs_own")));
        assert_eq!(
            done[3],
            &json!({"type":"function_call","id":"fc_1_3","call_id":"c","name":"f","arguments":"{\"a\":1}","status":"completed"})
        );
        let last = &frames.last().unwrap()["response"];
        assert_eq!(
            (&last["id"], &last["usage"]["output_tokens"], &last["arouter"]["provider"]),
            (&json!("resp_1"), &json!(3), &json!("p"))
        );
        assert_eq!((&frames[0]["response"]["status"], &frames[0]["response"]["usage"]), (&json!("in_progress"), &Value::Null));
    }

    #[test]
    fn what_is_written_is_read_alike() {
        let events = [
            START,
            begin(Block::Reasoning { id: Some("rs".into()), is_summary: true }),
            text("s"),
            delta(Delta::Signature(signature(Vendor::Anthropic))),
            BLOCK_END,
            begin(Block::Text),
            text("é\n"),
            delta(Delta::Logprobs(Json::of(&json!([{"token":"é","bytes":[195,169],"logprob":-1.0,"top_logprobs":[]}])))),
            BLOCK_END,
            call(false),
            text("{\"a\":\"\\n\"}"),
            BLOCK_END,
            begin(Block::Opaque { format: Format::Responses, raw: Json::of(&json!({"type":"web_search_call","id":"w"})) }),
            BLOCK_END,
        ];
        let mut out = Vec::new();
        let (mut writer, mut direct, mut again) = (Writer::default(), Assembler::default(), Assembler::default());
        for event in &events {
            writer.write(event, &testing::NAMES, &mut out);
            direct.add(event.clone());
        }
        writer.end(&End::Completed(&testing::billed()), &testing::NAMES, &mut out);
        let (mut parser, mut reader) = (Parser::default(), Reader::default());
        parser.push(&out);
        while let Some(frame) = parser.next_frame().unwrap() {
            let mut events = Vec::new();
            reader.read(&frame, &mut events).unwrap();
            for event in events {
                again.add(event);
            }
        }
        let (Answer { choices: direct, .. }, Answer { choices: again, .. }) = (direct.finish(), again.finish());
        assert_eq!((&direct[0].parts, &direct[0].logprobs), (&again[0].parts, &again[0].logprobs));
    }

    #[test]
    fn signatures_stand_before_what_they_sign_if_they_come_in_time() {
        let wrapped = |item: &Value| item["encrypted_content"] == "arouter:google-gemini-v1:s";
        let signed = || delta(Delta::Signature(signature(Vendor::Google)));
        let frames = completed(&[START, begin(Block::Text), text("a"), BLOCK_END, call(false), signed(), text("{}"), BLOCK_END]);
        let types: Vec<_> = output(&frames).iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["message", "reasoning", "function_call"]);
        assert!(wrapped(&output(&frames)[1]) && output(&frames)[1]["summary"] == json!([]));
        let late = completed(&[START, begin(Block::Text), text("a"), signed(), BLOCK_END]);
        assert!(output(&late)[0]["type"] == "message" && wrapped(&output(&late)[1]));
        let alone = completed(&[START, begin(Block::Text), signed(), BLOCK_END]);
        assert!(wrapped(&output(&alone)[0]) && output(&alone).len() == 1);
    }

    #[test]
    fn proofs_without_text_are_told_apart() {
        let reasoning = || begin(Block::Reasoning { id: None, is_summary: false });
        let frames = completed(&[
            START,
            reasoning(),
            delta(Delta::Signature(signature(Vendor::Anthropic))),
            BLOCK_END,
            reasoning(),
            delta(Delta::Encrypted(signature(Vendor::Anthropic))),
            BLOCK_END,
            reasoning(),
            BLOCK_END,
        ]);
        let summaries: Vec<_> = output(&frames).iter().map(|item| &item["summary"]).collect();
        assert_eq!(summaries, [&json!([{"type":"summary_text","text":""}]), &json!([])]);
    }

    #[test]
    fn empty_blocks_are_valid() {
        let frames = completed(&[START, begin(Block::Text), BLOCK_END, call(false), BLOCK_END, call(true), BLOCK_END]);
        let output = output(&frames);
        assert_eq!((output.len(), &output[0]["arguments"], &output[1]["input"]), (2, &json!("{}"), &json!("")));
        assert_eq!(kinds(&frames)[3], "function_call_arguments.delta", "a client that adds pieces has the object too");
        let foreign = begin(Block::Opaque { format: Format::Messages, raw: Json::of(&json!({})) });
        assert_eq!(kinds(&completed(&[START, foreign, BLOCK_END])), ["created", "in_progress", "completed"]);
        assert_eq!(kinds(&completed(&[])), ["created", "in_progress", "completed"]);
        let second = Event::BlockStart { choice: 1, block: Block::Text };
        assert_eq!(kinds(&completed(&[START, second])), ["created", "in_progress", "completed"]);
    }

    #[test]
    fn each_end_has_its_event() {
        let billed = testing::billed();
        let open = [START, begin(Block::Text), text("a")];
        let frames = written(&open, &End::Length(&billed));
        let last = &frames.last().unwrap()["response"];
        assert_eq!((kinds(&frames).pop(), &last["incomplete_details"]["reason"]), (Some("incomplete"), &json!("max_output_tokens")));
        assert_eq!((&last["output"][0]["status"], &last["output"][0]["content"][0]["text"]), (&json!("incomplete"), &json!("a")));
        let metadata = json!({});
        let error = ClientError {
            status: 502,
            message: "broke off",
            kind: "upstream_error",
            code: "provider_error",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &metadata,
        };
        let frames = written(&open, &End::Error(&error));
        let last = &frames.last().unwrap()["response"];
        assert_eq!((kinds(&frames).pop(), &last["error"]), (Some("failed"), &json!({"code":"server_error","message":"broke off"})));
        for (reason, kind) in
            [(Reason::Stop, "completed"), (Reason::Filtered, "incomplete"), (Reason::Paused, "incomplete"), (Reason::Broken, "failed")]
        {
            assert_eq!(kinds(&completed(&[START, finish(reason)])).pop(), Some(kind));
        }
        let cut = written(&[START, finish(Reason::Stop)], &End::Length(&billed));
        assert_eq!(kinds(&cut).pop(), Some("incomplete"), "the cut counts");
    }
}
