//! Tests over the scenarios that every format has as fixtures.

use bytes::Bytes;
use events::usage::Tokens;
use serde_json::Value;

use super::{answer, request, stream};
use crate::answer::{Frame, Passing};
use crate::call::Target;
use crate::dialect::Dialect;
use crate::neutral::{Answer, Assembler};
use crate::sse::Parser;
use crate::testing;
use crate::usage::Usage;

struct Scenario {
    name: &'static str,
    request: &'static str,
    answer: &'static str,
    stream: &'static str,
    tokens: Tokens,
}

macro_rules! scenario {
    ($name:literal, $tokens:expr) => {
        Scenario {
            name: $name,
            request: include_str!(concat!("../../fixtures/", $name, "/messages.request.json")),
            answer: include_str!(concat!("../../fixtures/", $name, "/messages.answer.json")),
            stream: include_str!(concat!("../../fixtures/", $name, "/messages.stream.txt")),
            tokens: $tokens,
        }
    };
}

const fn tokens(input: u64, output: u64) -> Tokens {
    Tokens { input, output, ..Tokens::ZERO }
}

const SCENARIOS: [Scenario; 8] = [
    scenario!("plain", tokens(20, 3)),
    scenario!("tools", tokens(50, 30)),
    scenario!("tool_results", Tokens { cache_read: 40, ..tokens(50, 12) }),
    scenario!("image", tokens(300, 4)),
    scenario!("pdf", tokens(700, 5)),
    scenario!("schema", tokens(40, 6)),
    scenario!("reasoning", Tokens { reasoning: 20, ..tokens(10, 5) }),
    scenario!("length", tokens(5, 500)),
];

fn frames(chunks: &[&str]) -> Vec<Bytes> {
    let (mut parser, mut frames) = (Parser::default(), Vec::new());
    for chunk in chunks {
        parser.push(chunk.as_bytes());
        while let Some(frame) = parser.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames.extend(parser.finish());
    frames
}

/// Returns the answer of a stream, and its events as text.
fn assembled(frames: &[Bytes]) -> (Answer<'static>, Vec<String>) {
    let (mut reader, mut assembler, mut all) = (stream::Reader::default(), Assembler::default(), Vec::new());
    for frame in frames {
        let mut events = Vec::new();
        reader.read(frame, &mut events).unwrap();
        for event in events {
            all.push(format!("{event:?}"));
            assembler.add(event);
        }
    }
    (assembler.finish(), all)
}

/// The only exceptions from the round trip are not in the fixtures: explicit nulls and defaults, blocks of one plain text in place of a
/// string, and system turns among the messages.
#[test]
fn requests_make_the_round_trip() {
    for Scenario { name, request, .. } in SCENARIOS {
        let (_, body) = request::read(request.as_bytes()).unwrap();
        let target = Target { model: "m-1", cap: Some(500), dialect: &Dialect::default() };
        let written = request::write(&body.neutral().unwrap(), false, &target).unwrap();
        let [before, after] = [request.as_bytes(), &written].map(|text| serde_json::from_slice::<Value>(text).unwrap());
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn a_stream_makes_the_whole_answer_wherever_it_is_cut() {
    for Scenario { name, answer, stream, .. } in SCENARIOS {
        let (assembled_whole, events) = assembled(&frames(&[stream]));
        assert_eq!(assembled_whole, answer::neutral(answer.as_bytes()).unwrap(), "{name}");
        for cut in 0..stream.len() {
            assert_eq!(assembled(&frames(&[&stream[..cut], &stream[cut..]])).1, events, "{name} {cut}");
        }
    }
}

#[test]
fn answers_and_streams_are_metered_alike() {
    for Scenario { name, answer, stream, tokens, .. } in SCENARIOS {
        let whole = answer::read(answer.as_bytes()).unwrap();
        assert_eq!(whole.usage.map(|usage| (usage.tokens, usage.is_inconsistent)), Some((tokens, false)), "{name}");
        assert_eq!(whole.service_tier.as_deref(), Some("default"), "{name}");
        let (mut usage, mut bytes, mut reason, mut is_done) = (None, 0, None, false);
        for frame in frames(&[stream]) {
            match stream::read_frame(&frame).unwrap() {
                Frame::Done => is_done = true,
                Frame::Chunk(chunk) => {
                    usage = chunk.usage.map(|new| new.after(usage)).or(usage);
                    bytes += chunk.delta.text_bytes;
                    assert_eq!(chunk.passing == Passing::Held, chunk.delta.finish_reason.is_some());
                    reason = reason.or(chunk.delta.finish_reason);
                }
            }
        }
        assert!(is_done, "{name}");
        assert_eq!(usage.map(|usage: Usage| usage.tokens), Some(tokens), "{name}");
        // Text in a string may be escaped once more in a stream than in an object.
        assert!(bytes >= whole.delta.text_bytes && bytes <= whole.delta.text_bytes + 16, "{name}");
        assert_eq!(reason, whole.delta.finish_reason, "{name}");
    }
}

#[test]
fn written_answers_and_streams_read_back() {
    for Scenario { name, answer, stream, .. } in SCENARIOS {
        let neutral = answer::neutral(answer.as_bytes()).unwrap();
        let written = answer::write(&neutral, &testing::NAMES, &testing::billed());
        let back = answer::neutral(&written).unwrap();
        assert_eq!((back.id.as_deref(), back.model.as_deref()), (Some("msg_1"), Some("a/m")), "{name}");
        assert_eq!(back.choices, neutral.choices, "{name}");
        let (mut reader, mut writer, mut text) = (stream::Reader::default(), stream::Writer::default(), Vec::new());
        for frame in frames(&[stream]) {
            let mut events = Vec::new();
            reader.read(&frame, &mut events).unwrap();
            for event in &events {
                writer.write(event, &testing::NAMES, &mut text);
            }
        }
        writer.end(&crate::answer::End::Completed(&testing::billed()), &testing::NAMES, &mut text);
        let (back, _) = assembled(&frames(&[std::str::from_utf8(&text).unwrap()]));
        assert_eq!(back.choices, neutral.choices, "{name}");
    }
}

#[test]
fn a_truncated_body_is_an_error_and_no_panic() {
    for Scenario { name, request, answer, .. } in SCENARIOS {
        for cut in 0..request.trim_end().len() {
            assert!(request::read(&request.as_bytes()[..cut]).is_err(), "{name} {cut}");
        }
        for cut in 0..answer.trim_end().len() {
            assert!(answer::neutral(&answer.as_bytes()[..cut]).is_err(), "{name} {cut}");
            assert!(stream::read_frame(&answer.as_bytes()[..cut]).is_err(), "{name} {cut}");
        }
    }
}
