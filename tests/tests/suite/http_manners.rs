//! Basic HTTP behaviour: preflights, compressed bodies, headers of streams, connections, credentials, addresses, TLS, and the first
//! start.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::arouter::{JsonValue, Keys, nanos, program, repository};
use tests::certificate;
use tests::coding::{brotli, gzip, zstd};
use tests::scripted::{say, sse, stop, tail, usage};
use tests::wait::until;
use tests::{Answer, Arouter, Scripted, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn ask() -> Value {
    json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]})
}

/// Starts a provider and a gateway that uses it, with further configuration.
async fn start(config: &str) -> (Scripted, Arouter) {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &format!("{config}\n{}", provider.config())).await;
    (provider, arouter)
}

/// Returns the entries of a list in a header, in lower case; empty if the header is absent.
fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let text = headers.get(name).map_or("", |value| value.to_str().unwrap()).to_lowercase();
    text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

const ORIGIN: &str = "http://localhost:5173";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// Sends a browser's preflight, which carries no credential.
async fn preflight(arouter: &Arouter, path: &str, method: &str) -> Answer {
    let request = arouter.http.request(Method::OPTIONS, format!("{}{path}", arouter.base)).header("origin", ORIGIN);
    let request = request.header("access-control-request-method", method);
    Answer::read(request.header("access-control-request-headers", "authorization,content-type,x-stainless-lang").send().await.unwrap())
        .await
}

#[tokio::test]
async fn a_web_page_may_call_models_and_nothing_else() {
    let (provider, arouter) = start("").await;
    for prefix in ["/v1", "/api/v1"] {
        for (path, method) in [("/chat/completions", "POST"), ("/models", "GET"), ("/models/fake/m", "GET")] {
            let case = format!("OPTIONS {prefix}{path}");
            let answer = preflight(&arouter, &format!("{prefix}{path}"), method).await;
            assert_eq!((answer.status, answer.header(ALLOW_ORIGIN), answer.text.as_str()), (StatusCode::NO_CONTENT, "*", ""), "{case}");
            let methods = words(&answer.headers, "access-control-allow-methods");
            assert!(methods.contains(&method.to_lowercase()) || methods == ["*"], "{case} allows {methods:?}");
            let headers = words(&answer.headers, "access-control-allow-headers");
            // A `*` does not include `authorization` (Fetch standard, section 3.3.5).
            for header in ["authorization", "content-type", "x-stainless-lang"] {
                assert!(headers.iter().any(|allowed| allowed == header), "{case} allows {headers:?}");
            }
            assert!(answer.header("access-control-max-age").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{case}: how long it holds");
            assert!(answer.headers.get("access-control-allow-credentials").is_none(), "{case}");
        }
    }
    let ask_with = async |method: Method, path: &str, key: &str, body: Value| {
        let request = arouter.http.request(method, format!("{}{path}", arouter.base)).header("origin", ORIGIN).bearer_auth(key);
        Answer::read(request.body(body.to_string()).send().await.unwrap()).await
    };
    let (live, chat) = (arouter.keys.live_key.as_str(), "/v1/chat/completions");
    let mut opened = vec![
        (StatusCode::OK, ask_with(Method::GET, "/v1/models", live, Value::Null).await),
        (StatusCode::OK, ask_with(Method::POST, chat, live, ask()).await),
        (StatusCode::UNAUTHORIZED, ask_with(Method::POST, chat, "lr_live_none", ask()).await),
        (StatusCode::BAD_REQUEST, ask_with(Method::POST, chat, live, json!({})).await),
        (StatusCode::METHOD_NOT_ALLOWED, ask_with(Method::DELETE, chat, live, Value::Null).await),
        (StatusCode::NOT_FOUND, ask_with(Method::GET, "/v1/models/fake/none", live, Value::Null).await),
    ];
    provider.answer(sse().all([say("one"), stop(), tail(&usage())]));
    let mut stream = ask();
    stream["stream"] = json!(true);
    opened.push((StatusCode::OK, ask_with(Method::POST, chat, live, stream).await));
    for (status, answer) in &opened {
        assert_eq!((answer.status, answer.header(ALLOW_ORIGIN)), (*status, "*"), "{}", answer.text);
        let exposed = words(&answer.headers, "access-control-expose-headers");
        for header in ["x-request-id", "x-generation-id", "retry-after"] {
            assert!(exposed.iter().any(|word| word == header), "{status}: {header} is not among {exposed:?}");
        }
    }
    for path in ["/api/v1/keys", "/v1/keys", "/api/v1/balance", "/v1/transactions", "/api/v1/admin/credit", "/nowhere"] {
        let answer = preflight(&arouter, path, "GET").await;
        assert!(answer.headers.get(ALLOW_ORIGIN).is_none(), "OPTIONS {path} is open: {:?}", answer.headers);
        let answer = ask_with(Method::GET, path, &arouter.keys.management_key, Value::Null).await;
        assert!(answer.headers.get(ALLOW_ORIGIN).is_none(), "GET {path} is open: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn a_compressed_body_is_read_within_the_bound() {
    let (provider, arouter) = start("").await;
    let post = async |path: &str, key: &str, coding: &str, body: Vec<u8>| {
        let request = arouter.http.post(format!("{}{path}", arouter.base)).bearer_auth(key).header("content-type", "application/json");
        Answer::read(request.header("content-encoding", coding).body(body).send().await.unwrap()).await
    };
    let (live, chat, text) = (arouter.keys.live_key.as_str(), "/v1/chat/completions", ask().to_string());
    let text = text.as_bytes();
    let good = [("gzip", gzip(text)), ("GZIP", gzip(text)), ("br", brotli(text)), ("zstd", zstd(text)), ("identity", text.to_vec())];
    for (coding, body) in good {
        let answer = post(chat, live, coding, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{coding}: {}", answer.text);
        let asked = provider.asked().pop().unwrap();
        assert_eq!((&asked.body["messages"], asked.header("content-encoding")), (&ask()["messages"], None), "{coding}");
    }
    let answer = post("/api/v1/keys", &arouter.keys.management_key, "gzip", gzip(b"{\"name\":\"k\"}")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "a management body: {}", answer.text);

    let count = provider.asked().len();
    for coding in ["compress", "rot13", "gzip, rot13"] {
        let answer = post(chat, live, coding, text.to_vec()).await;
        assert_eq!(
            (answer.status, &answer.error()["type"]),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("invalid_request_error")),
            "{coding}: {}",
            answer.text
        );
        assert!(answer.error()["message"].as_str().unwrap().contains(coding.rsplit(' ').next().unwrap()), "{coding}: {}", answer.text);
    }
    let broken = [("no gzip at all", text.to_vec()), ("a part of it", gzip(text)[..20].to_vec()), ("nothing", Vec::new())];
    for (case, body) in broken {
        let answer = post(chat, live, "gzip", body).await;
        assert_eq!(
            (answer.status, &answer.error()["type"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_request_error")),
            "{case}: {}",
            answer.text
        );
    }
    let bomb = gzip(&vec![b' '; 200 * 1024 * 1024]);
    assert!(bomb.len() < 1024 * 1024);
    let answer = post(chat, live, "gzip", bomb).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "a bomb: {}", answer.text);
    assert_eq!(provider.asked().len(), count, "none of these reached a provider");
}

#[tokio::test]
async fn no_proxy_holds_a_stream_back_or_misreads_it() {
    let (provider, arouter) = start("").await;
    provider.answer(sse().all([say("done \u{2705} \u{5165}"), stop(), tail(&usage())]));
    let mut stream = ask();
    stream["stream"] = json!(true);
    let answer = Answer::of(&arouter, &stream).await;
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control"), answer.header("x-accel-buffering")),
        ("text/event-stream; charset=utf-8", "no-cache, no-transform", "no")
    );
    assert_eq!(answer.content(), "done \u{2705} \u{5165}");
}

#[tokio::test]
async fn a_model_is_read_by_its_name() {
    // The operator sets a price of its own for a model that the catalogue has.
    let provider = Scripted::start().await;
    let own = format!("[[providers]]\nslug = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", provider.address)
        + "[[models]]\nid = \"openai/gpt-4.1\"\nprovider = \"openai\"\nprompt_usd_per_mtok = \"7\"\ncompletion_usd_per_mtok = \"8\"\ncontext_length = 1000\n";
    let arouter = Arouter::start(Storage::Sqlite, &(provider.config() + &own)).await;
    let listed = arouter.get("/v1/models").await;
    let of_list = |id: &str| listed["data"].as_array().unwrap().iter().find(|model| model["id"] == id).unwrap().clone();
    for prefix in ["/v1", "/api/v1"] {
        for (path, id) in [
            ("fake/m", "fake/m"),
            ("fake%2Fm", "fake/m"),
            ("fake%2fm", "fake/m"),
            ("openai/gpt-4.1", "openai/gpt-4.1"),
            ("openai/gpt-4-1", "openai/gpt-4.1"),
        ] {
            let (status, body) = arouter.call(Method::GET, &format!("{prefix}/models/{path}"), &arouter.keys.live_key, None).await;
            assert_eq!((status, &body), (StatusCode::OK, &of_list(id)), "{prefix}/models/{path}");
        }
    }
    assert_eq!(of_list("openai/gpt-4.1")["pricing"]["prompt"], "0.000007000000");
    let (_, made) = arouter
        .call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "k", "allowed_models": ["openai/*"]})))
        .await;
    let narrow = made["key"].as_str().unwrap();
    for (path, key, expected) in [
        ("fake/none", arouter.keys.live_key.as_str(), StatusCode::NOT_FOUND),
        ("none", &arouter.keys.live_key, StatusCode::NOT_FOUND),
        ("fake/m/more", &arouter.keys.live_key, StatusCode::NOT_FOUND),
        ("fake/m", narrow, StatusCode::NOT_FOUND),
        ("fake/m", "lr_live_none", StatusCode::UNAUTHORIZED),
    ] {
        let (status, body) = arouter.call(Method::GET, &format!("/v1/models/{path}"), key, None).await;
        let kind = if expected == StatusCode::NOT_FOUND { "not_found_error" } else { "authentication_error" };
        assert_eq!((status, &body["error"]["type"]), (expected, &json!(kind)), "{path}: {body}");
    }
}

#[tokio::test]
async fn amounts_are_rounded_half_up_to_the_nano() {
    let (_provider, arouter) = start("").await;
    for (written, exact) in [
        ("0.30000000000000004", 300_000_000),
        ("12.340000000000002", 12_340_000_000),
        ("0.29999999999999999", 300_000_000),
        ("1e-05", 10_000),
        ("\"5\"", 5_000_000_000),
        ("\"0.30000000000000004\"", 300_000_000),
        ("5e-10", 1),
        ("1.4e-9", 1),
        ("0.0000000015", 2),
    ] {
        let url = format!("{}/api/v1/keys", arouter.base);
        let body = format!("{{\"name\":\"float\",\"limit\":{written}}}");
        let answer = arouter.http.post(url).bearer_auth(&arouter.keys.management_key).body(body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json_value().await.unwrap());
        assert_eq!(status, StatusCode::CREATED, "{written}: {body}");
        assert_eq!(nanos(&body["data"]["limit"]), exact, "{written}: {body}");
    }
    let operator = std::fs::read_to_string(arouter.data().join("operator.token")).unwrap();
    for (kind, written, exact) in [("grant", "0.30000000000000004", 300_000_000), ("adjustment", "-0.10000000000000001", -100_000_000)] {
        let url = format!("{}/api/v1/admin/credit", arouter.base);
        let body = format!("{{\"account\":\"{}\",\"kind\":\"{kind}\",\"amount\":{written}}}", arouter.keys.account);
        let answer = arouter.http.post(url).bearer_auth(operator.trim()).body(body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json_value().await.unwrap());
        assert_eq!((status, nanos(&body["data"]["amount"])), (StatusCode::CREATED, exact), "{kind} {written}: {body}");
    }
    for absurd in ["-0.5", "1e30", "\"many\""] {
        let url = format!("{}/api/v1/keys", arouter.base);
        let body = format!("{{\"name\":\"float\",\"limit\":{absurd}}}");
        let answer = arouter.http.post(url).bearer_auth(&arouter.keys.management_key).body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{absurd}");
    }
}

/// A process `arouter up` that may or may not start.
struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("arouter.toml"), config).unwrap();
        let file = |name: &str| std::fs::File::create(path(name)).unwrap();
        let mut command = Command::new(program());
        command.arg("up").arg("--config").arg(path("arouter.toml")).arg("--data").arg(path("data")).current_dir(repository());
        command.env("AROUTER_SERVER__LISTEN", "127.0.0.1:0");
        let child = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, folder }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_str(&self.text(name)).ok()
    }

    /// Returns whether the process ended with an error; `None` while it runs.
    fn failed(&mut self) -> Option<bool> {
        self.child.try_wait().unwrap().map(|status| !status.success())
    }

    /// Returns its address and first keys, once they are written. Panics if the process has ended.
    async fn running(&mut self) -> (String, Keys) {
        until("the first keys", || {
            assert!(self.failed().is_none(), "it ended: {}", self.text("stderr"));
            let found = self.json("data/running.json").zip(self.json("data/first-run.json"));
            async move {
                let (running, first) = found?;
                let address = running["base_url"].as_str()?.split("//").nth(1)?.split('/').next()?.to_owned();
                Some((address, serde_json::from_value(first).ok()?))
            }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        if self.failed().is_none() {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let _status = self.child.wait();
    }
}

#[tokio::test]
async fn two_models_of_one_name_are_refused_at_the_start() {
    let model = |id: &str, price: u32| {
        format!(
            "[[models]]\nid = \"{id}\"\nprovider = \"p\"\nprompt_usd_per_mtok = \"{price}\"\ncompletion_usd_per_mtok = \"1\"\ncontext_length = 1000\n"
        )
    };
    for (one, other) in [("p/m-1-5", "p/m-1.5"), ("p/m", "P/M"), ("xai/m", "x-ai/m"), ("p/m", "p/m")] {
        let provider = "[[providers]]\nslug = \"p\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"x\"\n";
        let mut process = Process::start(&format!("{provider}{}{}", model(one, 1), model(other, 9)));
        let failed = until("an end or a start", || {
            let failed = process.failed().or_else(|| process.json("data/running.json").map(|_| false));
            async move { failed }
        })
        .await;
        let output = process.text("stderr");
        assert!(failed, "it started with both {one} and {other}");
        assert!(output.contains(one) && output.contains(other), "it names both: {output}");
    }
}

#[tokio::test]
async fn the_printed_first_request_works_and_prints_no_secret() {
    let provider = Scripted::start().await;
    let mut process = Process::start(&provider.config());
    let (address, keys) = process.running().await;
    let stdout = until("the first request on stdout", || {
        let stdout = process.text("stdout");
        async move { stdout.contains("chat/completions").then_some(stdout) }
    })
    .await;
    let model = stdout.split("\"model\": \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a model in the printed request");
    let http = Client::builder().no_proxy().build().unwrap();
    let get = http.get(format!("http://{address}/v1/models")).bearer_auth(&keys.live_key);
    let models = get.send().await.unwrap().json_value().await.unwrap();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&model), "'{model}' is printed and does not exist; these do: {ids:?}");
    let post = http.post(format!("http://{address}/v1/chat/completions")).bearer_auth(&keys.live_key);
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello, books!"}]}).to_string();
    assert_eq!(post.body(body).send().await.unwrap().status(), StatusCode::OK, "the very first request");
    for secret in [&keys.live_key, &keys.management_key] {
        assert!(!stdout.contains(secret.as_str()) && !process.text("stderr").contains(secret.as_str()), "a key went to a pipe: {stdout}");
    }
}

/// Reads one response with a content length from a connection that stays open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = async {
        loop {
            assert!(stream.read_buf(&mut text).await.expect("bytes") > 0, "the connection ended: {}", String::from_utf8_lossy(&text));
            let so_far = String::from_utf8_lossy(&text).to_lowercase();
            let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
            if length.is_some_and(|length| body.len() >= length) {
                return so_far;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("an answer in time")
}

/// Waits until the other side closes a connection, and returns the time that this took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let since = std::time::Instant::now();
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    let _either_way = tokio::time::timeout(Duration::from_secs(15), reading).await.expect("the connection is closed");
    since.elapsed()
}

/// Load balancers keep idle connections for longer than a request may take to arrive, so the gateway must keep them too.
#[tokio::test]
async fn an_idle_connection_outlives_the_read_timeout() {
    let (_provider, arouter) = start("[server]\nread_timeout_ms = 1000\nkeep_alive_timeout_ms = 3000\n").await;
    let address = arouter.base.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    for idle in [0, 2_000, 2_000] {
        tokio::time::sleep(Duration::from_millis(idle)).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("an open connection");
        assert!(read_answer(&mut stream).await.starts_with("http/1.1 200"), "after {idle} ms of idleness");
    }
    let after = closed(&mut stream).await;
    assert!((2_000..6_000).contains(&after.as_millis()), "an idle connection was closed after {after:?}");
    // The next head has its own timeout, counted from its first byte.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_answer(&mut stream).await;
    stream.write_all(b"GET /healthz HTT").await.unwrap();
    let after = closed(&mut stream).await;
    assert!(after < Duration::from_millis(2_500), "half a head was waited for {after:?}");
}

#[tokio::test]
async fn credentials_that_differ_are_refused_wherever_they_stand() {
    let (_provider, arouter) = start("").await;
    let address = arouter.base.trim_start_matches("http://").to_owned();
    let (live, other) = (&arouter.keys.live_key, "lr_live_other");
    let get = async |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await[9..12].to_owned()
    };
    let bearer = |key: &str| format!("authorization: Bearer {key}\r\n");
    let api_key = |key: &str| format!("x-api-key: {key}\r\n");
    let path = "/api/v1/key";
    let cases = [
        (path.to_owned(), bearer(live) + &bearer(other), "401"),
        (path.to_owned(), bearer(other) + &bearer(live), "401"),
        (path.to_owned(), api_key(live) + &api_key(other), "401"),
        (path.to_owned(), bearer(live) + &api_key(other), "401"),
        (format!("{path}?key={live}&key={other}"), String::new(), "401"),
        (format!("{path}?key={other}&key={live}"), String::new(), "401"),
        (format!("{path}?key={live}"), bearer(live) + "authorization: Basic eDp5\r\n", "401"),
        (path.to_owned(), bearer(live) + &bearer(live), "200"),
        (format!("{path}?key={live}&key={live}"), api_key(live), "200"),
        (path.to_owned(), bearer(live), "200"),
    ];
    for (path, headers, expected) in cases {
        assert_eq!(get(&path, &headers).await, expected, "{path} {headers:?}");
    }
}

/// A request that axum refuses by itself also gets an error object.
#[tokio::test]
async fn every_refusal_is_an_error_object() {
    let (_provider, arouter) = start("").await;
    let operator = std::fs::read_to_string(arouter.data().join("operator.token")).unwrap().trim().to_owned();
    let (live, management) = (arouter.keys.live_key.clone(), arouter.keys.management_key.clone());
    for (method, path, key) in [
        (Method::GET, "/api/v1/keys/%ff", &management),
        (Method::DELETE, "/api/v1/keys/%ff", &management),
        (Method::PATCH, "/v1/keys/%ff", &management),
        (Method::GET, "/v1/models/%ff", &live),
        (Method::GET, "/v1/models/fake/%ff", &live),
        (Method::GET, "/api/v1/generation?id=%ff", &live),
        (Method::GET, "/api/v1/transactions?limit=%ff", &live),
        (Method::GET, "/api/v1/activity?period=%ff", &live),
        (Method::GET, "/api/v1/keys?offset=%ff", &management),
        (Method::GET, "/api/v1/admin/quarantine/%ff", &operator),
        (Method::POST, "/api/v1/admin/quarantine/%ff/%ff", &operator),
        (Method::POST, "/api/v1/admin/accounts/%ff/suspend", &operator),
        (Method::DELETE, "/api/v1/admin/keys/%ff", &operator),
        (Method::GET, "/%ff", &live),
    ] {
        let request = arouter.http.request(method.clone(), format!("{}{path}", arouter.base)).bearer_auth(key);
        let answer = Answer::read(request.send().await.unwrap()).await;
        let error = answer.error();
        assert!(answer.status.is_client_error(), "{method} {path}: {} {}", answer.status, answer.text);
        assert!(error["type"].is_string() && error["message"].is_string(), "{method} {path}: {} {:?}", answer.status, answer.text);
        assert!(answer.header("content-type").starts_with("application/json"), "{method} {path}: {:?}", answer.headers);
        assert!(!answer.header("x-request-id").is_empty(), "{method} {path}");
    }
}

/// Returns a client that trusts only this certificate.
fn trusting(certificate: &[u8]) -> Client {
    let certificate = reqwest::Certificate::from_pem(certificate).unwrap();
    Client::builder().no_proxy().timeout(Duration::from_secs(10)).tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test]
async fn the_listener_speaks_tls_and_follows_its_files() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let files = tempfile::tempdir().unwrap();
    let first = certificate::make(files.path());
    let path = |name: &str| files.path().join(name).display().to_string();
    let provider = Scripted::start().await;
    let tls = format!("[server]\ntls_cert = \"{}\"\ntls_key = \"{}\"\n", path("cert.pem"), path("key.pem"));
    let mut process = Process::start(&format!("{tls}{}", provider.config()));
    let (address, keys) = process.running().await;
    let base_url = process.json("data/first-run.json").unwrap()["base_url"].as_str().unwrap().to_owned();
    assert_eq!(base_url, format!("https://{address}/v1"));
    let old = trusting(&first);
    let ready =
        async |http: Client| http.get(format!("https://{address}/readyz")).send().await.ok().filter(|answer| answer.status().is_success());
    until("readiness over TLS", || ready(old.clone())).await;
    let post = old.post(format!("{base_url}/chat/completions")).bearer_auth(&keys.live_key).body(ask().to_string());
    assert_eq!(post.send().await.unwrap().status(), StatusCode::OK);
    provider.answer(sse().all([say("one"), stop(), tail(&usage())]));
    let mut stream = ask();
    stream["stream"] = json!(true);
    let post = old.post(format!("{base_url}/chat/completions")).bearer_auth(&keys.live_key).body(stream.to_string());
    assert!(Answer::read(post.send().await.unwrap()).await.is_complete(), "a stream over TLS");
    let plain = Client::builder().no_proxy().build().unwrap().get(format!("http://{address}/healthz")).send().await;
    assert!(plain.is_err() || plain.is_ok_and(|answer| !answer.status().is_success()), "the port takes no plain HTTP");

    let second = certificate::make(files.path());
    until("the new certificate", || ready(trusting(&second))).await;
    assert!(ready(trusting(&first)).await.is_none(), "the old certificate is gone");
    assert!(ready(old.clone()).await.is_some(), "a connection that stands goes on");
    // If the files are not a valid pair, the last valid one stays in use.
    std::fs::write(files.path().join("cert.pem"), "no certificate").unwrap();
    until("a word about it", || async { process.text("stderr").contains("cert.pem").then_some(()) }).await;
    assert!(ready(trusting(&second)).await.is_some(), "the last good pair goes on");
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_at_the_start() {
    let files = tempfile::tempdir().unwrap();
    let _made = certificate::make(files.path());
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    for (config, names) in [
        (format!("[server]\ntls_cert = \"{}\"\n", cert.display()), "tls_key"),
        (format!("[server]\ntls_key = \"{}\"\n", key.display()), "tls_cert"),
        (format!("[server]\ntls_cert = \"{0}\"\ntls_key = \"{0}\"\n", cert.display()), "cert.pem"),
    ] {
        let mut process = Process::start(&config);
        let failed = until("an end or a start", || {
            let failed = process.failed().or_else(|| process.json("data/running.json").map(|_| false));
            async move { failed }
        })
        .await;
        assert!(failed && process.text("stderr").contains(names), "{config} {}", process.text("stderr"));
    }
}
