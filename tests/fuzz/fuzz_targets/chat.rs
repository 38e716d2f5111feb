//! Bodies of clients and providers: reading ends, and what is made of them is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::openai::request::ChatRequest;
use wire::openai::response::{ChatResponse, Frame, client_body};

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    // What serde_json refuses as a value (such as a number out of range) may stand unread in a body that is passed on.
    if !is_json(bytes) {
        let _refused = ChatRequest::parse(bytes);
        return;
    }
    if let Ok(request) = ChatRequest::parse(bytes) {
        assert!(is_json(&request.upstream_body("a/b", Some(7), "max_tokens")));
    }
    if ChatResponse::parse(bytes).is_ok() {
        let body = client_body(bytes, "\"gen-1\"", "\"a/b\"", |_| "{}".to_owned()).expect("what was read once is an object");
        assert!(is_json(&body));
    }
    if let Ok(Frame::Chunk(chunk)) = Frame::parse(bytes) {
        let mut written = Vec::new();
        chunk.write("\"gen-1\"", "\"a/b\"", &mut written);
        let data = written.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\n\n")).expect("one frame");
        assert!(is_json(data));
    }
});
