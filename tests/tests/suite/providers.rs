//! Responses of providers: odd frames, odd counts, odd errors, long silences. Each is interpreted as it was meant and charged correctly.

use std::time::Duration;

use events::clock::{Clock, SystemClock, rfc3339};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::coding::{brotli, gzip, zstd};
use tests::scripted::{DONE, Script, frame, piece, reply, say, sse, stop, tail, usage, whole};
use tests::wait::until;
use tests::{Answer, Arouter, Scripted, Storage};
use tokio_util::sync::CancellationToken;

/// The charge of [`usage`] in nano-USD.
const USUAL: i64 = 20_000;

fn ask() -> Value {
    json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]})
}

fn ask_stream() -> Value {
    with(ask(), &json!({"stream": true}))
}

/// Returns a body with further fields.
fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Starts a provider and a gateway that uses it, with further configuration.
async fn start(config: &str) -> (Scripted, Arouter) {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &format!("{config}\n{}", provider.config())).await;
    (provider, arouter)
}

/// Starts two providers, `fake` and `second`, and a gateway that uses both.
async fn start_two(config: &str) -> (Scripted, Scripted, Arouter) {
    let (provider, second) = (Scripted::start().await, Scripted::start().await);
    let config = format!("{config}\n{}{}", provider.config(), second.config_as("second", ""));
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    (provider, second, arouter)
}

/// Returns a request with both models as candidates.
fn ask_two(stream: bool) -> Value {
    json!({"models": ["fake/m", "second/m"], "stream": stream, "messages": [{"role": "user", "content": "x"}]})
}

/// Makes the provider send a stream of these chunks, and returns the response that the client gets.
async fn stream_of<T: AsRef<[u8]>>(provider: &Scripted, arouter: &Arouter, pieces: impl IntoIterator<Item = T>) -> Answer {
    provider.answer(sse().all(pieces));
    Answer::of(arouter, &ask_stream()).await
}

/// A stream that a client reads chunk by chunk.
struct Listener {
    response: reqwest::Response,
    text: String,
}

impl Listener {
    /// Requests a stream, and returns once its head is there.
    async fn start(arouter: &Arouter, body: &Value) -> Self {
        let url = format!("{}/v1/chat/completions", arouter.base);
        let sending = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body(body.to_string()).send();
        let response = tokio::time::timeout(Duration::from_secs(5), sending).await.expect("a head while the provider thinks").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, text: String::new() }
    }

    /// Reads until this text has come this many times.
    async fn hear(&mut self, what: &str, times: usize) {
        let hearing = async {
            while self.text.matches(what).count() < times {
                let piece = self.response.chunk().await.unwrap().unwrap_or_else(|| panic!("it ended without {what:?}: {}", self.text));
                self.text.push_str(std::str::from_utf8(&piece).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(5), hearing).await.unwrap_or_else(|_| panic!("no {what:?} in time"));
    }

    /// Reads to the end.
    async fn end(self) -> Answer {
        let mut answer = Answer::read(self.response).await;
        answer.text.insert_str(0, &self.text);
        answer
    }
}

/// Returns the response to a stream that starts with a chunk `one`. The provider sends the rest only after the client has read that
/// chunk.
async fn stream_behind_one<T: AsRef<[u8]>>(provider: &Scripted, arouter: &Arouter, rest: impl IntoIterator<Item = T>) -> Answer {
    let gate = CancellationToken::new();
    provider.answer(sse().then(say("one ")).until(&gate).all(rest));
    let mut listener = Listener::start(arouter, &ask_stream()).await;
    listener.hear("\"one \"", 1).await;
    gate.cancel();
    listener.end().await
}

/// Asserts that a stream is complete, has this text, and is charged this much.
fn assert_complete(answer: &Answer, says: &str, cost: i64, case: &str) {
    assert!(answer.is_complete(), "{case}: {} {}", answer.status, answer.text);
    assert_eq!((answer.content().as_str(), answer.cost()), (says, cost), "{case}: {}", answer.text);
}

/// Asserts that a stream broke off: it has an error frame and no end mark.
fn assert_broken_off(answer: &Answer, case: &str) {
    let is_marked = answer.text.contains("\"finish_reason\":\"error\"") && !answer.text.contains("[DONE]");
    assert!(answer.status == StatusCode::OK && is_marked && !answer.error().is_null(), "{case}: {} {}", answer.status, answer.text);
}

#[tokio::test]
async fn a_byte_order_mark_before_the_first_line_is_passed_over() {
    let (provider, arouter) = start("").await;
    let rest = [say("FIRST "), say("second"), stop(), tail(&usage())].concat();
    let marked = [b"\xef\xbb\xbf", rest.as_bytes()].concat();
    assert_complete(&stream_of(&provider, &arouter, [&marked]).await, "FIRST second", USUAL, "in one piece");
    let gap = Duration::from_millis(30);
    for cut in 1..=3 {
        provider.answer(sse().then(&marked[..cut]).pause(gap).then(&marked[cut..]));
        let answer = Answer::of(&arouter, &ask_stream()).await;
        assert_complete(&answer, "FIRST second", USUAL, &format!("split behind byte {cut}"));
    }
    let inside = [say("\u{feff}FIRST "), say("second\u{feff}"), stop(), tail(&usage())];
    let answer = stream_of(&provider, &arouter, &inside).await;
    assert_complete(&answer, "\u{feff}FIRST second\u{feff}", USUAL, "a mark inside the text is text");
    provider.answer(reply("200 OK", "", format!("\u{feff}{}", whole("one", &usage()))));
    let answer = Answer::of(&arouter, &ask()).await;
    assert_eq!((answer.status, &answer.json()["choices"][0]["message"]["content"]), (StatusCode::OK, &json!("one")), "{}", answer.text);
}

#[tokio::test]
async fn an_empty_finish_reason_is_no_end() {
    let (provider, second, mut arouter) = start_two("").await;
    let empty = |text: &str| frame(&piece(&json!({"role": "assistant", "content": text}), ""));
    let answer = stream_of(&provider, &arouter, [empty("one "), empty("two "), empty("thr")]).await;
    assert_broken_off(&answer, "cut after three pieces");
    assert_eq!(answer.content(), "one two thr");
    let ended = arouter.generation(answer.header("x-generation-id")).await;
    assert_eq!((&ended["outcome"], &ended["finish_reason"]), (&json!("failed"), &Value::Null), "{ended}");

    let answer = stream_of(&provider, &arouter, [empty("one "), empty("two"), stop(), tail(&usage())]).await;
    assert_complete(&answer, "one two", USUAL, "a real reason behind empty ones");
    let ended = arouter.generation(answer.header("x-generation-id")).await;
    assert_eq!((&ended["outcome"], &ended["finish_reason"]), (&json!("finished"), &json!("stop")), "{ended}");

    second.answer(sse().all([say("from the second"), stop(), tail(&usage())]));
    provider.answer(sse().then(empty("")));
    let answer = Answer::of(&arouter, &ask_two(true)).await;
    assert_complete(&answer, "from the second", USUAL, "nothing was said yet, so the next candidate is asked");

    let mut unfinished = whole("one", &usage());
    unfinished["choices"][0]["finish_reason"] = json!("");
    provider.answer(reply("200 OK", "", unfinished.to_string()));
    let answer = Answer::of(&arouter, &ask()).await;
    let ended = arouter.generation(answer.header("x-generation-id")).await;
    assert_eq!((answer.cost(), &ended["finish_reason"]), (USUAL, &Value::Null), "a whole answer: {ended}");
    let rows = arouter.usage(4).await;
    assert_eq!(rows.iter().map(|row| -nanos(&row["amount"])).collect::<Vec<_>>(), [USUAL, USUAL, USUAL, 0]);
    arouter.settle_and_verify().await;
}

/// Frames without content.
#[tokio::test]
async fn frames_without_choices_are_metadata() {
    let (provider, mut arouter) = start("").await;
    let (one, two, end, last) = (say("one "), say("two"), stop(), tail(&usage()));
    let usage_alone = frame(&json!({"id": "c", "usage": usage()}));
    let metrics = frame(&json!({"id": "c", "object": "chat.completion.chunk", "choices": null, "sla_metrics": {"ttft_ms": 3}}));
    let cases: [(&str, [&str; 6]); 8] = [
        ("a ping first", ["data: {\"type\":\"ping\"}\n\n", &one, &two, &end, &last, ""]),
        ("an empty object first", ["data: {}\n\n", &one, &two, &end, &last, ""]),
        ("null choices first", [&metrics, &one, &two, &end, &last, ""]),
        ("a ping in the middle", [&one, "data: {\"type\":\"ping\"}\n\n", &two, &end, &last, ""]),
        ("a named event in the middle", [&one, "event: ping\ndata: {}\n\n", &two, &end, &last, ""]),
        ("usage without choices", [&one, &two, &end, &usage_alone, DONE, ""]),
        ("null choices before the usage", [&one, &two, &end, &metrics, &usage_alone, DONE]),
        ("null choices behind the usage", [&one, &two, &end, &usage_alone, &metrics, DONE]),
    ];
    let count = cases.len();
    for (case, pieces) in cases {
        assert_complete(&stream_of(&provider, &arouter, pieces).await, "one two", USUAL, case);
    }
    // This is Novita's trailer without any usage, so the chunks are counted.
    let answer = stream_of(&provider, &arouter, [&one, &two, &end, &metrics, DONE]).await;
    assert!(answer.is_complete() && answer.content() == "one two" && answer.cost() > 0, "null choices last: {}", answer.text);
    let rows = arouter.usage(count + 1).await;
    assert!(rows.iter().all(|row| nanos(&row["amount"]) < 0), "each of them is paid for");
    arouter.settle_and_verify().await;
}

/// Text in fields that only some servers use.
#[tokio::test]
async fn text_is_relayed_and_charged_in_whichever_field_it_stands() {
    let (provider, mut arouter) = start("").await;
    let text = "words ".repeat(100);
    let cases = [
        ("text of a choice", json!({"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": null}]})),
        ("reasoning_text of a delta", piece(&json!({"reasoning_text": text}), Value::Null)),
        ("reasoning_content of a delta", piece(&json!({"reasoning_content": text}), Value::Null)),
        ("thinking of a delta", piece(&json!({"thinking": text}), Value::Null)),
        ("details of a delta", piece(&json!({"reasoning_details": [{"type": "reasoning.text", "text": text}]}), Value::Null)),
        ("parts of a delta", piece(&json!({"content": [{"type": "text", "text": text}]}), Value::Null)),
        (
            "a message instead of a delta",
            json!({"id": "c", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": null}]}),
        ),
    ];
    for (case, delta) in &cases {
        let answer = stream_of(&provider, &arouter, [frame(delta), stop(), DONE.to_owned()]).await;
        assert!(answer.is_complete() && answer.text.contains(&text), "{case}: {} {}", answer.status, answer.text);
        // The text of 600 bytes has about 150 tokens, at 2 USD per million.
        assert!((300_000..900_000).contains(&answer.cost()), "{case}: {} nano-USD: {}", answer.cost(), answer.usage());
    }
    let both = with(piece(&json!({"content": ""}), Value::Null), &json!({"id": "c"}));
    let answer = stream_of(&provider, &arouter, [frame(&both), frame(&cases[1].1), say("one"), stop(), tail(&usage())]).await;
    assert_complete(&answer, "one", USUAL, "a provider's own counts go first");
    arouter.usage(cases.len() + 1).await;
    arouter.settle_and_verify().await;
}

/// A frame that is not a JSON object is malformed. It breaks an answer only if the answer is not complete.
#[tokio::test]
async fn a_malformed_trailer_leaves_a_complete_answer_complete() {
    let (provider, mut arouter) = start("").await;
    let (delta, finished) = (say("one two"), with(piece(&json!({}), "stop"), &json!({"usage": usage()})));
    let (end, finished, last) = (stop(), frame(&finished), tail(&usage()));
    for trailer in ["data: <html>bye</html>\n\n", "data: {\"id\":\"c\",\"cho", "data: [1, 2]\n\ndata: [DONE]\n\n", "data: \n\n"] {
        let answer = stream_of(&provider, &arouter, [delta.as_str(), &finished, trailer]).await;
        assert_complete(&answer, "one two", USUAL, &format!("usage, then {trailer:?}"));
        let answer = stream_of(&provider, &arouter, [delta.as_str(), &end, trailer]).await;
        assert!(answer.is_complete() && answer.content() == "one two" && answer.cost() > 0, "{trailer:?} {}", answer.text);
    }
    for malformed in ["data: <html>bye</html>\n\n", "data: [1, 2]\n\n"] {
        let answer = stream_behind_one(&provider, &arouter, [malformed, &end, &last]).await;
        assert_broken_off(&answer, &format!("{malformed:?} before the end"));
    }
    arouter.usage(10).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn counts_are_understood_by_their_total_or_raise_an_alarm() {
    let (provider, mut arouter) = start("").await;
    let counts = |prompt: u64, completion: u64, reasoning: u64, total: u64| {
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": reasoning}})
    };
    // The usage is 32 tokens at 1 USD and 103 tokens at 2 USD per million.
    for (case, reported) in [("beside", counts(32, 9, 94, 135)), ("inside", counts(32, 103, 94, 135))] {
        provider.answer(reply("200 OK", "", whole("one", &reported).to_string()));
        let plain = Answer::of(&arouter, &ask()).await;
        let streamed = stream_of(&provider, &arouter, [say("one"), stop(), tail(&reported)]).await;
        for answer in [plain, streamed] {
            let used = answer.usage();
            assert_eq!(
                (answer.cost(), &used["completion_tokens"], &used["completion_tokens_details"]["reasoning_tokens"], &used["total_tokens"]),
                (238_000, &json!(103), &json!(94), &json!(135)),
                "reasoning {case} the completion: {}",
                answer.text
            );
        }
    }
    let unsaid = [
        ("nobody says what the rest is", json!({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 136})),
        ("reasoning explains a part of it", counts(32, 9, 50, 137)),
        ("less than its parts", counts(32, 9, 0, 38)),
    ];
    let before = arouter.log().len();
    for (case, reported) in &unsaid {
        provider.answer(reply("200 OK", "", whole("one", reported).to_string()));
        let answer = Answer::of(&arouter, &ask()).await;
        let is_understood = answer.usage()["total_tokens"] == reported["total_tokens"];
        let alarms =
            || arouter.log()[before..].lines().any(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains("total"));
        assert!(is_understood || alarms(), "{case}: {} of {reported}\n{}", answer.usage(), &arouter.log()[before..]);
        assert!(answer.cost() >= 32_000 + 9 * 2_000, "{case}: never less than the parts");
    }
    arouter.usage(4 + unsaid.len()).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn the_operators_trouble_with_a_provider_is_not_the_callers() {
    let (provider, second, mut arouter) = start_two("").await;
    let error = |message: &str, code: &str| json!({"error": {"message": message, "type": "x", "param": null, "code": code}}).to_string();
    let troubles = [
        ("402 Payment Required", error("Insufficient Balance", "invalid_request_error")),
        ("401 Unauthorized", error("Incorrect API key provided", "invalid_api_key")),
        ("403 Forbidden", error("Country not supported", "unsupported_country")),
        ("404 Not Found", error("The model `m` does not exist", "model_not_found")),
        ("404 Not Found", "<html>nothing here</html>".to_owned()),
        ("429 Too Many Requests", error("You exceeded your current quota", "insufficient_quota")),
        ("400 Bad Request", error("The model `m` does not exist", "model_not_found")),
    ];
    let mut postings = 0;
    for (status, body) in &troubles {
        provider.answer(reply(status, "", body));
        for stream in [false, true] {
            let case = format!("{status} {body}, stream {stream}");
            let alone = Answer::of(&arouter, &with(ask(), &json!({"stream": stream}))).await;
            assert_eq!(
                (alone.status, &alone.error()["type"]),
                (StatusCode::BAD_GATEWAY, &json!("upstream_error")),
                "{case}: {}",
                alone.text
            );
            // One alarm may stand for several failures.
            let log = arouter.log();
            assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("fake")), "{case} alarms nobody: {log}");
            second.answer(if stream { sse().all([say("one two"), stop(), tail(&usage())]) } else { usual() });
            let both = Answer::of(&arouter, &ask_two(stream)).await;
            assert_eq!((both.status, both.cost()), (StatusCode::OK, USUAL), "{case}, with a healthy second: {}", both.text);
            postings += 2;
        }
    }
    let rows = arouter.usage(postings).await;
    assert_eq!(rows.iter().map(|row| -nanos(&row["amount"])).sum::<i64>(), USUAL * troubles.len() as i64 * 2);
    arouter.settle_and_verify().await;
}

/// Returns the script of an ordinary complete response.
fn usual() -> Script {
    reply("200 OK", "", whole("one two", &usage()).to_string())
}

/// Formats the time in this number of seconds from now as HTTP does (RFC 9110, section 5.6.7).
fn http_date(seconds: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let us = SystemClock.now_us() + seconds * 1_000_000;
    let (text, day) = (rfc3339(us), us.div_euclid(86_400 * 1_000_000).rem_euclid(7));
    let month = text[5..7].parse::<usize>().unwrap() - 1;
    format!("{}, {} {} {} {} GMT", DAYS[day as usize], &text[8..10], MONTHS[month], &text[..4], &text[11..19])
}

#[tokio::test]
async fn an_overloaded_provider_says_when_to_come_again() {
    let (provider, second, arouter) = start_two("").await;
    second.answer(usual());
    let body = json!({"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}).to_string();
    let overloads = [
        ("429 Too Many Requests", StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
        ("503 Service Unavailable", StatusCode::SERVICE_UNAVAILABLE, "no_available_providers"),
        ("500 Internal Server Error", StatusCode::SERVICE_UNAVAILABLE, "no_available_providers"),
    ];
    for (status, shown, kind) in overloads {
        for stream in [false, true] {
            let case = format!("{status}, stream {stream}");
            let request = with(ask(), &json!({"stream": stream}));
            provider.answer(reply(status, "retry-after: 17\r\n", &body));
            let answer = Answer::of(&arouter, &request).await;
            assert_eq!(
                (answer.status, &answer.error()["type"], answer.header("retry-after")),
                (shown, &json!(kind), "17"),
                "{case}: {}",
                answer.text
            );
            provider.answer(reply(status, &format!("retry-after: {}\r\n", http_date(30)), &body));
            let answer = Answer::of(&arouter, &request).await;
            let after = answer.header("retry-after").to_owned();
            let is_same_time = after.parse().map_or_else(|_| after.ends_with("GMT"), |seconds: u32| (25..=31).contains(&seconds));
            assert!(answer.status == shown && is_same_time, "{case}, an HTTP date: {} {after:?}", answer.status);
            for odd in ["", "retry-after: soon\r\n", "retry-after: -1\r\n"] {
                provider.answer(reply(status, odd, &body));
                let answer = Answer::of(&arouter, &request).await;
                let after = answer.header("retry-after");
                assert!(answer.status == shown && (after.is_empty() || after.parse::<u32>().is_ok()), "{case}, {odd:?}: {after:?}");
            }
        }
        let both = Answer::of(&arouter, &ask_two(false)).await;
        assert_eq!(
            (both.status, &both.json()["model"]),
            (StatusCode::OK, &json!("second/m")),
            "{status}, with a healthy second: {}",
            both.text
        );
    }
    provider.answer(reply("429 Too Many Requests", "retry-after: 17\r\n", &body));
    second.answer(reply("429 Too Many Requests", "retry-after: 5\r\n", &body));
    let both = Answer::of(&arouter, &ask_two(false)).await;
    // The first one has just asked to be left alone, so it may be tried last.
    let last = both.error()["metadata"]["provider_name"] == "fake";
    let expected = if last { "17" } else { "5" };
    assert_eq!((both.status, both.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, expected), "the last one's: {}", both.text);
}

const COMMENT: &str = ": AROUTER PROCESSING\n\n";
// One round: a second one would open the breaker of a provider that fails several times.
const IMPATIENT: &str = "[upstream]\nheartbeat_ms = 500\nidle_timeout_ms = 1500\nretry_rounds_max = 1\n";

/// Comments tell the client that its request is still being processed.
#[tokio::test]
async fn a_long_thought_is_heard_as_comments_and_ends_as_an_answer() {
    let (provider, mut arouter) = start(IMPATIENT).await;
    let words = [say("late"), stop(), tail(&usage())];
    let gate = CancellationToken::new();
    // The provider does not even send its head.
    provider.answer(
        Script::default().until(&gate).then("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").all(&words),
    );
    let mut listener = Listener::start(&arouter, &ask_stream()).await;
    listener.hear(COMMENT, 2).await;
    gate.cancel();
    assert_complete(&listener.end().await, "late", USUAL, "silence before the provider's head");

    // The provider sends comments for longer than it may be silent.
    let mut comments = sse();
    for _ in 0..10 {
        comments = comments.then(": PROCESSING\n\n").pause(Duration::from_millis(300));
    }
    provider.answer(comments.clone().all(&words));
    let mut listener = Listener::start(&arouter, &ask_stream()).await;
    listener.hear(COMMENT, 1).await;
    assert_complete(&listener.end().await, "late", USUAL, "comments before the first piece");
    let mut later = sse().then(say("first "));
    for _ in 0..10 {
        later = later.then(": PROCESSING\n\n").pause(Duration::from_millis(300));
    }
    provider.answer(later.all(&words));
    let mut listener = Listener::start(&arouter, &ask_stream()).await;
    listener.hear(COMMENT, 2).await;
    assert_complete(&listener.end().await, "first late", USUAL, "comments between pieces");

    // Bytes that are not a complete line also count as activity.
    let (line, mut slow) = (say("late"), sse());
    for piece in line.as_bytes().chunks(line.len() / 8) {
        slow = slow.then(piece).pause(Duration::from_millis(300));
    }
    provider.answer(slow.all([stop(), tail(&usage())]));
    assert_complete(&Answer::of(&arouter, &ask_stream()).await, "late", USUAL, "a line that comes slowly");

    // A response that is not streamed has no heartbeat, because its status depends on the provider.
    provider.answer(Script::default().pause(Duration::from_secs(1)).then("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"));
    assert_eq!(Answer::of(&arouter, &ask()).await.status, StatusCode::BAD_REQUEST);
    arouter.usage(5).await;
    arouter.settle_and_verify().await;
}

/// Google's clients would take a comment for data.
#[tokio::test]
async fn a_silent_stream_of_googles_format_has_blank_lines() {
    let (provider, mut arouter) = start(IMPATIENT).await;
    for (query, begins) in [("?alt=sse", "\ndata: {"), ("", "\n[{")] {
        let gate = CancellationToken::new();
        provider.answer(
            Script::default().until(&gate).then("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n").all([
                say("late"),
                stop(),
                tail(&usage()),
            ]),
        );
        let url = format!("{}/v1beta/models/fake/m:streamGenerateContent{query}", arouter.base);
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let mut answer = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let mut text = String::from_utf8(answer.chunk().await.unwrap().unwrap().to_vec()).unwrap();
        assert_eq!(text, "\n", "{query:?}");
        gate.cancel();
        while let Some(piece) = answer.chunk().await.unwrap() {
            text += std::str::from_utf8(&piece).unwrap();
        }
        let text = format!("\n{}", text.trim_start());
        assert!(text.starts_with(begins) && text.contains("late") && text.contains("finishReason"), "{query:?}: {text}");
    }
    arouter.usage(2).await;
    arouter.settle_and_verify().await;
}

/// Failures after the head was sent.
#[tokio::test]
async fn a_failure_behind_a_heartbeat_is_an_error_frame_unless_the_next_candidate_answers() {
    let (provider, second, mut arouter) = start_two(IMPATIENT).await;
    provider.answer(sse().until(&CancellationToken::new()));
    let silent = Listener::start(&arouter, &ask_stream()).await.end().await;
    assert_broken_off(&silent, "silence behind the provider's head");
    assert_eq!(silent.error()["type"], "upstream_timeout", "{}", silent.text);

    let gate = CancellationToken::new();
    provider.answer(sse().until(&gate));
    let mut listener = Listener::start(&arouter, &ask_stream()).await;
    listener.hear(COMMENT, 1).await;
    gate.cancel();
    assert_broken_off(&listener.end().await, "a connection that ends");

    let gate = CancellationToken::new();
    let refusal =
        json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    let refusal = refusal.to_string();
    let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", refusal.len());
    provider.answer(Script::default().until(&gate).then(head + &refusal));
    let mut listener = Listener::start(&arouter, &ask_stream()).await;
    listener.hear(COMMENT, 1).await;
    gate.cancel();
    let refused = listener.end().await;
    assert_broken_off(&refused, "a refusal");
    let error = refused.error();
    assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("messages")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("too long"), "{error}");

    for failing in [sse(), Script::default(), Script::default().then("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")] {
        let gate = CancellationToken::new();
        provider.answer(failing.gated(&gate));
        second.answer(sse().all([say("from the second"), stop(), tail(&usage())]));
        let mut listener = Listener::start(&arouter, &ask_two(true)).await;
        listener.hear(COMMENT, 1).await;
        gate.cancel();
        let answer = listener.end().await;
        assert_complete(&answer, "from the second", USUAL, "the next candidate behind a heartbeat");
        assert!(answer.frames().iter().all(|frame| frame["model"] == "second/m"), "{}", answer.text);
    }
    let rows = arouter.usage(6).await;
    assert_eq!(rows.iter().map(|row| -nanos(&row["amount"])).sum::<i64>(), 3 * USUAL, "a provider that failed is not paid for");
    arouter.settle_and_verify().await;
}

/// Returns the two names of the token cap, as the provider received them.
async fn caps(provider: &Scripted, arouter: &Arouter, request: Value) -> (Value, Value) {
    let answer = Answer::of(arouter, &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let sent = provider.asked().last().unwrap().body.clone();
    (sent["max_tokens"].clone(), sent["max_completion_tokens"].clone())
}

#[tokio::test]
async fn one_cap_is_sent_and_it_is_the_smallest() {
    let provider = Scripted::start().await;
    let config = provider.config() + &provider.config_as("openai", "");
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let cases = [
        (json!({"max_completion_tokens": 7}), 7),
        (json!({"max_tokens": 7}), 7),
        (json!({"max_tokens": 500, "max_completion_tokens": 7}), 7),
        (json!({"max_completion_tokens": 500, "max_tokens": 7}), 7),
        (json!({"max_tokens": null, "max_completion_tokens": 7}), 7),
        (json!({"max_tokens": 60_000}), 1_000),
        (json!({"max_completion_tokens": 60_000}), 1_000),
        (json!({"max_tokens": 60_000, "max_completion_tokens": 50_000}), 1_000),
        (json!({}), 1_000),
    ];
    for (given, cap) in &cases {
        let sent = caps(&provider, &arouter, with(ask(), given)).await;
        assert_eq!(sent, (json!(cap), Value::Null), "{given} to a provider that is not known");
        let sent = caps(&provider, &arouter, with(with(ask(), &json!({"model": "openai/m"})), given)).await;
        assert_eq!(sent, (Value::Null, json!(cap)), "{given} to OpenAI");
    }
    // The rest of a limit pays for fewer tokens than were requested or than the model can generate.
    let made =
        arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "k", "limit": "0.0005"}))).await;
    let key = made.1["key"].as_str().unwrap().to_owned();
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let sent = provider.asked().last().unwrap().body.clone();
    assert!(
        sent["max_tokens"].as_u64().is_some_and(|cap| (1..250).contains(&cap)) && sent.get("max_completion_tokens").is_none(),
        "{sent}"
    );
}

#[tokio::test]
async fn a_providers_name_of_the_cap_can_be_configured() {
    let provider = Scripted::start().await;
    let config = provider.config_as("fake", "max_tokens_field = \"max_completion_tokens\"");
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    for given in [json!({"max_tokens": 7}), json!({"max_completion_tokens": 7}), json!({"max_tokens": 7, "max_completion_tokens": 9})] {
        let sent = caps(&provider, &arouter, with(ask(), &given)).await;
        assert_eq!(sent, (Value::Null, json!(7)), "{given}");
    }
}

#[tokio::test]
async fn events_with_one_line_end_between_them_are_as_many_events() {
    let (provider, mut arouter) = start("").await;
    let lines: String = [say("one "), say("two"), stop()].iter().map(|piece| piece.trim_end().to_owned() + "\n").collect();
    let last = tail(&usage());
    assert_complete(&stream_of(&provider, &arouter, [&lines, &last]).await, "one two", USUAL, "three lines and the usage in one event");
    let gap = Duration::from_millis(20);
    let split = lines.len() / 2;
    provider.answer(sse().then(&lines[..split]).pause(gap).then(&lines[split..]).pause(gap).then(&last));
    assert_complete(&Answer::of(&arouter, &ask_stream()).await, "one two", USUAL, "split over reads");
    let answer = stream_of(&provider, &arouter, [lines.as_str(), "data: [DONE]\n"]).await;
    assert!(answer.is_complete() && answer.content() == "one two" && answer.cost() > 0, "the end mark in the same event: {}", answer.text);
    let wide = [say("one "), say("two"), stop(), last.clone()].concat().replace('\n', "\r\n");
    assert_complete(&stream_of(&provider, &arouter, [&wide]).await, "one two", USUAL, "line ends of two bytes");
    let lone = [say("one "), say("two"), stop(), last.clone()].concat().replace('\n', "\r");
    assert_complete(&stream_of(&provider, &arouter, [&lone]).await, "one two", USUAL, "line ends of the old kind");
    let named = [say("one "), say("two"), stop()].map(|event| format!("id: 1\nevent: message\nretry: 3\n{event}"));
    assert_complete(&stream_of(&provider, &arouter, [&named.concat(), &last]).await, "one two", USUAL, "events with names and ids");
    // By the standard, one JSON text over two data lines is one event.
    let spread = say("one two").replace(",\"created\"", ",\ndata: \"created\"");
    assert_complete(&stream_of(&provider, &arouter, [spread, stop(), last]).await, "one two", USUAL, "one event in two lines");
    arouter.usage(7).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_the_answer_goes_on() {
    let (provider, mut arouter) = start("").await;
    let broken = b"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xf0\x9f\x98\"},\"finish_reason\":null}]}\n\n";
    let (one, two) = (say("one "), say("two") + &stop() + &tail(&usage()));
    let answer = stream_of(&provider, &arouter, [one.as_bytes(), broken, two.as_bytes()]).await;
    assert!(answer.is_complete(), "{}", answer.text);
    assert_eq!(
        (answer.content().replace('\u{fffd}', "?").replace("???", "?").as_str(), answer.cost()),
        ("one ?two", USUAL),
        "{}",
        answer.text
    );
    let answer = stream_of(&provider, &arouter, [broken.as_slice(), two.as_bytes()]).await;
    assert!(answer.is_complete() && answer.content().ends_with("\u{fffd}two"), "in the first piece: {}", answer.text);

    let whole_text = whole("one # two", &usage()).to_string().into_bytes();
    let whole_broken: Vec<u8> = whole_text.into_iter().map(|byte| if byte == b'#' { 0xff } else { byte }).collect();
    provider.answer(reply("200 OK", "", whole_broken));
    let answer = Answer::of(&arouter, &ask()).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "one \u{fffd} two", "{} {}", answer.status, answer.text);
    assert_eq!(answer.cost(), USUAL);

    // A character whose bytes come in two reads stays intact.
    let smile = say("\u{1f600}");
    let within = smile.find('\u{1f600}').unwrap() + 2;
    let (head, rest) = smile.as_bytes().split_at(within);
    provider.answer(sse().then(head).pause(Duration::from_millis(30)).then(rest).then(two));
    assert_complete(&Answer::of(&arouter, &ask_stream()).await, "\u{1f600}two", USUAL, "a character in two reads");
    arouter.usage(4).await;
    arouter.settle_and_verify().await;
}

/// Refusals of a provider.
#[tokio::test]
async fn a_refusal_reaches_the_caller_with_its_message_code_and_param() {
    let (provider, arouter) = start("").await;
    let exceeded = json!({"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"});
    let cases = [
        (
            "400 Bad Request",
            json!({"error": exceeded}),
            "maximum context",
            json!({"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}),
        ),
        ("400 Bad Request", json!({"error": "model not loaded"}), "model not loaded", json!({"param": null})),
        ("400 Bad Request", json!({"detail": [{"loc": ["body", "max_tokens"], "msg": "field required"}]}), "field required", json!({})),
        ("422 Unprocessable Entity", json!({"detail": "temperature is too high"}), "temperature is too high", json!({})),
        (
            "400 Bad Request",
            json!({"object": "error", "message": "maximum context length is 8192 tokens", "type": "BadRequestError", "param": null, "code": 400}),
            "maximum context",
            json!({"type": "BadRequestError", "code": "400"}),
        ),
        (
            "400 Bad Request",
            json!([{"error": {"code": 400, "message": "Invalid JSON payload", "status": "INVALID_ARGUMENT"}}]),
            "Invalid JSON payload",
            json!({"code": "400"}),
        ),
        (
            "413 Payload Too Large",
            json!({"error": {"message": "too large", "code": "request_too_large"}}),
            "too large",
            json!({"code": "request_too_large"}),
        ),
        ("400 Bad Request", json!("the text itself"), "the text itself", json!({})),
    ];
    for (status, body, says, shown) in &cases {
        let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        provider.answer(reply(status, "", &text));
        for stream in [false, true] {
            let answer = Answer::of(&arouter, &with(ask(), &json!({"stream": stream}))).await;
            let error = answer.error();
            assert_eq!(answer.status.as_str(), &status[..3], "{text}: {}", answer.text);
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{text}: {error}");
            for (field, value) in shown.as_object().unwrap() {
                assert_eq!(&error[field], value, "'{field}' of {text}: {error}");
            }
            assert_eq!(error["metadata"]["provider_name"], "fake", "{text}: {error}");
        }
    }
}

/// Errors in a response with status 200.
#[tokio::test]
async fn an_error_inside_a_200_is_an_error() {
    let (provider, second, mut arouter) = start_two("").await;
    let error = json!({"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"});
    let body = json!({"error": error});
    let assert_said = |answer: &Answer, case: &str| {
        let shown = answer.error();
        assert!(shown["message"].as_str().is_some_and(|message| message.contains("maximum context")), "{case}: {}", answer.text);
        assert_eq!((&shown["code"], &shown["param"]), (&json!("context_length_exceeded"), &json!("messages")), "{case}: {shown}");
    };
    let shapes = [("whole", reply("200 OK", "", body.to_string()), false), ("streamed", sse().then(frame(&body)), true)];
    for (case, script, stream) in shapes {
        provider.answer(script);
        let answer = Answer::of(&arouter, &with(ask(), &json!({"stream": stream}))).await;
        assert_eq!(
            (answer.status, &answer.error()["type"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("no_available_providers")),
            "{case}: {}",
            answer.text
        );
        assert_said(&answer, case);
        second.answer(if stream { sse().all([say("one two"), stop(), tail(&usage())]) } else { usual() });
        let both = Answer::of(&arouter, &ask_two(stream)).await;
        assert_eq!((both.status, both.cost()), (StatusCode::OK, USUAL), "{case}, with a healthy second: {}", both.text);
    }
    let answer = stream_behind_one(&provider, &arouter, [frame(&body)]).await;
    assert_broken_off(&answer, "behind the first piece");
    assert_said(&answer, "behind the first piece");
    let answer = stream_behind_one(&provider, &arouter, [frame(&json!({"error": "model crashed"}))]).await;
    assert_broken_off(&answer, "an error that is a text");
    assert!(answer.error()["message"].as_str().unwrap().contains("model crashed"), "{}", answer.text);
    provider.answer(reply("200 OK", "", with(whole("one", &usage()), &json!({"error": null})).to_string()));
    let answer = Answer::of(&arouter, &ask()).await;
    assert_eq!((answer.status, answer.cost()), (StatusCode::OK, USUAL), "a null error is none: {}", answer.text);
    arouter.usage(7).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let (provider, mut arouter) = start("[upstream]\nbody_bytes_max = 100000\n").await;
    Answer::of(&arouter, &ask()).await;
    let asked = provider.asked().remove(0);
    assert!(asked.header("accept-encoding").is_some(), "a provider that is not acknowledged may use any coding: {}", asked.head);
    assert!(asked.header("user-agent").is_some_and(|agent| !agent.is_empty()), "{}", asked.head);

    let text = whole("one", &json!({"prompt_tokens": 10, "completion_tokens": 5})).to_string();
    let codings = [
        ("gzip", gzip(text.as_bytes())),
        ("GZIP", gzip(text.as_bytes())),
        ("br", brotli(text.as_bytes())),
        ("zstd", zstd(text.as_bytes())),
    ];
    for (coding, body) in codings {
        provider.answer(reply("200 OK", &format!("content-encoding: {coding}\r\n"), body));
        let answer = Answer::of(&arouter, &ask()).await;
        assert_eq!((answer.status, answer.cost()), (StatusCode::OK, USUAL), "{coding}: {}", answer.text);
        assert_eq!(
            (answer.header("content-encoding"), &answer.json()["choices"][0]["message"]["content"]),
            ("", &json!("one")),
            "{coding}"
        );
    }
    let stream = gzip([say("one "), say("two"), stop(), tail(&usage())].concat().as_bytes());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
    let (first, rest) = stream.split_at(stream.len() / 2);
    provider.answer(Script::default().then(head).then(first).pause(Duration::from_millis(30)).then(rest));
    assert_complete(&Answer::of(&arouter, &ask_stream()).await, "one two", USUAL, "a stream");
    let refusal = gzip(json!({"error": {"message": "too long", "code": "context_length_exceeded"}}).to_string().as_bytes());
    provider.answer(reply("400 Bad Request", "content-encoding: gzip\r\n", refusal));
    let answer = Answer::of(&arouter, &ask()).await;
    assert_eq!(
        (answer.status, &answer.error()["code"]),
        (StatusCode::BAD_REQUEST, &json!("context_length_exceeded")),
        "a refusal: {}",
        answer.text
    );

    provider.answer(reply("200 OK", "content-encoding: rot13\r\n", "{}"));
    let answer = Answer::of(&arouter, &ask()).await;
    assert!(answer.status == StatusCode::BAD_GATEWAY && answer.text.contains("rot13"), "a coding nobody knows: {}", answer.text);
    let bomb = format!("{{\"choices\":[{}]}}", " ".repeat(5_000_000));
    for (case, body) in
        [("a part of it", gzip(text.as_bytes())[..40].to_vec()), ("a bomb", gzip(bomb.as_bytes())), ("no gzip", b"{}".to_vec())]
    {
        provider.answer(reply("200 OK", "content-encoding: gzip\r\n", body));
        let answer = Answer::of(&arouter, &ask()).await;
        assert_eq!(
            (answer.status, &answer.error()["type"]),
            (StatusCode::BAD_GATEWAY, &json!("upstream_error")),
            "{case}: {}",
            answer.text
        );
    }
    arouter.usage(11).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_stream_tells_one_story_and_keeps_what_the_provider_says_of_usage() {
    let (provider, arouter) = start("").await;
    let reported = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 99, "queue_time": 0.25,
        "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2}});
    let more = json!({"created": 1_700_000_000, "service_tier": "default", "system_fingerprint": "fp_1"});
    let of = |object: Value| frame(&with(object, &more));
    let last = json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": reported});
    let delta = piece(&json!({"role": "assistant", "content": "one"}), Value::Null);
    let pieces = [of(delta), of(piece(&json!({}), "stop")), of(last), DONE.to_owned()];
    let streamed = stream_of(&provider, &arouter, pieces).await;
    assert_complete(&streamed, "one", USUAL, "a stream");
    let frames = streamed.frames();
    let created: Vec<&Value> = frames.iter().map(|frame| &frame["created"]).collect();
    assert!(created.iter().all(|each| *each == created[0] && each.is_number()), "one time of creation: {created:?}");
    assert!(frames.iter().all(|frame| frame["id"] == frames[0]["id"]), "{}", streamed.text);
    let last = frames.last().unwrap();
    assert_eq!((&last["service_tier"], &last["system_fingerprint"]), (&json!("default"), &json!("fp_1")), "the last piece: {last}");
    provider.answer(reply("200 OK", "", with(whole("one", &reported), &more).to_string()));
    let plain = Answer::of(&arouter, &ask()).await;
    assert_eq!(plain.json()["system_fingerprint"], "fp_1");
    for (case, answer) in [("streamed", streamed), ("whole", plain)] {
        let used = answer.usage();
        let details = &used["completion_tokens_details"];
        assert_eq!(
            (&details["accepted_prediction_tokens"], &details["rejected_prediction_tokens"], &used["queue_time"]),
            (&json!(3), &json!(2), &json!(0.25)),
            "{case}: {used}"
        );
        assert_eq!(used["prompt_tokens_details"]["text_tokens"], 10, "{case}: {used}");
        assert_eq!(answer.cost(), USUAL, "{case}: the charge is ours");
        assert!(used["latency_ms"].is_number() && used["is_byok"] == false, "{case}: what is ours is added: {used}");
    }
}

/// Content that a provider may count as more tokens than it has bytes gets a hold for the whole context.
#[tokio::test]
async fn whatever_is_not_known_to_be_text_holds_the_whole_context() {
    // The credit is half of the price of a whole context of prompt tokens.
    let (provider, arouter) = start("[bootstrap]\ncredit_usd = 0.05\n").await;
    let of_messages = |messages: &str, more: &str| format!("{{\"model\":\"fake/m\",\"max_tokens\":10,\"messages\":[{messages}]{more}}}");
    let of_part =
        |part: &str| of_messages(&format!("{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"see\"}},{part}]}}"), "");
    let plain = "{\"role\":\"user\",\"content\":\"x\"}";
    let post = async |body: &str| {
        let url = format!("{}/v1/chat/completions", arouter.base);
        let request = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body(body.to_owned());
        Answer::read(request.send().await.unwrap()).await
    };
    let function = "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}";
    let small = [
        of_messages(plain, ",\"temperature\":0.5,\"seed\":1,\"top_p\":1,\"stop\":[\"x\"],\"user\":\"u\",\"stream\":false,\"n\":1"),
        of_messages(plain, &format!(",\"tools\":[{function}],\"tool_choice\":\"auto\",\"response_format\":{{\"type\":\"json_object\"}}")),
        of_messages("{\"role\":\"user\",\"content\":[{\"type\":\"t\\u0065xt\",\"text\":\"the word image_url\"}]}", ""),
        of_messages("{\"role\":\"user\",\"content\":\"the words \\\"image_url\\\" and \\\"file\\\"\"}", ""),
    ];
    for body in &small {
        let answer = post(body).await;
        assert_eq!(answer.status, StatusCode::OK, "text alone is bounded by its bytes: {body}: {}", answer.text);
    }
    let documents = format!(",\"documents\":[{{\"text\":\"{}\"}}]", "word ".repeat(24_000));
    let template = format!(",\"chat_template\":\"{}\"", "word ".repeat(24_000));
    let large = [
        of_part("{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x.test/y.png\"}}"),
        of_part("{\"type\":\"image\\u005furl\",\"image_url\":{\"url\":\"https://x.test/y.png\"}}"),
        of_part("{\"t\\u0079pe\":\"image\\u005furl\",\"image\\u005furl\":{\"url\":\"https://x.test/y.png\"}}"),
        of_part("{\"type\":\"audio_url\",\"audio_url\":{\"url\":\"https://x.test/y.mp3\"}}"),
        of_part("{\"type\":\"document_url\",\"document_url\":\"https://x.test/y.pdf\"}"),
        of_part("{\"type\":\"input_file\",\"file_id\":\"file-1\"}"),
        of_part("{\"type\":\"hologram\",\"hologram\":\"h-1\"}"),
        of_part("{\"image_url\":\"https://x.test/y.png\"}"),
        of_messages("{\"role\":\"user\",\"content\":\"x\",\"images\":[\"https://x.test/y.png\"]}", ""),
        of_messages(&format!("{{\"role\":\"assistant\",\"content\":null,\"audio\":{{\"id\":\"audio-1\"}}}},{plain}"), ""),
        of_messages(plain, &documents),
        of_messages(plain, &template),
        of_messages(plain, ",\"tools\":[{\"type\":\"file_search\",\"vector_store_ids\":[\"v-1\"]}]"),
        of_messages(plain, &format!(",\"tools\":[{function},{{\"type\":\"web_search\"}}]")),
        of_messages(plain, ",\"web_search_options\":{}"),
    ];
    let asked = provider.asked().len();
    let mut too_small = Vec::new();
    for body in &large {
        let answer = post(body).await;
        let needed = &answer.error()["metadata"]["needed_usd"];
        if answer.status != StatusCode::PAYMENT_REQUIRED || nanos(needed) < 100_000 * 1_000 {
            too_small.push(format!("{} {needed} for {}", answer.status, &body[..body.len().min(200)]));
        }
    }
    assert!(too_small.is_empty(), "held less than the whole context:\n{}", too_small.join("\n"));
    assert_eq!(provider.asked().len(), asked, "none of them was sent");
}

/// Aborts a request after the provider has received it and before the client has read any of the response.
async fn leave(provider: &Scripted, arouter: &Arouter, body: &Value) {
    let before = provider.asked().len();
    let url = format!("{}/v1/chat/completions", arouter.base);
    let sending = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body(body.to_string()).send();
    tokio::select! {
        answer = sending => panic!("it was answered: {answer:?}"),
        () = until("the provider's request", || async { (provider.asked().len() > before).then_some(()) }) => {}
    }
}

/// Returns the charge and the report of the newest of `count` requests.
async fn newest(arouter: &Arouter, count: usize) -> (i64, Value) {
    let row = arouter.usage(count).await.remove(0);
    (-nanos(&row["amount"]), arouter.generation(row["generation_id"].as_str().unwrap()).await)
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_pays_for_the_prompt() {
    let (provider, mut arouter) = start("").await;
    // The prompt of 40,000 bytes has about 10,000 tokens, at 1 USD per million.
    let (prompt, about) = ("word ".repeat(8_000), 9_900_000..10_600_000);
    let text = json!({"messages": [{"role": "user", "content": prompt}]});
    let image = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": prompt},
        {"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}]}]});
    let never = CancellationToken::new();
    let head = || sse().then(": PROCESSING\n\n").then(frame(&piece(&json!({"role": "assistant", "content": ""}), Value::Null)));
    let cases = [
        ("a whole answer", Script::default().until(&never), with(ask(), &text)),
        ("a whole answer to an image", Script::default().until(&never), with(ask(), &image)),
        ("a stream before the provider's head", Script::default().until(&never), with(ask_stream(), &text)),
        ("a stream before its first piece", head().until(&never), with(ask_stream(), &text)),
    ];
    for (number, (case, script, request)) in cases.into_iter().enumerate() {
        provider.answer(script);
        leave(&provider, &arouter, &request).await;
        until("the provider's connection to be closed", || async { (provider.abandoned() > number).then_some(()) }).await;
        let (paid, known) = newest(&arouter, number + 1).await;
        assert!(about.contains(&paid), "{case}: {paid} nano-USD for 10,000 tokens of prompt: {known}");
        assert_eq!(
            (&known["outcome"], &known["usage"]["provenance"], &known["usage"]["cost_status"]),
            (&json!("cancelled"), &json!("estimated"), &json!("priced")),
            "{case}: {known}"
        );
    }
    // The client leaves after it has received some text, and pays for the prompt and the text.
    provider.answer(sse().then(say(&"text ".repeat(800))).until(&never));
    let mut listener = Listener::start(&arouter, &with(ask_stream(), &text)).await;
    listener.hear("text", 1).await;
    drop(listener);
    let (paid, known) = newest(&arouter, 5).await;
    assert!((about.start + 1_000 * 2_000..about.end + 1_100 * 2_000).contains(&paid), "{paid} nano-USD with 1,000 tokens of text: {known}");
    assert_eq!(known["usage"]["provenance"], "estimated", "{known}");
    // A response that failed by itself still costs nothing.
    provider.answer(reply("500 Internal Server Error", "", "{}"));
    assert!(Answer::of(&arouter, &with(ask(), &text)).await.status.is_server_error());
    assert_eq!(newest(&arouter, 6).await.0, 0);
    arouter.settle_and_verify().await;
}

/// With `on_disconnect = "drain"`.
#[tokio::test]
async fn a_provider_that_is_drained_says_what_a_client_that_left_pays() {
    let provider = Scripted::start().await;
    let config = provider.config_as("fake", "on_disconnect = \"drain\"\ndrain_timeout_ms = 2000");
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let text = json!({"messages": [{"role": "user", "content": "word ".repeat(8_000)}]});
    let words = [say("one "), say("two"), stop(), tail(&usage())];
    for (number, (case, request)) in [("a whole answer", ask()), ("a stream before its first piece", ask_stream())].into_iter().enumerate()
    {
        let gate = CancellationToken::new();
        provider.answer(if number == 0 { usual().gated(&gate) } else { sse().until(&gate).all(&words) });
        leave(&provider, &arouter, &with(request, &text)).await;
        gate.cancel();
        let (paid, known) = newest(&arouter, number + 1).await;
        assert_eq!((paid, &known["usage"]["provenance"]), (USUAL, &json!("reported")), "{case}: {known}");
        assert_eq!((&known["outcome"], provider.abandoned()), (&json!("cancelled"), 0), "{case}: {known}");
    }
    let gate = CancellationToken::new();
    provider.answer(sse().then(say("one ")).until(&gate).all(&words));
    let mut listener = Listener::start(&arouter, &with(ask_stream(), &text)).await;
    listener.hear("one ", 1).await;
    drop(listener);
    gate.cancel();
    let (paid, known) = newest(&arouter, 3).await;
    assert_eq!((paid, &known["usage"]["provenance"]), (USUAL, &json!("reported")), "a stream behind its first piece: {known}");
    // A stream that never ends is abandoned after a while.
    provider.answer(sse().until(&CancellationToken::new()));
    leave(&provider, &arouter, &with(ask_stream(), &text)).await;
    until("the end of the drain", || async { (provider.abandoned() == 1).then_some(()) }).await;
    let (paid, known) = newest(&arouter, 4).await;
    assert!((9_900_000..10_600_000).contains(&paid) && known["usage"]["provenance"] == "estimated", "{paid}: {known}");
    arouter.settle_and_verify().await;
}
