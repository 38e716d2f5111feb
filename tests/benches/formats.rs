//! The time that a translation takes: a request of about 100 kB with 40 messages and 20 tools, and one frame of a stream.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use events::usage::Tokens;
use events::{CostStatus, Nanos};
use serde_json::{Value, json};
use tests::vendor::{Api, Counts};
use wire::answer::{Billed, End, Frame, Names, read_frame};
use wire::call::{Addressed, Call, Format, Target};
use wire::dialect::Dialect;
use wire::output::Output;
use wire::sse::Parser;

const FORMATS: [Format; 4] = [Format::Chat, Format::Responses, Format::Messages, Format::Generate];
const NAMES: Names<'static> =
    Names { id: "gen-1-abc", id_json: "\"gen-1-abc\"", model: "a/m", model_json: "\"a/m\"", provider: "p", created_s: 7 };

/// Returns a chat request of about 100 kB: a system text, 40 messages with calls and results among them, and 20 tools.
fn chat() -> Vec<u8> {
    let tool = |number: usize| {
        let properties: Value =
            (0..8).map(|at| (format!("field_{at}"), json!({"type": "string", "description": "d".repeat(60)}))).collect();
        let parameters = json!({"type": "object", "properties": properties, "required": ["field_0"]});
        json!({"type": "function", "function": {"name": format!("tool_{number}"), "description": "t".repeat(200), "parameters": parameters}})
    };
    let text = "Some words of a long conversation. ".repeat(68);
    let mut messages = vec![json!({"role": "system", "content": text})];
    for number in 0..10 {
        let call =
            json!({"id": format!("call_{number}"), "type": "function", "function": {"name": "tool_1", "arguments": "{\"field_0\":\"x\"}"}});
        messages.extend([
            json!({"role": "user", "content": text}),
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": format!("call_{number}"), "content": text}),
            json!({"role": "assistant", "content": text}),
        ]);
    }
    messages.push(json!({"role": "user", "content": "And now?"}));
    json!({"model": "m", "messages": messages, "tools": (0..20).map(tool).collect::<Vec<_>>(), "max_tokens": 500}).to_string().into_bytes()
}

fn requests(criterion: &mut Criterion) {
    let dialect = Dialect::default();
    let target = Target { model: "m", cap: Some(500), dialect: &dialect };
    let address = Addressed { model: Some("m"), ..Addressed::default() };
    let chat = chat();
    assert!((90_000..120_000).contains(&chat.len()), "{} bytes", chat.len());
    for from in FORMATS {
        let body = Call::read(Format::Chat, &chat, &address).unwrap().upstream_body(from, &target).unwrap();
        for to in FORMATS {
            criterion.bench_function(&format!("request {from:?} to {to:?}"), |bencher| {
                bencher.iter(|| Call::read(from, black_box(&body), &address).unwrap().upstream_body(to, &target).unwrap());
            });
        }
    }
}

fn frames(criterion: &mut Criterion) {
    let billed = Billed { tokens: Tokens::ZERO, status: CostStatus::Priced, cost: Nanos(1), byok: None, latency_us: None, ttft_us: None };
    let counts = Counts { input: 20, output: 50, ..Counts::default() };
    for (from, format) in Api::ALL.into_iter().zip(FORMATS) {
        let mut parser = Parser::default();
        for frame in from.begun(&["word "; 1_000], &counts) {
            parser.push(frame.as_bytes());
        }
        let mut all: Vec<Bytes> = Vec::new();
        while let Ok(Some(frame)) = parser.next_frame() {
            all.push(frame);
        }
        for to in FORMATS {
            criterion.bench_function(&format!("1,000 frames {format:?} to {to:?}"), |bencher| {
                bencher.iter(|| {
                    let (mut output, mut written) = (Output::new(format, to), Vec::with_capacity(1 << 20));
                    for frame in &all {
                        if let Ok(Frame::Chunk(chunk)) = read_frame(format, frame) {
                            output.relay(frame, &chunk, &NAMES, &mut written).unwrap();
                        }
                    }
                    output.end(&End::Completed(&billed), &NAMES, &mut written);
                    written
                });
            });
        }
    }
}

criterion_group!(benches, requests, frames);
criterion_main!(benches);
