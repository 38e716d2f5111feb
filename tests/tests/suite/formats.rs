//! Clients and providers of every wire format: what is said, what is charged, and how a stream ends.

use std::time::{Duration, Instant};

use events::stream::Stream;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::scripted::{reply, sse};
use tests::vendor::{Api, Counts, PRICES};
use tests::wait::until;
use tests::{Answer, Arouter, Scripted, Storage};
use tokio_util::sync::CancellationToken;

/// The credit of a new account in nano-USD.
const CREDIT: i64 = 10_000_000_000;
/// The answers whose charge is compared, for each pair of formats.
const ANSWERS: u64 = 30;
/// The streams that clients leave, for each format; `FORMATS_CLIENTS` overrides it.
const CLIENTS: usize = 40;
/// The maximum time after which a provider's connection ends behind its client's.
const CLOSED_WITHIN: Duration = Duration::from_millis(100);

/// One provider of each format, and a gateway in front of all.
struct Setting {
    providers: Vec<(Api, Scripted)>,
    arouter: Arouter,
}

impl Setting {
    async fn start(more: &str) -> Self {
        let (mut providers, mut config) = (Vec::new(), more.to_owned());
        for api in Api::ALL {
            let provider = Scripted::start().await;
            let provider_config = format!(
                "[[providers]]\nslug = \"{slug}\"\nbase_url = \"http://{}/v1\"\napi_key = \"upstream-secret\"\n{}\n\
                 [[models]]\nid = \"{slug}/m\"\nprovider = \"{slug}\"\ncontext_length = 100000\nmax_output_tokens = 1000\n{}\n",
                provider.address,
                api.settings(),
                Counts::prices(),
                slug = api.slug(),
            );
            config.push_str(&provider_config);
            providers.push((api, provider));
        }
        Self { providers, arouter: Arouter::start(Storage::Sqlite, &config).await }
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.arouter.http.post(format!("{}{path}", self.arouter.base)).bearer_auth(&self.arouter.keys.live_key);
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    fn provider(&self, api: Api) -> &Scripted {
        &self.providers.iter().find(|(known, _)| *known == api).unwrap().1
    }

    async fn ask(&self, client: Api, provider: Api, stream: bool) -> Answer {
        let model = format!("{}/m", provider.slug());
        Answer::read(self.post(&client.path(&model, stream), &client.request(&model, stream)).await).await
    }
}

/// Returns the path at which the proxy has the operation of this API.
fn proxied(api: Api, stream: bool) -> String {
    match api {
        Api::Chat => "/chat/v1/chat/completions?x=1".to_owned(),
        Api::Responses => "/responses/v1/responses?x=1".to_owned(),
        Api::Messages => "/messages/v1/messages?x=1".to_owned(),
        Api::Generate if stream => "/generate/v1beta/models/m:streamGenerateContent?alt=sse".to_owned(),
        Api::Generate => "/generate/v1beta/models/m:generateContent?x=1".to_owned(),
    }
}

/// Returns counts that differ for each number, with every class.
const fn counts(number: u64) -> Counts {
    Counts {
        input: 11 + 7 * number,
        cache_read: 5 * number,
        cache_write_5m: 3 * (number % 5),
        cache_write_1h: 2 * (number % 3),
        output: 4 + number,
        reasoning: 6 * (number % 4),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_formats_says_the_text_and_charges_the_providers_own_counts() {
    let setting = Setting::start("").await;
    let mut charged = 0;
    for (api, provider) in &setting.providers {
        for client in Api::ALL {
            for number in 0..ANSWERS {
                let counts = counts(number);
                let expected = i64::try_from(api.told(&counts).cost()).unwrap();
                let cell = format!("{client:?} to {api:?}, {number}");

                provider.answer(api.whole("one two", &counts));
                let answer = setting.ask(client, *api, false).await;
                assert_eq!(answer.status, StatusCode::OK, "{cell}: {}", answer.text);
                let body = answer.json();
                assert_eq!((client.text(&body), nanos(&client.cost(&body))), ("one two".to_owned(), expected), "{cell}: {body}");

                provider.answer(api.stream(&["one ", "two"], &counts));
                let answer = setting.ask(client, *api, true).await;
                let frames = answer.frames();
                let text: String = frames.iter().map(|frame| client.piece(frame)).collect();
                let costs: Vec<Value> = frames.iter().map(|frame| client.cost(frame)).filter(|cost| !cost.is_null()).collect();
                assert_eq!(text, "one two", "{cell}: {}", answer.text);
                assert_eq!(costs.iter().map(nanos).collect::<Vec<_>>(), [expected], "{cell}: {}", answer.text);
                charged += 2 * expected;
            }
        }
    }
    let asked = usize::try_from(ANSWERS).unwrap() * 2 * 16;
    let balance = until("every posting", || async {
        let balance = setting.arouter.balance().await;
        let spent = CREDIT - nanos(&balance["balance"]);
        (spent >= charged).then_some(spent)
    })
    .await;
    assert_eq!(balance, charged, "of {asked} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_ends_the_stream_with_an_error_of_the_clients_format() {
    let setting = Setting::start("").await;
    for (api, provider) in &setting.providers {
        provider.answer(sse().all(api.begun(&["one ", "two "], &counts(1))));
        for client in Api::ALL {
            let answer = setting.ask(client, *api, true).await;
            let (frames, cell) = (answer.frames(), format!("{client:?} to {api:?}: {}", answer.text));
            let last = frames.last().unwrap();
            let said: String = frames.iter().map(|frame| client.piece(frame)).collect();
            assert_eq!(said, "one two ", "{cell}");
            match client {
                Api::Chat => assert!(last["error"].is_object() && last["choices"][0]["finish_reason"] == "error", "{cell}"),
                Api::Responses => assert!(last["type"] == "response.failed" && last["response"]["error"].is_object(), "{cell}"),
                Api::Messages => assert!(last["type"] == "error" && last["error"]["type"].is_string(), "{cell}"),
                Api::Generate => assert!(last["error"]["code"].is_number() && last["error"]["status"].is_string(), "{cell}"),
            }
            let clean = ["[DONE]", "message_stop", "response.completed", "\"finishReason\""];
            assert!(!clean.iter().any(|mark| answer.text.contains(mark)), "{cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
async fn a_client_that_leaves_takes_its_provider_along_and_pays() {
    let clients = std::env::var("FORMATS_CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(CLIENTS);
    let setting = Setting::start("").await;
    let mut left = 0;
    for (api, provider) in &setting.providers {
        let gate = CancellationToken::new();
        let pieces = ["one ", "two ", "three "];
        provider.answer(sse().all(api.begun(&pieces, &counts(1))).until(&gate));
        let model = format!("{}/m", api.slug());
        for number in 0..clients {
            let mut response = setting.post(&api.path(&model, true), &api.request(&model, true)).await;
            let mut text = String::new();
            while !text.contains("three ") {
                text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
            }
            drop(response);
            let since = Instant::now();
            while provider.abandoned() <= number {
                assert!(since.elapsed() < CLOSED_WITHIN * 5, "{api:?}, client {number}: the provider's connection lives on");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(since.elapsed() < CLOSED_WITHIN, "{api:?}, client {number}: closed after {:?}", since.elapsed());
        }
        left += clients;
    }
    let charges = until("every charge", || async {
        let charges = setting.arouter.recorded(Stream::Usage).await;
        (charges.len() >= left).then_some(charges)
    })
    .await;
    assert_eq!(charges.len(), left, "one charge for each request");
    assert!(charges.iter().all(|charge| charge["data"]["cost_nanos"].as_i64().unwrap_or_default() > 0), "everybody who read pays");
    let balance = until("nothing held", || async {
        let balance = setting.arouter.balance().await;
        (nanos(&balance["held"]) == 0).then_some(balance)
    })
    .await;
    assert!(nanos(&balance["balance"]) < CREDIT, "{balance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_of_the_routes_format() {
    let setting = Setting::start("").await;
    for client in Api::ALL {
        let answer = Answer::read(setting.post(&client.path("nobody/knows", false), &client.request("nobody/knows", false)).await).await;
        let (body, status) = (answer.json(), answer.status);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{client:?}: {body}");
        match client {
            Api::Chat | Api::Responses => assert_eq!(body["error"]["code"], "model_not_found", "{body}"),
            Api::Messages => {
                assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("invalid_request_error")), "{body}");
            }
            Api::Generate => {
                assert_eq!((&body["error"]["code"], &body["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")), "{body}");
            }
        }
        let wrong_key = setting.arouter.http.post(format!("{}{}", setting.arouter.base, client.path("chat/m", false)));
        let wrong_key = wrong_key.header("x-goog-api-key", "lr_live_wrong").body("{}").send().await.unwrap();
        assert_eq!(wrong_key.status(), StatusCode::UNAUTHORIZED);
    }
    let stored = json!({"model": "chat/m", "input": "x", "previous_response_id": "resp_1"});
    let answer = Answer::read(setting.post("/v1/responses", &stored).await).await;
    assert!(answer.status == StatusCode::BAD_REQUEST && answer.error()["param"] == "previous_response_id", "{}", answer.text);
    let upgrade = setting.arouter.http.get(format!("{}/v1/responses", setting.arouter.base)).header("upgrade", "websocket");
    assert_eq!(upgrade.send().await.unwrap().status(), StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_in_the_shape_of_whoever_asks() {
    let setting = Setting::start("").await;
    let list = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = setting.arouter.http.get(format!("{}{path}", setting.arouter.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await.unwrap()).await.json()
    };
    let key = setting.arouter.keys.live_key.as_str();
    let openai = list("/v1/models", &[("authorization", &format!("Bearer {key}"))]).await;
    assert_eq!(openai["object"], "list");
    let anthropic = list("/v1/models", &[("x-api-key", key), ("anthropic-version", "2023-06-01")]).await;
    assert!(anthropic["has_more"] == false && anthropic["data"][0]["type"] == "model", "{anthropic}");
    for (path, headers) in [("/v1/models", vec![("x-goog-api-key", key)]), (&*format!("/v1beta/models?key={key}"), vec![])] {
        let google = list(path, &headers).await;
        assert!(google["models"][0]["name"].as_str().unwrap().starts_with("models/"), "{google}");
    }
    let one = list("/v1beta/models/generate/m", &[("x-goog-api-key", key)]).await;
    assert_eq!(one["name"], "models/generate/m");
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_counted_by_the_provider_of_the_format_or_by_an_estimate() {
    let setting = Setting::start("").await;
    let messages = &setting.providers.iter().find(|(api, _)| *api == Api::Messages).unwrap().1;
    messages.answer(tests::scripted::reply("200 OK", "", r#"{"input_tokens":77}"#));
    let body = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "four or five words here"}]});
    let counted = Answer::read(setting.post("/v1/messages/count_tokens", &body("messages/m")).await).await;
    assert_eq!(counted.json(), json!({"input_tokens": 77}), "{}", counted.text);
    assert!(messages.asked()[0].head.starts_with("POST /v1/messages/count_tokens "), "{}", messages.asked()[0].head);
    let estimated = Answer::read(setting.post("/v1/messages/count_tokens", &body("chat/m")).await).await.json();
    assert!((3..60).contains(&estimated["input_tokens"].as_u64().unwrap()), "{estimated}");
    let contents = json!({"contents": [{"parts": [{"text": "four or five words here"}]}]});
    let google = Answer::read(setting.post("/v1beta/models/chat/m:countTokens", &contents).await).await.json();
    assert!(google["totalTokens"].as_u64().unwrap() > 3, "{google}");
    assert_eq!(nanos(&setting.arouter.balance().await["balance"]), CREDIT, "a count costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompts_of_responses_are_counted_by_openai_or_by_an_estimate() {
    let setting = Setting::start("").await;
    let responses = setting.provider(Api::Responses);
    let counted = json!({"object": "response.input_tokens", "input_tokens": 77});
    responses.answer(reply("200 OK", "", counted.to_string()));
    let body = |model: &str| json!({"model": model, "input": "four or five words here"});
    let answer = Answer::read(setting.post("/v1/responses/input_tokens", &body("responses/m")).await).await;
    assert_eq!(answer.json(), counted, "{}", answer.text);
    let asked = responses.asked().pop().unwrap();
    assert!(asked.head.starts_with("POST /v1/responses/input_tokens "), "{}", asked.head);
    assert_eq!(asked.body, json!({"model": "m", "input": "four or five words here"}), "OpenAI refuses every other field");
    let estimated = Answer::read(setting.post("/v1/responses/input_tokens", &body("messages/m")).await).await.json();
    assert!(estimated["object"] == "response.input_tokens" && estimated["input_tokens"].as_u64().unwrap() > 3, "{estimated}");
    assert_eq!(nanos(&setting.arouter.balance().await["balance"]), CREDIT, "a count costs nothing");
}

/// Returns the path and body with which each client asks for the vectors of texts.
fn embeddings(model: &str, texts: &[&str], is_google: bool) -> (String, Value) {
    if is_google {
        let one = |text: &&str| json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]}});
        let requests: Vec<Value> = texts.iter().map(one).collect();
        return (format!("/v1beta/models/{model}:batchEmbedContents"), json!({"requests": requests}));
    }
    ("/v1/embeddings".to_owned(), json!({"model": model, "input": texts}))
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_said_in_the_clients_format_and_charged_by_their_prompts() {
    let setting = Setting::start("").await;
    let data =
        json!([{"object": "embedding", "index": 0, "embedding": [0.5, 1]}, {"object": "embedding", "index": 1, "embedding": [2, 3]}]);
    let openai = json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}});
    let values = json!([{"values": [0.5, 1]}, {"values": [2, 3]}]);
    let google = json!({"embeddings": values, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}});
    let cost = i64::try_from(7 * PRICES[0] / 1_000).unwrap();
    for (api, said, upstream) in [(Api::Chat, &openai, "/v1/embeddings"), (Api::Generate, &google, "/v1beta/models/m:batchEmbedContents")] {
        setting.provider(api).answer(reply("200 OK", "", said.to_string()));
        for is_google in [false, true] {
            let (path, body) = embeddings(&format!("{}/m", api.slug()), &["one", "three"], is_google);
            let answer = Answer::read(setting.post(&path, &body).await).await;
            let (body, cell) = (answer.json(), format!("google: {is_google}, to {api:?}: {}", answer.text));
            assert_eq!(answer.status, StatusCode::OK, "{cell}");
            let (vectors, charge) =
                if is_google { (&body["embeddings"], &body["arouter"]["cost"]) } else { (&body["data"], &body["usage"]["cost"]) };
            assert_eq!((vectors, nanos(charge)), (if is_google { &values } else { &data }, cost), "{cell}");
            let asked = setting.provider(api).asked().pop().unwrap();
            assert!(asked.head.starts_with(&format!("POST {upstream} ")), "{cell}: {}", asked.head);
            assert_eq!(asked.body, embeddings("m", &["one", "three"], api == Api::Generate).1, "{cell}");
        }
    }
    until("every posting", || async {
        let spent = CREDIT - nanos(&setting.arouter.balance().await["balance"]);
        (spent == 4 * cost).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_content_without_a_usage_is_charged_by_the_gateways_own_count() {
    let setting = Setting::start("").await;
    let google = setting.provider(Api::Generate);
    google.answer(reply("200 OK", "", json!({"embedding": {"values": [0.5]}}).to_string()));
    let body = json!({"content": {"parts": [{"text": "twelve bytes"}]}, "taskType": "CLUSTERING"});
    let answer = Answer::read(setting.post("/v1beta/models/generate/m:embedContent", &body).await).await;
    // Three tokens, and nothing for the vector.
    assert_eq!(nanos(&answer.json()["arouter"]["cost"]), i64::try_from(3 * PRICES[0] / 1_000).unwrap(), "{}", answer.text);
    assert_eq!(answer.json()["embedding"], json!({"values": [0.5]}));
    let asked = google.asked().pop().unwrap();
    assert!(asked.head.starts_with("POST /v1beta/models/m:embedContent ") && asked.body == body, "{}: {}", asked.head, asked.body);
    let charge = until("the charge", || async { setting.arouter.recorded(Stream::Usage).await.pop() }).await;
    assert_eq!(charge["data"]["provenance"], "measured", "{charge}");

    google.answer(reply("200 OK", "", json!({"embeddings": [{"values": [1, -2]}]}).to_string()));
    let base64 = json!({"model": "generate/m", "input": "x", "encoding_format": "base64", "user": "u"});
    let answer = Answer::read(setting.post("/v1/embeddings", &base64).await).await;
    assert_eq!(answer.json()["data"][0]["embedding"], "AACAPwAAAMA=", "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_that_a_provider_cannot_be_asked_for_are_refused() {
    let setting = Setting::start("").await;
    let content = json!({"content": {"parts": [{"text": "x"}]}, "taskType": "RETRIEVAL_QUERY"});
    for (path, body, word) in [
        ("/v1beta/models/chat/m:embedContent", content.clone(), "'taskType'"),
        ("/v1beta/models/messages/m:embedContent", content.clone(), "this operation"),
        ("/v1beta/models/chat/m:batchEmbedContents", json!({}), "'requests'"),
        ("/v1/embeddings", json!({"model": "generate/m", "input": [1, 2]}), "'input'"),
    ] {
        let answer = Answer::read(setting.post(path, &body).await).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
        assert!(answer.error()["message"].as_str().unwrap().contains(word), "{path}: {}", answer.text);
    }
    let job = Answer::read(setting.post("/v1beta/models/generate/m:asyncBatchEmbedContent", &content).await).await;
    assert!(job.status == StatusCode::NOT_FOUND && job.error()["status"] == "NOT_FOUND", "{}", job.text);
    assert_eq!(nanos(&setting.arouter.balance().await["balance"]), CREDIT, "a refusal costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_passes_everything_but_the_credential_and_meters_what_it_knows() {
    let setting = Setting::start("").await;
    for (api, provider) in &setting.providers {
        let (path, body, counts) = (proxied(*api, false), api.request("m", false), counts(3));
        provider.answer(api.whole("one two", &counts));
        let answer = Answer::read(setting.post(&path, &body).await).await;
        assert_eq!(answer.status, StatusCode::OK, "{api:?}: {}", answer.text);
        assert_eq!(api.text(&answer.json()), "one two");
        assert!(api.cost(&answer.json()).is_null(), "nothing of ours is in the body");
        assert!(answer.header("x-generation-id").starts_with("gen-"));
        let asked = provider.asked().pop().unwrap();
        assert_eq!(asked.body, body);
        assert!(asked.head.contains("upstream-secret") && !asked.head.contains("lr_live"), "{}", asked.head);
        assert!(asked.head.lines().next().unwrap().contains("?x=1"), "{}", asked.head);
    }
    let expected: u64 = Api::ALL.iter().map(|api| api.told(&counts(3)).cost()).sum();
    until("the charges", || async {
        let spent = CREDIT - nanos(&setting.arouter.balance().await["balance"]);
        (spent == i64::try_from(expected).unwrap()).then_some(())
    })
    .await;
    let unmetered = Answer::read(setting.post("/chat/v1/files", &json!({})).await).await;
    assert_eq!(unmetered.status, StatusCode::FORBIDDEN, "{}", unmetered.text);
    let nowhere = Answer::read(setting.post("/nobody/v1/x", &json!({})).await).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_answer_of_any_shape_is_charged_by_its_usage() {
    let setting = Setting::start("").await;
    let counts = counts(3);
    let mut expected = 0;
    for (api, provider) in &setting.providers {
        let frames: String = api.begun(&["one ", "two"], &counts).into_iter().chain(api.ended("one two", &counts)).collect();
        let (path, body) = (proxied(*api, true), api.request("m", true));
        // The provider closes the connection without the blank line behind its last frame.
        provider.answer(sse().then(frames.trim_end()));
        let answer = Answer::read(setting.post(&path, &body).await).await;
        assert_eq!(answer.text, frames.trim_end(), "{api:?}");
        expected += api.told(&counts).cost();
        if *api == Api::Generate {
            let array: Vec<Value> = answer.frames();
            provider.answer(tests::scripted::reply("200 OK", "", json!(array).to_string()));
            let answer = Answer::read(setting.post("/generate/v1beta/models/m:streamGenerateContent", &body).await).await;
            assert_eq!(answer.json(), json!(array));
            expected += api.told(&counts).cost();
        }
    }
    let charges = until("the charges", || async {
        let charges = setting.arouter.recorded(Stream::Usage).await;
        (charges.len() == 5).then_some(charges)
    })
    .await;
    let sum: i64 = charges.iter().map(|charge| charge["data"]["cost_nanos"].as_i64().unwrap()).sum();
    assert_eq!(sum, i64::try_from(expected).unwrap(), "{charges:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_success_is_never_free_and_a_refusal_always_is() {
    let setting = Setting::start("").await;
    let replies = [("200 OK", "no answer of any format, but 48 bytes of something"), ("429 Too Many Requests", ""), ("500 Oh", "{}")];
    for (api, provider) in &setting.providers {
        for (status, body) in replies {
            provider.answer(tests::scripted::reply(status, "", body));
            let answer = Answer::read(setting.post(&proxied(*api, false), &api.request("m", false)).await).await;
            assert_eq!((answer.status.as_str(), &*answer.text), (&status[..3], body), "{api:?}");
        }
    }
    let charges = until("the charges", || async {
        let charges = setting.arouter.recorded(Stream::Usage).await;
        (charges.len() == replies.len() * Api::ALL.len()).then_some(charges)
    })
    .await;
    for charge in &charges {
        let data = &charge["data"];
        let expected = if data["status"] == 200 { ("finished", "priced") } else { ("failed", "waived") };
        assert_eq!((data["outcome"].as_str().unwrap(), data["cost_status"].as_str().unwrap()), expected, "{data}");
        assert_eq!(data["cost_nanos"].as_i64().unwrap() > 0, data["status"] == 200, "{data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_request_is_held_for_the_longest_answer_whatever_its_cap_is_called() {
    let setting = Setting::start("").await;
    let caps = ["max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"];
    for cap in caps {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], cap: 5});
        let answer = Answer::read(setting.post("/chat/v1/chat/completions", &body).await).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let started = until("the starts", || async {
        let started: Vec<Value> = setting.arouter.recorded(Stream::Requests).await;
        let started: Vec<Value> = started.into_iter().filter(|event| event["data"]["hold_nanos"].is_i64()).collect();
        (started.len() == caps.len()).then_some(started)
    })
    .await;
    let longest = i64::try_from(Counts { output: 1_000, ..Counts::default() }.cost()).unwrap();
    assert!(started.iter().all(|event| event["data"]["hold_nanos"].as_i64().unwrap() > longest), "{started:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_operation_that_cannot_be_metered_is_recorded_with_an_unknown_cost() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config_as("fake", "proxy_unmetered = \"allow\"")).await;
    provider.answer(tests::scripted::reply("201 Created", "x-vendor: yes\r\n", r#"{"id":"file-1"}"#));
    let url = format!("{}/fake/v1/files", arouter.base);
    let sent = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).body("{}").send().await.unwrap();
    let answer = Answer::read(sent).await;
    assert_eq!((answer.status, answer.header("x-vendor")), (StatusCode::CREATED, "yes"), "{}", answer.text);
    let report = arouter.generation(answer.header("x-generation-id")).await;
    assert!(report["usage"]["cost"].is_null(), "{report}");
    assert_eq!(nanos(&arouter.balance().await["balance"]), CREDIT);
}
