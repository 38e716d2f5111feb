//! The choice among providers, as callers see it: each documented field of `provider`, variants of names, `auto`, fallback, circuit
//! breakers, several credentials of a provider, and the lists of endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use events::stream::Stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::port;
use tests::scripted::{DONE, Script, reply, say, sse, stop, tail, usage, whole};
use tests::wait::until;
use tests::{Answer, Arouter, Scripted, Storage};
use tokio_util::sync::CancellationToken;

/// One model at three providers: `a` is cheap, `b` retains nothing, `c` is dear and precise.
struct Setting {
    a: Scripted,
    b: Scripted,
    c: Scripted,
    arouter: Arouter,
}

impl Setting {
    async fn start(more: &str) -> Self {
        let (a, b, c) = (Scripted::start().await, Scripted::start().await, Scripted::start().await);
        let provider = |slug: &str, provider: &Scripted, settings: &str| {
            format!(
                "[[providers]]\nslug = \"{slug}\"\nbase_url = \"http://{}/v1\"\napi_key = \"key-{slug}\"\n{settings}\n",
                provider.address
            )
        };
        let model = |slug: &str, price: &str, settings: &str| {
            format!(
                "[[models]]\nid = \"x/m\"\nprovider = \"{slug}\"\nupstream_model = \"m\"\nprompt_usd_per_mtok = \"{price}\"\n\
                 completion_usd_per_mtok = \"{price}\"\n{settings}\n"
            )
        };
        let config = [
            more.to_owned(),
            provider("a", &a, ""),
            provider("b", &b, "name = \"Bee\"\nzdr = true\ncollects_data = false\nregion = \"eu\""),
            provider("c", &c, "collects_data = false"),
            model("a", "1", "context_length = 10000\ncapabilities = [\"tools\"]"),
            model("b", "2", "context_length = 20000\nmax_output_tokens = 500\ncapabilities = []"),
            model("c", "4", "context_length = 20000\nquantization = \"bf16\"\ncapabilities = [\"tools\", \"structured_outputs\"]"),
        ];
        let arouter = Arouter::start(Storage::Sqlite, &config.join("\n")).await;
        Self { a, b, c, arouter }
    }

    fn all(&self) -> [(&'static str, &Scripted); 3] {
        [("a", &self.a), ("b", &self.b), ("c", &self.c)]
    }

    async fn ask(&self, fields: &Value) -> Answer {
        let mut body = json!({"model": "x/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        Answer::of(&self.arouter, &body).await
    }

    /// Returns the provider that answers a request with these fields.
    async fn chosen(&self, fields: &Value) -> &'static str {
        let before = self.all().map(|(_, provider)| provider.asked().len());
        let answer = self.ask(fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{fields}: {}", answer.text);
        let asked: Vec<_> = self
            .all()
            .iter()
            .zip(before)
            .filter(|((_, provider), before)| provider.asked().len() > *before)
            .map(|((slug, _), _)| *slug)
            .collect();
        asked.last().unwrap()
    }

    /// Returns the providers in the order in which a request tries them, when all fail.
    async fn order(&self, fields: &Value) -> (Vec<String>, Answer) {
        for (_, provider) in self.all() {
            provider.answer(reply("503 Busy", "", "{}"));
        }
        let answer = self.ask(fields).await;
        for (_, provider) in self.all() {
            provider.answer(reply("200 OK", "", whole("one two", &usage()).to_string()));
        }
        let attempts = answer.json()["error"]["metadata"]["attempts"].clone();
        (attempts.as_array().unwrap().iter().map(|attempt| attempt["provider"].as_str().unwrap().to_owned()).collect(), answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_provider_chooses_as_documented() {
    let setting = Setting::start("").await;
    let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    for (fields, expected) in [
        (json!({"provider": {"order": ["c", "a"]}}), "c"),
        (json!({"provider": {"order": ["bee"]}}), "b"),
        (json!({"provider": {"only": ["B"]}}), "b"),
        (json!({"provider": {"ignore": ["a", "b"]}}), "c"),
        (json!({"provider": {"zdr": true}}), "b"),
        (json!({"provider": {"data_collection": "deny", "sort": "price"}}), "b"),
        (json!({"provider": {"quantizations": ["bf16", "fp8"]}}), "c"),
        (json!({"provider": {"sort": "price"}}), "a"),
        (json!({"provider": {"sort": {"by": "price", "partition": "none"}}}), "a"),
        (json!({"provider": {"max_price": {"prompt": 2, "completion": "2.5"}, "ignore": ["a"]}}), "b"),
        (json!({"provider": {"require_parameters": true}, "response_format": schema}), "c"),
        (json!({"model": "x/m:floor"}), "a"),
        (json!({"model": "x/m:extended", "provider": {"sort": "price"}}), "b"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}}], "provider": {"ignore": ["a"], "sort": "price"}}), "c"),
        (json!({"max_tokens": 2000, "provider": {"ignore": ["a"], "sort": "price"}}), "c"),
        (json!({"messages": [{"role": "user", "content": "x".repeat(50_000)}], "provider": {"sort": "price"}}), "b"),
        (json!({"provider": {}}), "any"),
    ] {
        let chosen = setting.chosen(&fields).await;
        assert!(expected == "any" || chosen == expected, "{fields}: {chosen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn measured_speed_chooses_among_endpoints() {
    let setting = Setting::start("").await;
    for (provider, pause_ms) in [(&setting.a, 400), (&setting.b, 0), (&setting.c, 100)] {
        let pause = Duration::from_millis(pause_ms);
        provider.answer(sse().pause(pause).then(say("one")).pause(pause).all([say("two"), stop(), tail(&usage())]));
    }
    let streamed = |provider: Value| json!({"stream": true, "provider": provider});
    for slug in ["a", "b", "c", "a", "b", "c"] {
        assert_eq!(setting.chosen(&streamed(json!({"only": [slug]}))).await, slug);
    }
    for (provider, expected) in [
        (json!({"sort": "latency"}), "b"),
        (json!({"sort": "throughput"}), "b"),
        (json!({"preferred_max_latency": 0.2, "sort": "price"}), "b"),
        (json!({"preferred_max_latency": {"p90": 0.3}, "ignore": ["b"], "sort": "price"}), "c"),
        (json!({"preferred_min_throughput": 200, "sort": "price"}), "b"),
        (json!({"preferred_min_throughput": {"p50": 20}, "ignore": ["b"], "sort": "price"}), "c"),
        (json!({"sort": "price"}), "a"),
    ] {
        let fields = streamed(provider);
        let what = format!("the percentiles, which are at most a second old: {fields}");
        until(&what, || async { (setting.chosen(&fields).await == expected).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_nobody_is_refused_with_the_reasons() {
    let setting = Setting::start("").await;
    for (fields, status, says) in [
        (json!({"provider": {"zdr": true, "ignore": ["b"]}}), StatusCode::NOT_FOUND, "zero data retention"),
        (json!({"provider": {"only": ["nobody"]}}), StatusCode::NOT_FOUND, "provider.only"),
        (json!({"provider": {"max_price": {"prompt": "0.5"}}}), StatusCode::NOT_FOUND, "provider.max_price"),
        (json!({"provider": {"sort": "beauty"}}), StatusCode::BAD_REQUEST, "provider.sort"),
        (json!({"provider": {"odrer": ["a"]}}), StatusCode::BAD_REQUEST, "provider.odrer"),
        (json!({"provider": {"max_price": {"prompt": "a lot"}}}), StatusCode::BAD_REQUEST, "provider.max_price.prompt"),
        (json!({"provider": {"enforce_distillable_text": true}}), StatusCode::NOT_FOUND, "distill"),
        (json!({"model": "x/n"}), StatusCode::BAD_REQUEST, "did you mean 'x/m'?"),
        (json!({"model": "x/m:free"}), StatusCode::BAD_REQUEST, "no free instance"),
        (json!({"model": "x/m:online"}), StatusCode::BAD_REQUEST, "searches nothing"),
    ] {
        let answer = setting.ask(&fields).await;
        let error = answer.error();
        assert_eq!(answer.status, status, "{fields}: {}", answer.text);
        assert!(error["message"].as_str().unwrap().contains(says), "{fields}: {error}");
        if status == StatusCode::NOT_FOUND {
            assert_eq!(error["code"], "no_matching_provider", "{error}");
            assert_eq!(error["metadata"]["skipped"].as_array().unwrap().len(), 3, "{error}");
        }
    }
    assert!(setting.all().iter().all(|(_, provider)| provider.asked().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_tried_in_order_and_the_last_error_shows_all_attempts() {
    let setting = Setting::start("").await;
    let (order, answer) = setting.order(&json!({"provider": {"order": ["b", "c"]}})).await;
    assert_eq!(order, ["b", "c", "a", "b", "c", "a"], "two rounds: {}", answer.text);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let (order, answer) = setting.order(&json!({"provider": {"order": ["c", "a"], "allow_fallbacks": false}})).await;
    assert_eq!(order, ["c", "a", "c", "a"]);
    let skipped = json!([{"provider": "b", "model": "x/m", "reason": "not_in_order"}]);
    assert_eq!(generation(&setting.arouter, &answer).await["skipped"], skipped);
    let finished = until("the end", || async {
        let events = setting.arouter.recorded(Stream::Requests).await;
        let ends: Vec<Value> = events.into_iter().filter(|event| event["data"]["attempts"].is_array()).collect();
        (ends.len() == 2).then_some(ends)
    })
    .await;
    let attempts = &finished[0]["data"]["attempts"];
    assert_eq!((&attempts[0]["why"], &attempts[0]["round"], &attempts[3]["round"]), (&json!("order"), &Value::Null, &json!(2)));
    assert_eq!(finished[1]["data"]["skipped"], skipped, "{finished:#?}");
}

/// Returns the report of a request once it has ended.
async fn generation(arouter: &Arouter, answer: &Answer) -> Value {
    arouter.generation(answer.header("x-generation-id")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_passes_is_not_seen_and_every_attempt_is_reported() {
    let provider = Scripted::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let body = json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]});
    for failure in [reply("503 Busy", "", "{}"), reply("429 Wait", "retry-after: 1\r\n", "{}"), Script::default()] {
        let (left, usual) = (Arc::new(AtomicUsize::new(1)), reply("200 OK", "", whole("one two", &usage()).to_string()));
        provider.answer_by(move |_| {
            let fails = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if fails { failure.clone() } else { usual.clone() }
        });
        let answer = Answer::of(&arouter, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let report = generation(&arouter, &answer).await;
        let attempts = report["attempts"].as_array().unwrap();
        assert!(attempts.len() == 2 && attempts[0]["error"].is_string(), "{report}");
        assert_eq!((&attempts[1]["status"], &attempts[1]["round"]), (&json!(200), &json!(2)), "{report}");
        assert_eq!(report["provider_responses"][1]["provider_name"], "fake", "{report}");
    }
    provider.answer(reply("400 No", "", "{}"));
    let before = provider.asked().len();
    assert_eq!(Answer::of(&arouter, &body).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(provider.asked().len(), before + 1, "a fault of the caller is not repeated");
    provider.answer(reply("429 Wait", "retry-after: 30\r\n", "{}"));
    let answer = Answer::of(&arouter, &body).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "30"), "longer than the budget");
    assert_eq!(provider.asked().len(), before + 2);
    arouter.settle_and_verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_is_the_most_if_it_is_so_configured() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &format!("[upstream]\nretry_rounds_max = 1\n{}", provider.config())).await;
    provider.answer(reply("503 Busy", "", "{}"));
    let answer = Answer::of(&arouter, &json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!((answer.status, provider.asked().len()), (StatusCode::SERVICE_UNAVAILABLE, 1), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_an_open_breaker_and_closes_it() {
    let metrics = port::free();
    let setting = Setting::start(&format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"")).await;
    let operator = setting.arouter.operator_token();
    let shown = async || {
        let (status, body) = setting.arouter.call(Method::GET, "/api/v1/admin/endpoints", &operator, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["data"].as_array().unwrap().iter().find(|endpoint| endpoint["provider"] == "a").unwrap().clone()
    };
    assert_eq!((&shown().await["breaker"], &shown().await["cause"]), (&json!("closed"), &Value::Null));
    setting.a.answer(reply("429 Wait", "retry-after: 30\r\n", "{}"));
    assert_eq!(setting.chosen(&json!({"provider": {"order": ["a", "b"]}})).await, "b");
    let open = shown().await;
    assert_eq!((&open["breaker"], &open["cause"], &open["attempts"]["rate_limited"]), (&json!("open"), &json!("rate_limited"), &json!(1)));
    assert!(open["since"].is_string() && open["until"].is_string(), "{open}");
    let text = setting.arouter.http.get(format!("http://127.0.0.1:{metrics}/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        "arouter_endpoint_breaker{provider=\"a\",model=\"x/m\"} 2",
        "arouter_endpoint_attempts_total{provider=\"a\",model=\"x/m\",outcome=\"rate_limited\"} 1",
        "arouter_endpoint_success_ratio{provider=\"b\",model=\"x/m\"} 1",
    ] {
        assert!(text.contains(line), "no {line}: {text}");
    }
    assert!(!text.contains("provider=\"c\""), "it was not called");
    let answer = setting.ask(&json!({"provider": {"order": ["a", "b"]}})).await;
    let report = generation(&setting.arouter, &answer).await;
    assert_eq!(report["attempts"].as_array().unwrap().len(), 1, "the open one is not tried: {report}");
    let reset = |model: &str| {
        let body = json!({"provider": "a", "model": model});
        let (arouter, operator) = (&setting.arouter, operator.clone());
        async move { arouter.call(Method::POST, "/api/v1/admin/endpoints/reset", &operator, Some(body)).await }
    };
    assert_eq!(reset("x/n").await.0, StatusCode::NOT_FOUND);
    setting.a.answer(reply("200 OK", "", whole("one two", &usage()).to_string()));
    let (status, body) = reset("x/m").await;
    assert_eq!((status, &body["data"]["breaker"]), (StatusCode::OK, &json!("closed")), "{body}");
    assert_eq!(setting.chosen(&json!({"provider": {"order": ["a", "b"]}})).await, "a");
    let (status, _) = setting.arouter.call(Method::GET, "/api/v1/admin/endpoints", &setting.arouter.keys.live_key, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_by_price_and_an_endpoint_that_fails_is_left_alone_until_it_answers() {
    let setting = Setting::start("").await;
    let mut counts = [0_u32; 3];
    for _ in 0..300 {
        let chosen = setting.chosen(&json!({})).await;
        counts[["a", "b", "c"].iter().position(|slug| *slug == chosen).unwrap()] += 1;
    }
    // The weights are 16 to 4 to 1.
    assert!(counts[0] > 180 && counts[1] > 25 && counts[2] < 50 && counts[0] > 2 * counts[1], "{counts:?}");
    setting.a.answer(reply("500 Broken", "", "{}"));
    for _ in 0..30 {
        assert_eq!(setting.ask(&json!({"provider": {"order": ["a"]}})).await.status, StatusCode::OK);
    }
    let tried = setting.a.asked().len();
    for _ in 0..20 {
        assert_eq!(setting.ask(&json!({})).await.status, StatusCode::OK);
    }
    assert!(setting.a.asked().len() <= tried + 2, "its breaker is open: only probes reach it");
    let endpoints = until("the percentiles, which are at most a second old", || async {
        let endpoints = setting.arouter.get("/api/v1/models/x/m/endpoints").await["data"]["endpoints"].clone();
        endpoints[1]["latency_last_30m"]["p50"].is_number().then_some(endpoints)
    })
    .await;
    assert!(endpoints[0]["status"].as_i64().unwrap() < 0 && endpoints[0]["uptime_last_30m"].as_f64().unwrap() < 100.0, "{endpoints}");
    assert!(endpoints[1]["status"] == 0, "{endpoints}");
    setting.a.answer(reply("200 OK", "", whole("one two", &usage()).to_string()));
    until("its recovery", || async { (setting.chosen(&json!({"provider": {"order": ["a"]}})).await == "a").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_begin_is_asked_for_elsewhere() {
    let setting = Setting::start("[upstream]\nfallback_after_ms = 300").await;
    let never = CancellationToken::new();
    setting.a.answer(sse().until(&never));
    setting.b.answer(sse().all([say("hello"), stop(), DONE.to_owned()]));
    let body = json!({"stream": true, "provider": {"order": ["a", "b"]}});
    let answer = tokio::time::timeout(Duration::from_secs(20), setting.ask(&body)).await.unwrap();
    assert_eq!(answer.content(), "hello", "{}", answer.text);
    assert_eq!(setting.a.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_goes_back_to_the_endpoint_that_has_it_in_its_cache() {
    let setting = Setting::start("").await;
    let counts =
        json!({"prompt_tokens": 2000, "completion_tokens": 5, "total_tokens": 2005, "prompt_tokens_details": {"cached_tokens": 1900}});
    setting.c.answer(reply("200 OK", "", whole("one two", &counts).to_string()));
    let long = "a long story ".repeat(500);
    let request = |more: Value| {
        let mut fields = json!({"messages": [{"role": "user", "content": long}]});
        fields["provider"] = more;
        fields
    };
    assert_eq!(setting.chosen(&request(json!({"only": ["c"]}))).await, "c");
    for _ in 0..10 {
        assert_eq!(setting.chosen(&request(json!({}))).await, "c", "the dearest, since it has the prompt");
    }
    let other = json!({"messages": [{"role": "user", "content": "another story ".repeat(500)}], "provider": {"sort": "price"}});
    assert_eq!(setting.chosen(&other).await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_chooses_a_model_that_fits_and_says_which() {
    let setting = Setting::start("").await;
    let answer = setting.ask(&json!({"model": "auto"})).await;
    assert_eq!((answer.status, &answer.json()["model"]), (StatusCode::OK, &json!("x/m")), "{}", answer.text);
    let plugins = json!([{"id": "auto-router", "allowed_models": ["y/*"]}]);
    let answer = setting.ask(&json!({"model": "auto", "plugins": plugins})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_share_the_requests_and_a_bad_one_is_replaced_at_once() {
    let provider = Scripted::start().await;
    let keys = "[[providers.keys]]\napi_key = \"second\"\nweight = 3\n[[providers.keys]]\napi_key = \"third\"\nweight = 0\n";
    let arouter = Arouter::start(Storage::Sqlite, &provider.config_as("fake", keys)).await;
    let ask = async || Answer::of(&arouter, &json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]})).await;
    let used = |key: &str| provider.asked().iter().filter(|asked| asked.header("authorization") == Some(&format!("Bearer {key}"))).count();
    for _ in 0..40 {
        assert_eq!(ask().await.status, StatusCode::OK);
    }
    assert!(used("second") > used("upstream-secret") && used("upstream-secret") > 0 && used("third") == 0);
    provider.answer_by(|asked| {
        let is_bad = asked.header("authorization") == Some("Bearer second");
        if is_bad { reply("401 No", "", "{}") } else { reply("200 OK", "", whole("one two", &usage()).to_string()) }
    });
    for _ in 0..20 {
        assert_eq!(ask().await.status, StatusCode::OK);
    }
    let bad = used("second");
    for _ in 0..20 {
        assert_eq!(ask().await.status, StatusCode::OK);
    }
    assert_eq!(used("second"), bad, "it rests");
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_and_endpoints_are_listed_for_the_key_that_asks() {
    let setting = Setting::start("").await;
    let providers = setting.arouter.get("/api/v1/providers").await["data"].clone();
    let bee = providers.as_array().unwrap().iter().find(|provider| provider["slug"] == "b").unwrap();
    assert_eq!((&bee["id"], &bee["model_count"], &bee["is_zdr"]), (&json!("Bee"), &json!(1), &json!(true)), "{providers}");
    let zdr = setting.arouter.get("/api/v1/endpoints/zdr").await["data"].clone();
    assert!(zdr.as_array().unwrap().iter().all(|endpoint| endpoint["provider_id"] == "b") && zdr[0]["region"] == "eu", "{zdr}");
    let endpoints = setting.arouter.get("/v1/models/x/m/endpoints").await["data"].clone();
    assert_eq!((&endpoints["id"], endpoints["endpoints"].as_array().unwrap().len()), (&json!("x/m"), 3), "{endpoints}");
    assert_eq!(endpoints["endpoints"][0]["pricing"]["prompt"].as_f64(), Some(0.000_001), "{endpoints}");
    assert!(setting.arouter.get("/api/v1/models/count").await["data"]["count"].as_u64().unwrap() >= 1);
    let (status, _) = setting.arouter.call(Method::GET, "/api/v1/models/no/such/endpoints", &setting.arouter.keys.live_key, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
