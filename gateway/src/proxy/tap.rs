//! The reader of an answer that passes by: it meters frames and whole answers without holding them up.

use axum::body::Bytes;
use http::header;
use serde_json::value::RawValue;
use wire::answer::{Delta, Frame, read, read_frame};
use wire::call::Format;
use wire::sse::Parser;

use crate::attempt::connections::UpstreamResponse;
use crate::content_encoding::Decoder;
use crate::meter::{Measured, Meter};

/// The maximum bytes of an answer that are kept for metering; a larger one is counted as unknown.
const METERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The reader of an answer that passes by.
pub struct Tap {
    format: Option<Format>,
    pub meter: Meter,
    reading: Reading,
    /// The bytes that passed; they are the measure of an answer that cannot be read.
    passed: u64,
}

enum Reading {
    Frames { decoder: Decoder, parser: Parser },
    Whole { decoder: Decoder, body: Vec<u8> },
    Nothing,
}

impl Tap {
    pub fn new(format: Option<Format>, response: &UpstreamResponse, prompt_tokens: u64) -> Self {
        let is_stream = response.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let decoder = Decoder::new(&response.headers, METERED_BYTES_MAX).ok().filter(|_| format.is_some() && response.status.is_success());
        let reading = match decoder {
            Some(decoder) if is_stream => Reading::Frames { decoder, parser: Parser::default() },
            Some(decoder) => Reading::Whole { decoder, body: Vec::new() },
            None => Reading::Nothing,
        };
        let meter = format.map_or_else(|| Meter::new(prompt_tokens), |format| Meter::of(format, prompt_tokens));
        Self { format, meter, reading, passed: 0 }
    }

    /// Notes the next bytes of the answer.
    pub fn note(&mut self, bytes: &Bytes) {
        let Some(format) = self.format else { return };
        self.passed = self.passed.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let is_over = match &mut self.reading {
            Reading::Frames { decoder, parser } => {
                let Ok(bytes) = decoder.push(bytes.clone(), METERED_BYTES_MAX) else { return self.reading = Reading::Nothing };
                parser.push(&bytes);
                while let Ok(Some(frame)) = parser.next_frame() {
                    note_frame(&mut self.meter, format, &frame);
                }
                false
            }
            Reading::Whole { decoder, body } => match decoder.push(bytes.clone(), METERED_BYTES_MAX) {
                Ok(bytes) => {
                    body.extend_from_slice(&bytes);
                    body.len() > METERED_BYTES_MAX
                }
                Err(_) => true,
            },
            Reading::Nothing => false,
        };
        if is_over {
            self.reading = Reading::Nothing;
        }
    }

    /// Reads the answer as a whole once it is complete: an answer, Google's array of frames, or a last frame without its blank line. A
    /// successful answer that cannot be read is not free: it counts by its bytes.
    pub fn finish(&mut self, is_success: bool) {
        let Some(format) = self.format.filter(|_| is_success) else { return };
        match &mut self.reading {
            Reading::Whole { body, .. } => {
                if let Ok(answer) = read(format, body) {
                    return self.meter.note(&answer.delta, answer.usage, answer.service_tier);
                }
                let frames: Vec<&RawValue> = serde_json::from_slice(body).unwrap_or_default();
                for frame in frames {
                    note_frame(&mut self.meter, format, frame.get().as_bytes());
                }
            }
            Reading::Frames { parser, .. } => {
                if let Some(frame) = parser.finish() {
                    note_frame(&mut self.meter, format, &frame);
                }
            }
            Reading::Nothing => {}
        }
        if self.meter.measured() == Measured::UNKNOWN && self.passed > 0 {
            self.meter.note(&Delta { text_bytes: self.passed, finish_reason: None }, None, None);
        }
    }
}

fn note_frame(meter: &mut Meter, format: Format, frame: &[u8]) {
    if let Ok(Frame::Chunk(chunk)) = read_frame(format, frame) {
        meter.note(&chunk.delta, chunk.usage, chunk.service_tier);
    }
}
