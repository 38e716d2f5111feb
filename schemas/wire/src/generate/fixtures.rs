//! The scenarios that every format has: round trips, streams against whole answers, and cuts of streams.

use proptest::prelude::*;
use serde_json::Value;

use super::stream::{Reader, Writer};
use super::{answer, request};
use crate::answer::{Billed, End};
use crate::call::{Addressed, Target};
use crate::dialect::Dialect;
use crate::neutral::{Answer, Assembler, Event, Part, Reason};
use crate::sse::Parser;
use crate::testing;

macro_rules! scenario {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../fixtures/", $name, "/generate.request.json")),
            include_str!(concat!("../../fixtures/", $name, "/generate.answer.json")),
            include_str!(concat!("../../fixtures/", $name, "/generate.stream.txt")),
        )
    };
}

/// Each scenario: its name, request, answer and stream.
const SCENARIOS: [(&str, &str, &str, &str); 8] = [
    scenario!("plain"),
    scenario!("tools"),
    scenario!("tool_results"),
    scenario!("image"),
    scenario!("pdf"),
    scenario!("schema"),
    scenario!("reasoning"),
    scenario!("length"),
];

const ADDRESS: Addressed<'static> = Addressed { model: Some("m-1"), stream: false, is_count: false };

/// Requests are written as they were read. Not in these files: names in snake_case become camelCase, URL-safe base64 standard, contents of
/// the model in a row one content, and a result without the keys `output` and `error` text under `output`; the role of
/// `systemInstruction` is left out.
#[test]
fn requests_survive() {
    let dialect = Dialect::default();
    for (name, body, _, _) in SCENARIOS {
        let (head, read) = request::read(body.as_bytes(), &ADDRESS).unwrap();
        let target = Target { model: "m-1", cap: head.output_tokens_max, dialect: &dialect };
        assert_eq!(head.output_tokens_max, Some(500), "{name}");
        let written = request::write(&read.neutral().unwrap(), &target).unwrap();
        let (written, original): (Value, Value) = (serde_json::from_slice(&written).unwrap(), serde_json::from_str(body).unwrap());
        assert_eq!(written, original, "{name}");
        let upstream: Value = serde_json::from_slice(&read.upstream_body(&target)).unwrap();
        assert_eq!(upstream, original, "{name}");
    }
}

/// Reads a stream that arrives in two pieces.
fn streamed(stream: &str, cut: usize) -> Answer<'static> {
    let (mut parser, mut reader, mut assembler) = (Parser::default(), Reader::default(), Assembler::default());
    let (first, second) = stream.as_bytes().split_at(cut);
    let mut read = |frame: &[u8]| {
        let mut events: Vec<Event<'_>> = Vec::new();
        reader.read(frame, &mut events).unwrap();
        for event in events {
            assembler.add(event);
        }
    };
    for piece in [first, second] {
        parser.push(piece);
        while let Some(frame) = parser.next_frame().unwrap() {
            read(&frame);
        }
    }
    if let Some(frame) = parser.finish() {
        read(&frame);
    }
    let mut events = Vec::new();
    reader.finish(&mut events);
    for event in events {
        assembler.add(event);
    }
    assembler.finish()
}

#[test]
fn a_stream_is_its_whole_answer_wherever_it_is_cut() {
    for (name, _, whole, stream) in SCENARIOS {
        let whole = answer::neutral(whole.as_bytes()).unwrap();
        for cut in 0..=stream.len() {
            assert_eq!(streamed(stream, cut), whole, "{name} at {cut}");
        }
    }
}

#[test]
fn answers_and_their_usage_are_as_described() {
    for (name, text, finish, counts) in [
        ("plain", "Paris.", Reason::Stop, [20, 0, 3, 0]),
        ("tools", "Let me look.", Reason::ToolCalls, [50, 0, 30, 0]),
        ("tool_results", "It is sunny and 15:04.", Reason::Stop, [50, 40, 12, 0]),
        ("image", "A dot.", Reason::Stop, [300, 0, 4, 0]),
        ("pdf", "A short file.", Reason::Stop, [700, 0, 5, 0]),
        ("schema", r#"{"city":"Rome"}"#, Reason::Stop, [40, 0, 6, 0]),
        ("reasoning", "42.", Reason::Stop, [10, 0, 5, 20]),
        ("length", "1 2 3", Reason::Length, [5, 0, 500, 0]),
    ] {
        let (_, _, whole, stream) = SCENARIOS.into_iter().find(|scenario| scenario.0 == name).unwrap();
        let read = answer::neutral(whole.as_bytes()).unwrap();
        let texts = read.choices[0].parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_ref()),
            Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => None,
        });
        assert_eq!((texts.collect::<String>().as_str(), read.choices[0].finish.reason), (text, finish), "{name}");
        let usage = answer::read(whole.as_bytes()).unwrap().usage.unwrap();
        let tokens = usage.tokens;
        assert_eq!([tokens.input, tokens.cache_read, tokens.output, tokens.reasoning], counts, "{name}");
        assert!(!usage.is_inconsistent, "{name}");
        let last = stream.trim_end().rsplit("data: ").next().unwrap();
        let crate::answer::Frame::Chunk(chunk) = super::stream::read_frame(last.as_bytes()).unwrap() else { panic!() };
        assert_eq!(chunk.usage.unwrap(), usage, "{name}");
        assert_eq!(chunk.passing, crate::answer::Passing::Held, "{name}");
    }
}

#[test]
fn what_is_written_for_a_client_reads_the_same() {
    for (name, _, whole, _) in SCENARIOS {
        let mut read = answer::neutral(whole.as_bytes()).unwrap();
        let tokens = answer::read(whole.as_bytes()).unwrap().usage.unwrap().tokens;
        let billed = Billed { tokens, ..testing::billed() };
        read.id = Some(testing::NAMES.id.into());
        read.model = Some(testing::NAMES.model.into());
        let written = answer::write(&read, &testing::NAMES, &billed);
        assert_eq!(answer::neutral(&written).unwrap(), read, "{name}");
        assert_eq!(answer::read(&written).unwrap().usage.unwrap().tokens, tokens, "{name}");
    }
}

#[test]
fn a_stream_that_is_written_again_reads_the_same() {
    for (name, _, whole, stream) in SCENARIOS {
        let (mut parser, mut reader, mut writer) = (Parser::default(), Reader::default(), Writer::default());
        let mut out = Vec::new();
        parser.push(stream.as_bytes());
        while let Some(frame) = parser.next_frame().unwrap() {
            let mut events = Vec::new();
            reader.read(&frame, &mut events).unwrap();
            for event in &events {
                writer.write(event, &testing::NAMES, &mut out);
            }
        }
        let mut events = Vec::new();
        reader.finish(&mut events);
        for event in &events {
            writer.write(event, &testing::NAMES, &mut out);
        }
        writer.end(&End::Completed(&testing::billed()), &testing::NAMES, &mut out);
        let again = streamed(&String::from_utf8(out).unwrap(), 0);
        let whole = answer::neutral(whole.as_bytes()).unwrap();
        // A proof comes in a piece of its own.
        let without_proof = |answer: &Answer<'_>| {
            let parts = answer.choices[0].parts.iter().filter_map(|part| {
                let Part::Reasoning(reasoning) = part else { return Some(format!("{part:?}")) };
                (!reasoning.text.is_empty()).then(|| reasoning.text.clone().into_owned())
            });
            parts.collect::<Vec<_>>()
        };
        assert_eq!(without_proof(&again), without_proof(&whole), "{name}");
        assert_eq!(again.choices[0].finish.reason, whole.choices[0].finish.reason, "{name}");
    }
}

/// Passes bytes through everything that reads.
fn read_all(bytes: &[u8]) {
    let target = Target { model: "gemini-3-pro", cap: Some(5), dialect: &Dialect::default() };
    if let Ok((head, body)) = request::read(bytes, &ADDRESS) {
        std::hint::black_box(body.prompt_tokens_counted(head.prompt_tokens_max.unwrap_or(0), |_| 1));
        drop(body.upstream_body(&target));
        drop(body.neutral().map(|request| request::write(&request, &target)));
    }
    drop(answer::read(bytes));
    drop(answer::client_body(bytes, &testing::NAMES, &testing::billed()));
    drop(answer::neutral(bytes).map(|read| answer::write(&read, &testing::NAMES, &testing::billed())));
    let mut out = Vec::new();
    let kept = bytes::Bytes::copy_from_slice(bytes);
    super::stream::end(Some(&kept), &End::Length(&testing::billed()), &testing::NAMES, &mut out);
    let mut events = Vec::new();
    drop(Reader::default().read(bytes, &mut events));
    let mut writer = Writer::default();
    for event in &events {
        writer.write(event, &testing::NAMES, &mut out);
    }
}

proptest! {
    #[test]
    fn damaged_bytes_break_nothing(scenario in 0..SCENARIOS.len(), at in any::<prop::sample::Index>(), length in 0..6_usize, other in "[\\[\\]{}\",:0-9a-z-]{0,4}") {
        let (_, body, whole, stream) = SCENARIOS[scenario];
        for text in [body, whole, stream.split("\r\n").next().unwrap().trim_start_matches("data: ")] {
            let mut bytes = text.as_bytes().to_vec();
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, other.bytes());
            read_all(&bytes);
        }
    }
}
