//! The frames of a provider of Anthropic's format, read as events.

use serde_json::value::RawValue;

use super::answer::{finish, parse};
use super::blocks::{Origin, citation};
use super::members::{all, given, object, text};
use super::thoughts::{self, Proof, Redacted};
use crate::answer::AnswerError;
use crate::call::Format;
use crate::fields::{Edit, Fields};
use crate::neutral::{Block, Delta, Event, Json, Signature, Text};

/// A reader of frames. The blocks of this format do not overlap.
#[derive(Debug, Default)]
pub struct Reader {
    open: Open,
    has_calls: bool,
    /// The signature of the next text or call.
    next: Option<Signature<'static>>,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    Text,
    Reasoning,
    Call {
        /// The arguments that the beginning of the block has; they hold if no others come.
        initial: String,
        has_arguments: bool,
    },
    /// A block that only this format knows; it becomes an event when it is complete.
    Whole {
        raw: String,
        input: String,
    },
}

fn block_start(block: Block<'_>) -> Event<'_> {
    Event::BlockStart { choice: 0, block }
}

fn delta(delta: Delta<'_>) -> Event<'_> {
    Event::Delta { choice: 0, delta }
}

/// Returns a delta of text; `None` for an empty one.
fn piece(text: Option<Text<'_>>) -> Option<Event<'_>> {
    text.filter(|text| !text.is_empty()).map(|text| delta(Delta::Text(text)))
}

fn owned(signature: Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: Text::Owned(signature.data.into_owned()) }
}

impl Reader {
    /// Reads the data of a frame, and appends its events. Frames, blocks and deltas that nobody knows are passed over.
    ///
    /// # Errors
    /// Fails if the frame reports an error, or is not a JSON object.
    pub fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let fields = parse(data)?;
        match text(&fields, "type").as_deref() {
            Some("message_start") => {
                let message = given(&fields, "message").and_then(object).unwrap_or(Fields(Vec::new()));
                events.push(Event::Start { id: text(&message, "id"), model: text(&message, "model"), created_s: None });
            }
            Some("content_block_start") => {
                self.close(events);
                if let Some(raw) = given(&fields, "content_block") {
                    self.begin(raw, events);
                }
            }
            Some("content_block_delta") => {
                if let Some(delta) = given(&fields, "delta").and_then(object) {
                    self.delta(&delta, events);
                }
            }
            Some("content_block_stop") => self.close(events),
            Some("message_delta") => {
                if let Some(delta) = given(&fields, "delta").and_then(object).filter(|delta| given(delta, "stop_reason").is_some()) {
                    self.close(events);
                    self.flush(events);
                    events.push(Event::Finish { choice: 0, finish: finish(&delta, self.has_calls) });
                }
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn begin<'a>(&mut self, raw: &'a RawValue, events: &mut Vec<Event<'a>>) {
        let Some(block) = object(raw) else { return };
        let of = |name: &str| text(&block, name);
        match of("type").as_deref() {
            Some("text") => {
                self.open = Open::Text;
                events.push(block_start(Block::Text));
                self.sign(events);
                events.extend(piece(of("text")));
                let citations = given(&block, "citations").and_then(|raw| all(raw, |raw| Some(citation(raw, Origin::Answer))));
                events.extend(citations.unwrap_or_default().into_iter().map(|citation| delta(Delta::Citation(citation))));
            }
            Some("thinking") => {
                self.open = Open::Reasoning;
                events.push(block_start(Block::Reasoning { id: None, is_summary: false }));
                events.extend(piece(of("thinking")));
                events.extend(of("signature").and_then(proof));
            }
            Some("redacted_thinking") => match thoughts::redacted(of("data").unwrap_or_default()) {
                Redacted::Next(signature) => {
                    self.flush(events);
                    self.next = Some(owned(signature));
                }
                Redacted::Reasoning(reasoning) => {
                    self.open = Open::Reasoning;
                    events.push(block_start(Block::Reasoning { id: None, is_summary: false }));
                    events.extend(reasoning.encrypted.map(|data| delta(Delta::Encrypted(data))));
                }
            },
            Some("tool_use") => {
                self.has_calls = true;
                let initial = given(&block, "input").map_or("{}", RawValue::get).to_owned();
                self.open = Open::Call { initial, has_arguments: false };
                let (id, name) = (of("id").unwrap_or_default(), of("name").unwrap_or_default());
                events.push(block_start(Block::ToolCall { id, name, is_custom: false }));
                self.sign(events);
            }
            Some(_) => self.open = Open::Whole { raw: raw.get().to_owned(), input: String::new() },
            None => {}
        }
    }

    /// Adds the signature that stands before a block.
    fn sign(&mut self, events: &mut Vec<Event<'_>>) {
        events.extend(self.next.take().map(|signature| delta(Delta::Signature(signature))));
    }

    /// Adds an empty text for a signature that nothing follows.
    fn flush(&mut self, events: &mut Vec<Event<'_>>) {
        if let Some(signature) = self.next.take() {
            events.extend([block_start(Block::Text), delta(Delta::Signature(signature)), Event::BlockEnd { choice: 0 }]);
        }
    }

    fn delta<'a>(&mut self, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let of = |name: &str| text(fields, name);
        let kind = of("type");
        match (&mut self.open, kind.as_deref()) {
            (Open::Text, Some("text_delta")) => events.extend(piece(of("text"))),
            (Open::Text, Some("citations_delta")) => {
                let citation = given(fields, "citation").map(|raw| citation(raw, Origin::Answer));
                events.extend(citation.map(|citation| delta(Delta::Citation(citation))));
            }
            (Open::Reasoning, Some("thinking_delta")) => events.extend(piece(of("thinking"))),
            (Open::Reasoning, Some("signature_delta")) => events.extend(of("signature").and_then(proof)),
            (Open::Call { has_arguments, .. }, Some("input_json_delta")) => {
                let piece = piece(of("partial_json"));
                *has_arguments |= piece.is_some();
                events.extend(piece);
            }
            (Open::Whole { input, .. }, Some("input_json_delta")) => input.push_str(&of("partial_json").unwrap_or_default()),
            (Open::None | Open::Text | Open::Reasoning | Open::Call { .. } | Open::Whole { .. }, _) => {}
        }
    }

    /// Ends the open block.
    fn close(&mut self, events: &mut Vec<Event<'_>>) {
        match std::mem::take(&mut self.open) {
            Open::None => return,
            Open::Text | Open::Reasoning | Open::Call { has_arguments: true, .. } => {}
            Open::Call { initial, has_arguments: false } => events.push(delta(Delta::Text(initial.into()))),
            Open::Whole { raw, input } => {
                let raw = whole(&raw, &input).or_else(|| Json::parse(&raw)).unwrap_or_else(|| Json::of(&()));
                events.push(block_start(Block::Opaque { format: Format::Messages, raw }));
            }
        }
        events.push(Event::BlockEnd { choice: 0 });
    }
}

/// Returns a block with the input that its deltas made; `None` if they made none.
fn whole(raw: &str, input: &str) -> Option<Json<'static>> {
    Json::parse(input)?;
    let mut text = Vec::with_capacity(raw.len() + input.len());
    Fields::parse(raw.as_bytes()).ok()?.write(&[("input", Edit::Put(input))], &mut text);
    Json::parse(&String::from_utf8(text).ok()?)
}

fn proof(signature: Text<'_>) -> Option<Event<'_>> {
    thoughts::proof(signature).map(|proof| {
        delta(match proof {
            Proof::Signature(signature) => Delta::Signature(signature),
            Proof::Encrypted(data, _) => Delta::Encrypted(data),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::{Assembler, Finish, Part, Reason, Vendor};

    fn choice(frames: &[&'static str]) -> (Vec<Part<'static>>, Finish<'static>) {
        let (mut reader, mut assembler) = (Reader::default(), Assembler::default());
        for frame in frames {
            let mut events = Vec::new();
            reader.read(frame.as_bytes(), &mut events).unwrap();
            for event in events {
                assembler.add(event);
            }
        }
        let choice = assembler.finish().choices.swap_remove(0);
        (choice.parts, choice.finish)
    }

    const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
    const STOP: &str = r#"{"type":"content_block_stop","index":0}"#;

    #[test]
    fn the_unknown_is_passed_over() {
        let (parts, finish) = choice(&[
            r#"{"type":"ping"}"#,
            r#"{"type":"brand_new","x":1}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lost"}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a","new":1}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","text":"lost"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b","new":1}}"#,
            STOP,
            r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":1}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"brand_new"},"usage":{"output_tokens":1}}"#,
            r#"{"type":"message_stop"}"#,
        ]);
        assert_eq!(parts, [Part::text("ab")]);
        assert_eq!((finish.reason, finish.native.as_deref()), (Reason::Stop, Some("brand_new")));
    }

    #[test]
    fn a_call_without_deltas_has_an_empty_object() {
        let (parts, finish) = choice(&[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"b","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            STOP,
            r#"{"type":"message_delta","delta":{"stop_reason":"new"}}"#,
        ]);
        assert!(matches!(&parts[..], [Part::ToolCall(call)] if call.arguments == "{}"));
        assert_eq!(finish.reason, Reason::ToolCalls, "an unknown reason after a call");
    }

    #[test]
    fn a_block_of_the_vendors_tools_is_whole_and_has_its_input() {
        let (parts, _) = choice(&[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"a","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
            STOP,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","tool_use_id":"a","content":[]}}"#,
            STOP,
            END,
        ]);
        let [Part::Opaque { raw: first, .. }, Part::Opaque { raw: second, .. }] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!(first.get(), r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{"q":1}}"#);
        assert!(second.get().contains("web_search_tool_result"));
    }

    #[test]
    fn signatures_and_redacted_thoughts_find_their_place() {
        let (parts, _) = choice(&[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
            STOP,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"ZW5j"}}"#,
            STOP,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"redacted_thinking","data":"arouter:google-gemini-v1:s"}}"#,
            STOP,
            END,
        ]);
        let of = |vendor, data: &'static str| Some(Signature { vendor, data: data.into() });
        assert!(matches!(&parts[0], Part::Reasoning(thought) if thought.signature == of(Vendor::Anthropic, "c2ln")));
        assert!(matches!(&parts[1], Part::Reasoning(thought) if thought.encrypted == of(Vendor::Anthropic, "ZW5j")));
        assert!(matches!(&parts[2], Part::Text { signature, .. } if *signature == of(Vendor::Google, "s")));
    }

    #[test]
    fn an_error_inside_the_stream_is_an_error() {
        let data = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let error = Reader::default().read(data, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, AnswerError::Reported(error) if error.kind.as_deref() == Some("overloaded_error")));
        assert_eq!(Reader::default().read(b"<html>", &mut Vec::new()), Err(AnswerError::Malformed));
    }
}
