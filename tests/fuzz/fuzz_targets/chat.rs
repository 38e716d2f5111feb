//! Bodies of clients and providers: reading ends, and the results are JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::answer::{self, Frame};
use wire::call::{Call, Format, Target};

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    // Values that serde_json refuses, such as a number out of range, may stay unparsed in a body that is passed on.
    if !is_json(bytes) {
        let _refused = Call::read(Format::Chat, bytes);
        return;
    }
    if let Ok(request) = Call::read(Format::Chat, bytes) {
        assert!(is_json(&request.upstream_body(&Target { model: "a/b", cap: Some(7), cap_field: "max_tokens" })));
    }
    if answer::read(Format::Chat, bytes).is_ok() {
        let body = answer::client_body(Format::Chat, bytes, ("\"gen-1\"", "\"a/b\""), |_| "{}".to_owned()).expect("what was read once is an object");
        assert!(is_json(&body));
    }
    if let Ok(Frame::Chunk(chunk)) = answer::read_frame(Format::Chat, bytes) {
        let mut written = Vec::new();
        chunk.write("\"gen-1\"", "\"a/b\"", &mut written);
        let data = written.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n")).expect("one frame");
        assert!(is_json(data));
    }
});
