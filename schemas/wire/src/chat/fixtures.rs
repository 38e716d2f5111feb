//! Tests of the scenarios that exist in every format.

use serde_json::Value;

use super::{neutral, stream};
use crate::answer::Frame;
use crate::call::{Addressed, Call, Format, Target};
use crate::dialect::Dialect;
use crate::neutral::{Answer, Assembler, Event};
use crate::sse::Parser;

/// The files of a scenario.
struct Scenario {
    name: &'static str,
    request: Vec<u8>,
    answer: Vec<u8>,
    stream: Vec<u8>,
}

fn scenarios() -> [Scenario; 8] {
    let file = |name: &str, file: &str| std::fs::read(format!("{}/fixtures/{name}/chat.{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    ["plain", "tools", "tool_results", "image", "pdf", "schema", "reasoning", "length"].map(|name| Scenario {
        name,
        request: file(name, "request.json"),
        answer: file(name, "answer.json"),
        stream: file(name, "stream.txt"),
    })
}

/// Reads a stream that arrives in pieces.
fn events(pieces: &[&[u8]]) -> Vec<Event<'static>> {
    let mut parser = Parser::default();
    let mut reader = stream::Reader::default();
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece);
        while let Some(frame) = parser.next_frame().unwrap() {
            reader.read(frame.to_vec().leak(), &mut events).unwrap();
        }
    }
    reader.finish(&mut events);
    events
}

/// Returns an answer without its id, which a stream has another one of.
fn nameless(answer: Answer<'_>) -> Answer<'_> {
    Answer { id: None, created_s: None, ..answer }
}

#[test]
fn a_request_comes_back_as_it_was() {
    for Scenario { name, request, .. } in scenarios() {
        let call = Call::read(Format::Chat, &request, &Addressed::default()).unwrap();
        let target = Target { model: "m-1", cap: call.head.output_tokens_max, dialect: &Dialect::default() };
        let written = neutral::write(&call.neutral().unwrap(), false, &target).unwrap();
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(value(&written), value(&request), "{name}");
    }
}

#[test]
fn a_stream_makes_the_whole_answer() {
    for Scenario { name, answer, stream, .. } in scenarios() {
        let mut assembler = Assembler::default();
        for event in events(&[&stream]) {
            assembler.add(event);
        }
        assert_eq!(nameless(assembler.finish()), nameless(neutral::read_answer(&answer).unwrap()), "{name}");
    }
}

#[test]
fn cuts_do_not_matter() {
    for Scenario { name, stream, .. } in scenarios() {
        let whole = events(&[&stream]);
        for cut in 0..stream.len() {
            let (begin, rest) = stream.split_at(cut);
            assert_eq!(events(&[begin, rest]), whole, "{name} at {cut}");
        }
    }
}

#[test]
fn the_stream_and_the_whole_answer_are_metered_alike() {
    for Scenario { name, answer, stream, .. } in scenarios() {
        let whole = super::response::read(&answer).unwrap();
        let mut parser = Parser::default();
        parser.push(&stream);
        let (mut usage, mut bytes) = (None, 0);
        while let Some(frame) = parser.next_frame().unwrap() {
            let Frame::Chunk(chunk) = super::response::read_frame(&frame).unwrap() else { break };
            (usage, bytes) = (chunk.usage.or(usage), bytes + chunk.delta.text_bytes);
        }
        assert_eq!(usage, whole.usage, "{name}");
        assert!(bytes > 0 && usage.is_some(), "{name}");
    }
}
