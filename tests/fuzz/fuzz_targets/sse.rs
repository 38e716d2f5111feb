//! Server-sent events: the frames are the same, however the bytes are split into chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::sse::Parser;

fn frames(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let (mut parser, mut frames) = (Parser::default(), Vec::new());
    for piece in pieces {
        parser.push(&piece);
        while let Ok(Some(frame)) = parser.next_frame() {
            frames.push(frame.to_vec());
        }
    }
    frames.extend(parser.finish().map(|frame| frame.to_vec()));
    frames
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, bytes)) = input.split_first() else { return };
    let whole = frames(std::iter::once(bytes.to_vec()));
    let cut = frames(bytes.chunks(usize::from(size % 32) + 1).map(<[u8]>::to_vec));
    assert_eq!(whole, cut);
});
