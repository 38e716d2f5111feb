//! Bodies and frames of one format: reading ends without a panic, and everything that is written is JSON.

use events::usage::Tokens;
use events::{CostStatus, Nanos};
use wire::answer::{self, Billed, End, Frame, Names};
use wire::call::{self, Addressed, Call, Format, Target};
use wire::dialect::Dialect;
use wire::neutral::Assembler;
use wire::output::{Output, Reader};

const FORMATS: [Format; 4] = [Format::Chat, Format::Responses, Format::Messages, Format::Generate];
const NAMES: Names<'static> =
    Names { id: "gen-1-abc", id_json: "\"gen-1-abc\"", model: "a/m", model_json: "\"a/m\"", provider: "p", created_s: 7 };
const BILLED: Billed =
    Billed { tokens: Tokens::ZERO, status: CostStatus::Priced, cost: Nanos(1_500), byok: None, latency_us: Some(9_000), ttft_us: Some(2_000) };

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

/// Checks everything that is done with bytes of a format.
pub fn check(format: Format, bytes: &[u8]) {
    request(format, bytes);
    whole(format, bytes);
    stream(format, bytes);
}

fn request(format: Format, bytes: &[u8]) {
    let address = Addressed { model: Some("m"), ..Addressed::default() };
    let Ok(call) = Call::read(format, bytes, &address) else { return };
    let dialect = Dialect::default();
    let target = Target { model: "a/b", cap: Some(7), dialect: &dialect };
    // Values that serde_json refuses, such as a number out of range, may stay unparsed in a body that is passed on.
    if let Ok(body) = call.upstream_body(format, &target)
        && is_json(bytes)
    {
        assert!(is_json(&body));
    }
    let Ok(neutral) = call.neutral() else { return };
    for to in FORMATS {
        if let Ok(body) = call::write(&neutral, to, false, &target)
            && is_json(bytes)
        {
            assert!(is_json(&body), "{to:?}: {}", String::from_utf8_lossy(&body));
        }
    }
}

fn whole(format: Format, bytes: &[u8]) {
    let _metered = answer::read(format, bytes);
    let Ok(neutral) = answer::neutral(format, bytes) else { return };
    for to in FORMATS {
        let body = answer::write(&neutral, to, &NAMES, &BILLED);
        assert!(!is_json(bytes) || is_json(&body), "{to:?}: {}", String::from_utf8_lossy(&body));
    }
}

/// Takes the bytes as the data of frames, one a line.
fn stream(format: Format, bytes: &[u8]) {
    let (mut reader, mut assembler) = (Reader::new(format), Assembler::default());
    let mut outputs = FORMATS.map(|to| Output::new(format, to));
    let mut written = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut events = Vec::new();
        if reader.read(line, &mut events).is_ok() {
            events.into_iter().for_each(|event| assembler.add(event));
        }
        let Ok(Frame::Chunk(chunk)) = answer::read_frame(format, line) else { continue };
        for output in &mut outputs {
            let _relayed = output.relay(&line.to_vec().into(), &chunk, &NAMES, &mut written);
        }
    }
    let _answer = assembler.finish();
    outputs.iter_mut().for_each(|output| output.end(&End::Completed(&BILLED), &NAMES, &mut written));
}
