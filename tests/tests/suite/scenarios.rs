//! The scenarios of `schemas/wire/fixtures`, each written in every format as its vendor writes it: all four mean the same, and every pair of formats
//! translates requests, answers and streams without a loss.

use events::usage::Tokens;
use events::{CostStatus, Nanos};
use wire::answer::{self, Billed, End, Names};
use wire::call::{self, Addressed, Call, Format, Target};
use wire::dialect::Dialect;
use wire::neutral::{Answer, Assembler, Choice, Event, Finish, OutputFormat, Part, Request, Role, Tool, ToolChoice, Turn};
use wire::output::{Output, Reader};
use wire::sse::Parser;

const FORMATS: [Format; 4] = [Format::Chat, Format::Responses, Format::Messages, Format::Generate];
const SCENARIOS: [&str; 8] = ["plain", "tools", "tool_results", "image", "pdf", "schema", "reasoning", "length"];
/// The bound on the answer in every request.
const CAP: u64 = 500;

const NAMES: Names<'static> =
    Names { id: "gen-1-abc", id_json: "\"gen-1-abc\"", model: "a/m-1", model_json: "\"a/m-1\"", provider: "p", created_s: 7 };

const BILLED: Billed = Billed {
    tokens: Tokens::ZERO,
    status: CostStatus::Priced,
    cost: Nanos(1_500),
    byok: None,
    latency_us: Some(9_000),
    ttft_us: Some(2_000),
};

fn fixture(scenario: &str, format: Format, kind: &str) -> Vec<u8> {
    let name = match format {
        Format::Chat => "chat",
        Format::Responses => "responses",
        Format::Messages => "messages",
        Format::Generate => "generate",
        Format::Embeddings(_) => "embeddings",
    };
    let path = tests::arouter::repository().join("schemas/wire/fixtures").join(scenario).join(format!("{name}.{kind}"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn addressed() -> Addressed<'static> {
    Addressed { model: Some("m-1"), ..Addressed::default() }
}

fn request(format: Format, body: &[u8]) -> Request<'_> {
    let call =
        Call::read(format, body, &addressed()).unwrap_or_else(|error| panic!("{format:?}: {error}: {}", String::from_utf8_lossy(body)));
    meaning(call.neutral().unwrap())
}

/// Returns a request without what not every format can say: the names of results and files, the wish to be strict, the way of the default.
fn meaning(mut request: Request<'_>) -> Request<'_> {
    request.source = Format::Chat;
    request.extras.clear();
    for turn in &mut request.turns {
        turn.role = if turn.role == Role::Developer { Role::System } else { turn.role };
    }
    let mut turns = request.merged_turns();
    turns.sort_by_key(|turn| turn.role != Role::System);
    // Ids are compared by their order, since not every model of Google's has them.
    let mut ids: Vec<String> = Vec::new();
    for part in turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Part::ToolCall(call) = part {
            ids.push(call.id.to_string());
            call.id = format!("id {}", ids.len() - 1).into();
        }
        match part {
            Part::ToolResult(result) => {
                result.name = None;
                result.call_id = format!("id {}", ids.iter().position(|id| *id == result.call_id).unwrap()).into();
            }
            // Arguments are text on one side and a value on the other.
            Part::ToolCall(call) => call.arguments = serde_json::from_str::<serde_json::Value>(&call.arguments).unwrap().to_string().into(),
            Part::Media(media) => (media.name, media.detail) = (None, None),
            _ => {}
        }
    }
    request.turns = turns;
    for tool in &mut request.tools {
        if let Tool::Function { strict, .. } = tool {
            *strict = strict.filter(|strict| *strict);
        }
    }
    request.tool_choice = request.tool_choice.filter(|choice| *choice != ToolChoice::Auto);
    request.parallel_tool_calls = request.parallel_tool_calls.filter(|parallel| !parallel);
    let settings = &mut request.settings;
    settings.output_tokens_max = None;
    settings.shows_reasoning = None;
    settings.choices = 0;
    if let OutputFormat::Schema { name, description, strict, .. } = &mut settings.output {
        (*name, *description, *strict) = (None, None, None);
    }
    request
}

/// Returns an answer without ids, names, times and signatures.
fn content(answer: Answer<'_>) -> Answer<'_> {
    let choices = answer.choices.into_iter().map(|choice| {
        let parts = choice.parts.into_iter().filter_map(|part| match part {
            Part::Reasoning(reasoning) if reasoning.text.is_empty() => None,
            Part::Reasoning(reasoning) => Some(Part::Reasoning(wire::neutral::Reasoning { text: reasoning.text, ..Default::default() })),
            Part::Text { text, .. } if text.is_empty() => None,
            part => Some(part),
        });
        Choice { parts: parts.collect(), finish: Finish { reason: choice.finish.reason, ..Finish::default() }, logprobs: None }
    });
    Answer { choices: choices.collect(), ..Answer::default() }
}

fn frames(bytes: &[u8], cut: usize) -> Vec<bytes::Bytes> {
    let (mut parser, mut all) = (Parser::default(), Vec::new());
    for piece in [&bytes[..cut], &bytes[cut..]] {
        parser.push(piece);
        while let Some(frame) = parser.next_frame().unwrap() {
            all.push(frame);
        }
    }
    all.extend(parser.finish());
    all
}

/// Returns the answer that a stream makes, and its number of events.
fn assembled(format: Format, stream: &[u8], cut: usize) -> (Answer<'static>, usize) {
    let (mut reader, mut assembler, mut count) = (Reader::new(format), Assembler::default(), 0);
    for frame in frames(stream, cut) {
        let mut events: Vec<Event<'_>> = Vec::new();
        reader.read(&frame, &mut events).unwrap_or_else(|error| panic!("{format:?}: {error}: {}", String::from_utf8_lossy(&frame)));
        count += events.len();
        for event in events {
            assembler.add(event);
        }
    }
    let mut events = Vec::new();
    reader.finish(&mut events);
    count += events.len();
    for event in events {
        assembler.add(event);
    }
    (assembler.finish(), count)
}

/// Returns a stream of one format as a client of another gets it.
fn translated(from: Format, to: Format, stream: &[u8]) -> Vec<u8> {
    let (mut output, mut written) = (Output::new(from, to), Vec::new());
    for frame in frames(stream, 0) {
        match answer::read_frame(from, &frame).unwrap() {
            answer::Frame::Done => break,
            answer::Frame::Chunk(chunk) => output.relay(&frame, &chunk, &NAMES, &mut written).unwrap(),
        }
    }
    output.end(&End::Completed(&BILLED), &NAMES, &mut written);
    written
}

#[test]
fn a_request_means_the_same_in_every_format() {
    for scenario in SCENARIOS {
        let chat = fixture(scenario, Format::Chat, "request.json");
        let expected = request(Format::Chat, &chat);
        for format in FORMATS {
            let body = fixture(scenario, format, "request.json");
            let mut read = request(format, &body);
            if format == Format::Responses && scenario == "length" {
                // Responses has no stop sequences.
                read.settings.stop.clone_from(&expected.settings.stop);
            }
            assert_eq!(read, expected, "{scenario}, {format:?}");
        }
    }
}

#[test]
fn every_pair_of_formats_translates_a_request_without_loss() {
    let dialect = Dialect { has_developer_role: true, ..Dialect::default() };
    let target = Target { model: "m-1", cap: Some(CAP), dialect: &dialect };
    for scenario in SCENARIOS {
        for (from, to) in FORMATS.into_iter().flat_map(|from| FORMATS.map(|to| (from, to))) {
            let body = fixture(scenario, from, "request.json");
            let call = Call::read(from, &body, &addressed()).unwrap();
            let neutral = call.neutral().unwrap();
            let written = match call::write(&neutral, to, false, &target) {
                Ok(written) => written,
                Err(error) => {
                    let is_known = scenario == "length" && to == Format::Responses;
                    assert!(is_known, "{scenario}, {from:?} to {to:?}: {error}");
                    continue;
                }
            };
            let back = request(to, &written);
            assert_eq!(back, meaning(neutral), "{scenario}, {from:?} to {to:?}: {}", String::from_utf8_lossy(&written));
        }
    }
}

#[test]
fn a_stream_is_its_whole_answer_wherever_it_is_cut() {
    for (scenario, format) in SCENARIOS.into_iter().flat_map(|scenario| FORMATS.map(|format| (scenario, format))) {
        let (whole, stream) = (fixture(scenario, format, "answer.json"), fixture(scenario, format, "stream.txt"));
        let expected = content(answer::neutral(format, &whole).unwrap());
        assert!(!expected.choices.is_empty(), "{scenario}, {format:?}");
        let (_, count) = assembled(format, &stream, 0);
        for cut in 0..=stream.len() {
            let (answer, events) = assembled(format, &stream, cut);
            assert_eq!((content(answer), events), (expected.clone(), count), "{scenario}, {format:?}, cut at {cut}");
        }
    }
}

#[test]
fn an_answer_means_the_same_in_every_format() {
    for scenario in SCENARIOS {
        let chat = fixture(scenario, Format::Chat, "answer.json");
        let expected = content(answer::neutral(Format::Chat, &chat).unwrap());
        for format in FORMATS {
            let body = fixture(scenario, format, "answer.json");
            assert_eq!(content(answer::neutral(format, &body).unwrap()), expected, "{scenario}, {format:?}");
        }
    }
}

#[test]
fn every_pair_of_formats_translates_an_answer_whole_and_streamed() {
    for scenario in SCENARIOS {
        for (from, to) in FORMATS.into_iter().flat_map(|from| FORMATS.map(|to| (from, to))) {
            let (whole, stream) = (fixture(scenario, from, "answer.json"), fixture(scenario, from, "stream.txt"));
            let neutral = answer::neutral(from, &whole).unwrap();
            let written = answer::write(&neutral, to, &NAMES, &BILLED);
            let expected = content(neutral);
            let back = answer::neutral(to, &written).unwrap();
            assert_eq!(content(back), expected, "{scenario}, {from:?} to {to:?}: {}", String::from_utf8_lossy(&written));
            let written = translated(from, to, &stream);
            let (back, _) = assembled(to, &written, 0);
            assert_eq!(content(back), expected, "{scenario}, {from:?} to {to:?}: {}", String::from_utf8_lossy(&written));
        }
    }
}

#[test]
fn usage_is_read_alike_from_the_answer_and_the_stream_in_every_format() {
    for (scenario, format) in SCENARIOS.into_iter().flat_map(|scenario| FORMATS.map(|format| (scenario, format))) {
        let (whole, stream) = (fixture(scenario, format, "answer.json"), fixture(scenario, format, "stream.txt"));
        let chat = answer::read(Format::Chat, &fixture(scenario, Format::Chat, "answer.json")).unwrap().usage.unwrap();
        let of_whole = answer::read(format, &whole).unwrap().usage.unwrap();
        assert_eq!(of_whole.tokens, chat.tokens, "{scenario}, {format:?}");
        let mut of_stream = None;
        for frame in frames(&stream, 0) {
            if let answer::Frame::Chunk(chunk) = answer::read_frame(format, &frame).unwrap() {
                of_stream = chunk.usage.map(|usage| usage.after(of_stream)).or(of_stream);
            }
        }
        assert_eq!(of_stream.unwrap().tokens, of_whole.tokens, "{scenario}, {format:?}");
    }
}

#[test]
fn turns_of_one_role_are_one_turn() {
    let turn = |text: &'static str| Turn { role: Role::User, parts: vec![Part::text(text)], name: None };
    let request = Request { turns: vec![turn("a"), turn("b")], ..Request::new(Format::Chat) };
    assert_eq!(request.merged_turns().len(), 1);
}
