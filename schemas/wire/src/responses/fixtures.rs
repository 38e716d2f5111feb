//! Tests over the fixtures: each scenario as a request, a whole answer and a stream.

use proptest::prelude::*;
use serde_json::Value;

use super::request;
use super::stream::Reader;
use super::{answer, stream};
use crate::answer::Frame;
use crate::call::Target;
use crate::dialect::Dialect;
use crate::neutral::{Answer, Assembler, Event, Finish, Part, Reason, Role, Source, ToolChoice};
use crate::sse::Parser;

macro_rules! fixture {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../fixtures/", $name, "/responses.request.json")),
            include_str!(concat!("../../fixtures/", $name, "/responses.answer.json")),
            include_str!(concat!("../../fixtures/", $name, "/responses.stream.txt")),
        )
    };
}

/// The name, request, answer and stream of each scenario.
const ALL: [(&str, &str, &str, &str); 8] = [
    fixture!("plain"),
    fixture!("tools"),
    fixture!("tool_results"),
    fixture!("image"),
    fixture!("pdf"),
    fixture!("schema"),
    fixture!("reasoning"),
    fixture!("length"),
];

fn scenario(name: &str) -> (&'static str, &'static str) {
    let (_, request, answer, _) = ALL.into_iter().find(|(own, ..)| *own == name).unwrap();
    (request, answer)
}

fn assembled(stream: &str, cut: usize) -> Answer<'static> {
    let (mut parser, mut reader, mut assembler) = (Parser::default(), Reader::default(), Assembler::default());
    let mut add = |frame: &[u8]| {
        let mut events = Vec::new();
        reader.read(frame, &mut events).unwrap();
        for event in events {
            assembler.add(event);
        }
    };
    for bytes in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
        parser.push(bytes);
        while let Some(frame) = parser.next_frame().unwrap() {
            add(&frame);
        }
    }
    if let Some(frame) = parser.finish() {
        add(&frame);
    }
    assembler.finish()
}

/// The fixtures say what the neutral form holds. Other requests change in these ways: a string as `input` becomes a message; a single text
/// part becomes a string; a leading system message becomes `instructions`; ids, statuses, `phase`, `logprobs` and unknown members of
/// input items are left out; `null` and `stream: false` are left out; `cache_control` becomes a breakpoint; `store` is always false.
#[test]
fn a_request_survives_the_neutral_form() {
    for (name, text, ..) in ALL {
        let (head, body) = request::read(text.as_bytes()).unwrap();
        assert_eq!((head.models, head.output_tokens_max, head.choices, head.stream), (vec!["m-1".to_owned()], Some(500), 1, false));
        let target = Target { model: "m-1", cap: Some(500), dialect: &Dialect::default() };
        let written = request::write(&body.neutral().unwrap(), false, &target).unwrap();
        let [written, original] = [&written, text.as_bytes()].map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap());
        assert_eq!(written, original, "{name}");
        let passed: Value = serde_json::from_slice(&body.upstream_body(&target)).unwrap();
        assert_eq!(passed, original, "{name}");
    }
}

#[test]
fn a_stream_makes_the_whole_answer_wherever_it_is_cut() {
    for (name, _, whole, text) in ALL {
        let whole = answer::neutral(whole.as_bytes()).unwrap();
        for cut in 0..=text.len() {
            assert_eq!(assembled(text, cut), whole, "{name} at {cut}");
        }
    }
}

#[test]
fn the_skim_of_a_stream_is_the_skim_of_the_whole() {
    for (name, _, whole, text) in ALL {
        let whole = answer::read(whole.as_bytes()).unwrap();
        let mut parser = Parser::default();
        parser.push(text.as_bytes());
        let (mut bytes, mut last) = (0, None);
        while let Some(frame) = parser.next_frame().unwrap() {
            let Ok(Frame::Chunk(chunk)) = stream::read_frame(&frame) else { panic!("{name}") };
            bytes += chunk.delta.text_bytes;
            assert!(last.is_none(), "nothing comes after the last frame");
            if chunk.is_last {
                last = Some((chunk.usage, chunk.delta.finish_reason, chunk.service_tier));
            }
        }
        assert!(bytes > 0);
        assert_eq!((bytes, last), (whole.delta.text_bytes, Some((whole.usage, whole.delta.finish_reason, whole.service_tier))), "{name}");
    }
}

#[test]
fn scenarios_read_to_their_contents() {
    let (request, answer) = scenario("tool_results");
    let (_, body) = request::read(request.as_bytes()).unwrap();
    let neutral = body.neutral().unwrap();
    let roles: Vec<_> = neutral.turns.iter().map(|turn| (turn.role, turn.parts.len())).collect();
    assert_eq!(roles, [(Role::User, 1), (Role::Assistant, 3), (Role::User, 2)]);
    assert!(matches!(&neutral.turns[2].parts[1], Part::ToolResult(result) if result.content == [Part::text("15:04")]));
    let usage = answer::read(answer.as_bytes()).unwrap().usage.unwrap();
    assert_eq!((usage.tokens.input, usage.tokens.cache_read, usage.tokens.output), (50, 40, 12));

    let (request, answer) = scenario("tools");
    let (_, body) = request::read(request.as_bytes()).unwrap();
    assert_eq!(body.neutral().unwrap().tool_choice, Some(ToolChoice::Auto));
    let choice = answer::neutral(answer.as_bytes()).unwrap().choices.remove(0);
    assert_eq!((choice.parts.len(), choice.finish.reason), (3, Reason::ToolCalls));

    let (request, answer) = scenario("plain");
    let (_, body) = request::read(request.as_bytes()).unwrap();
    assert_eq!(body.neutral().unwrap().turns[0].role, Role::System);
    let whole = answer::neutral(answer.as_bytes()).unwrap();
    let finish = Finish { reason: Reason::Stop, native: Some("completed".into()), ..Finish::default() };
    assert_eq!((&whole.choices[0].parts, &whole.choices[0].finish), (&vec![Part::text("Paris.")], &finish));
    assert_eq!((whole.id.as_deref(), whole.created_s), (Some("resp_plain"), Some(1_790_000_000)));

    let (request, _) = scenario("pdf");
    let (_, body) = request::read(request.as_bytes()).unwrap();
    let neutral = body.neutral().unwrap();
    let Part::Media(media) = &neutral.turns[0].parts[0] else { panic!() };
    assert_eq!(
        (media.name.as_deref(), media.mime.as_deref(), &media.source),
        (Some("a.pdf"), Some("application/pdf"), &Source::Base64("JVBERi0xLjQK".into()))
    );

    let (_, answer) = scenario("reasoning");
    let choice = answer::neutral(answer.as_bytes()).unwrap().choices.remove(0);
    let Part::Reasoning(reasoning) = &choice.parts[0] else { panic!() };
    assert_eq!((reasoning.text.as_ref(), reasoning.encrypted.as_ref().map(|proof| proof.data.as_ref())), ("Hmm, easy.", Some("c2lnbmVk")));

    let (_, answer) = scenario("length");
    assert_eq!(answer::neutral(answer.as_bytes()).unwrap().choices[0].finish.reason, Reason::Length);
}

#[test]
fn blocks_of_a_stream_do_not_overlap_and_one_finish_comes_last() {
    for (name, .., text) in ALL {
        let (mut parser, mut reader) = (Parser::default(), Reader::default());
        parser.push(text.as_bytes());
        let (mut is_open, mut finishes, mut starts) = (false, 0, 0);
        while let Some(frame) = parser.next_frame().unwrap() {
            let mut events = Vec::new();
            reader.read(&frame, &mut events).unwrap();
            for event in events {
                assert_eq!(finishes, 0, "{name}");
                match event {
                    Event::Start { .. } => starts += 1,
                    Event::BlockStart { .. } => assert!(!std::mem::replace(&mut is_open, true), "{name}"),
                    Event::Delta { .. } => assert!(is_open, "{name}"),
                    Event::BlockEnd { .. } => assert!(std::mem::take(&mut is_open), "{name}"),
                    Event::Finish { .. } => finishes += 1,
                }
            }
        }
        assert_eq!((is_open, finishes, starts), (false, 1, 1), "{name}");
    }
}

proptest! {
    #[test]
    fn broken_bytes_never_panic(scenario in 0..ALL.len(), at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..4)) {
        let (_, request, whole, text) = ALL[scenario];
        let broken = |text: &str| {
            let at = at.index(text.len());
            [&text.as_bytes()[..at], &bytes, text.as_bytes().get(at + bytes.len()..).unwrap_or_default()].concat()
        };
        if let Ok((_, body)) = request::read(&broken(request))
            && let Ok(neutral) = body.neutral()
        {
            let target = Target { model: "m-1", cap: None, dialect: &Dialect::default() };
            drop(request::write(&neutral, true, &target));
        }
        let whole = broken(whole);
        prop_assert_eq!(answer::read(&whole).is_ok(), answer::neutral(&whole).is_ok());
        let (mut parser, mut reader) = (Parser::default(), Reader::default());
        parser.push(&broken(text));
        while let Ok(Some(frame)) = parser.next_frame() {
            let mut events = Vec::new();
            prop_assert_eq!(reader.read(&frame, &mut events).is_ok(), stream::read_frame(&frame).is_ok());
        }
    }
}
