//! The operator's catalogue of models: versions that are applied by command and by HTTP, served at once by every gateway, kept over a
//! restart, and named by charges.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use events::stream::Stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::{nanos, program};
use tests::scripted::{reply, usage, whole};
use tests::standalone::{OPERATOR, Standalone};
use tests::wait::until;
use tests::{Answer, Arouter, Scripted, Storage};
use tokio_util::sync::CancellationToken;

const PATH: &str = "/api/v1/admin/catalog";

/// Returns a model of provider `fake` with a price in USD per million tokens, for prompts and answers.
fn model(id: &str, price: &str) -> Value {
    json!({
        "id": id, "provider": "fake", "upstream_model": "m", "prompt_usd_per_mtok": price, "completion_usd_per_mtok": price,
        "context_length": 100_000, "max_output_tokens": 1_000,
    })
}

async fn apply(arouter: &Arouter, version: u64, models: &[Value]) -> (StatusCode, Value) {
    arouter.call(Method::POST, PATH, &arouter.operator_token(), Some(json!({"version": version, "models": models}))).await
}

async fn catalog(arouter: &Arouter) -> Value {
    let (status, body) = arouter.call(Method::GET, PATH, &arouter.operator_token(), None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["data"].clone()
}

/// Returns the source of a model.
fn source(catalog: &Value, id: &str) -> Value {
    let served = catalog["served"].as_array().unwrap();
    served.iter().find(|model| model["id"] == id).map_or(Value::Null, |model| model["source"].clone())
}

async fn ask(arouter: &Arouter, fields: &Value) -> Answer {
    let mut body = json!({"model": "fake/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    Answer::of(arouter, &body).await
}

/// Returns the data of the charges of an installation, in the order of their admission.
async fn charges(arouter: &Arouter, count: usize) -> Vec<Value> {
    until("the charges", || async {
        let mut data: Vec<Value> = arouter.recorded(Stream::Usage).await.into_iter().map(|event| event["data"].clone()).collect();
        data.sort_by_key(|data| data["admitted_at_us"].as_i64());
        (data.len() == count).then_some(data)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_price_applies_from_its_version_on_and_each_charge_names_the_version() {
    let provider = Scripted::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    assert_eq!(ask(&arouter, &json!({})).await.status, StatusCode::OK);
    let (status, body) = apply(&arouter, 0, &[model("fake/m", "3")]).await;
    assert_eq!((status, &body["data"]["version"]), (StatusCode::OK, &json!(1)), "{body}");
    assert_eq!(ask(&arouter, &json!({})).await.status, StatusCode::OK);
    // This request is in flight while the price changes.
    let gate = CancellationToken::new();
    provider.answer(reply("200 OK", "", whole("one two", &usage()).to_string()).gated(&gate));
    let asked = provider.asked().len();
    let fields = json!({});
    let (answer, ()) = tokio::join!(ask(&arouter, &fields), async {
        until("the call to the provider", || async { (provider.asked().len() > asked).then_some(()) }).await;
        let (status, body) = apply(&arouter, 1, &[model("fake/m", "7")]).await;
        assert_eq!((status, &body["data"]["version"]), (StatusCode::OK, &json!(2)), "{body}");
        assert_eq!(body["data"]["changes"]["changed"][0]["fields"]["prompt_usd_per_mtok"], json!({"old": "3", "new": "7"}), "{body}");
        gate.cancel();
    });
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(ask(&arouter, &json!({})).await.status, StatusCode::OK);
    // Each answer has 10 prompt and 5 completion tokens.
    let expected = [("configuration", 20_000), ("catalog-1", 45_000), ("catalog-1", 45_000), ("catalog-2", 105_000)];
    let charges = charges(&arouter, 4).await;
    let found: Vec<(&str, i64)> =
        charges.iter().map(|data| (data["price_version"].as_str().unwrap(), data["cost_nanos"].as_i64().unwrap())).collect();
    assert_eq!(found, expected);
    let mut posted: Vec<i64> = arouter.usage(4).await.iter().map(|row| -nanos(&row["amount"])).collect();
    posted.sort_unstable();
    assert_eq!(posted, [20_000, 45_000, 45_000, 105_000]);
    arouter.settle_and_verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_replaces_configured_models_of_its_names_and_survives_a_restart_without_nats() {
    let provider = Scripted::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    assert_eq!((source(&catalog(&arouter).await, "fake/m"), &catalog(&arouter).await["version"]), (json!("configuration"), &json!(0)));
    let (status, body) = apply(&arouter, 0, &[model("fake/new", "2")]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let now = catalog(&arouter).await;
    assert_eq!((source(&now, "fake/m"), source(&now, "fake/new")), (json!("configuration"), json!("catalog")), "{now}");
    assert_eq!(ask(&arouter, &json!({"model": "fake/new"})).await.status, StatusCode::OK);
    arouter.kill();
    // The folder alone restores it: what NATS has is gone.
    std::fs::remove_dir_all(arouter.data().join("nats")).unwrap();
    arouter.launch().await;
    assert_eq!(ask(&arouter, &json!({"model": "fake/new"})).await.status, StatusCode::OK);
    let again = catalog(&arouter).await;
    assert_eq!((&again["version"], &again["models"], &again["applied_at"]), (&now["version"], &now["models"], &now["applied_at"]));
    let (status, body) = apply(&arouter, 1, &[model("fake/m", "2")]).await;
    assert_eq!((status, &body["data"]["version"]), (StatusCode::OK, &json!(2)), "{body}");
    assert_eq!((source(&catalog(&arouter).await, "fake/m"), source(&catalog(&arouter).await, "fake/new")), (json!("catalog"), Value::Null));
    let answer = ask(&arouter, &json!({"model": "fake/new"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_cannot_be_served_or_come_too_late_are_refused_and_change_nothing() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let with = |field: &str, value: Value| {
        let mut model = model("fake/x", "1");
        model[field] = value;
        model
    };
    let many: Vec<Value> = (0..400).map(|number| model(&format!("fake/m{number}"), "1")).collect();
    for (models, says) in [
        (vec![with("prise", json!(1))], "model fake/x: unknown field `prise`"),
        (vec![with("provider", json!("nobody"))], "there is no provider \"nobody\""),
        (vec![with("prompt_usd_per_mtok", json!("-1"))], "model fake/x"),
        (vec![with("prompt_usd_per_mtok", Value::Null)], "give prompt_usd_per_mtok"),
        (vec![with("quantization", json!("int3"))], "quantization \"int3\""),
        (vec![model("fake/x", "1"), model("fake/x", "2")], "are one name"),
        (vec![json!({"name": "fake/s", "split": [{"name": "a", "model": "fake/none", "weight": 1}]})], "there is no model \"fake/none\""),
        (many, "may have 60000"),
    ] {
        let (status, body) = apply(&arouter, 0, &models).await;
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(says), "{says}: {status} {message}");
    }
    let (status, body) = apply(&arouter, 3, &[model("fake/x", "1")]).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    let (status, _) = arouter.call(Method::POST, PATH, &arouter.keys.management_key, Some(json!({"version": 0, "models": []}))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(catalog(&arouter).await["version"], 0);
    // Of two changes of one version, one wins.
    let (one, other) = ([model("fake/x", "1")], [model("fake/x", "2")]);
    let (one, other) = tokio::join!(apply(&arouter, 0, &one), apply(&arouter, 0, &other));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT], "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_serves_a_version_and_of_two_gateways_one_makes_it() {
    let provider = Scripted::start().await;
    let standalone = Standalone::start(2, &provider.config()).await;
    let post = async |gateway: usize, version: u64, price: &str| {
        let body = json!({"version": version, "models": [model("fake/new", price)]});
        let request = standalone.http.post(format!("{}{PATH}", standalone.gateways[gateway])).bearer_auth(OPERATOR);
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        answer.status()
    };
    let version = async |gateway: usize| {
        let answer = standalone.http.get(format!("{}{PATH}", standalone.gateways[gateway])).bearer_auth(OPERATOR).send().await.unwrap();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let price_version = body["data"]["served"].as_array().unwrap().iter().find(|model| model["id"] == "fake/new").cloned();
        price_version.map_or_else(String::new, |model| model["price_version"].as_str().unwrap().to_owned())
    };
    assert_eq!(post(0, 0, "1").await, StatusCode::OK);
    let since = Instant::now();
    until("the version at the other gateway", || async { (version(1).await == "catalog-1").then_some(()) }).await;
    let took = since.elapsed();
    println!("the other gateway serves it after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (one, other) = tokio::join!(post(0, 1, "2"), post(1, 1, "3"));
    let mut statuses = [one, other];
    statuses.sort_unstable();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
    for gateway in 0..2 {
        until("the version everywhere", || async { (version(gateway).await == "catalog-2").then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_applies_a_file_shows_it_and_lists_the_versions() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.toml");
    let run = |arguments: &[&str]| -> (bool, String) {
        let Output { status, stdout, stderr } =
            Command::new(program()).arg("catalog").args(arguments).arg("--data").arg(arouter.data()).output().unwrap();
        (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    let path = file.to_str().unwrap();
    let toml = "[[models]]\nid = \"fake/m\"\nprovider = \"fake\"\nupstream_model = \"m\"\nprompt_usd_per_mtok = 0.5\n\
                completion_usd_per_mtok = \"2\"\ncontext_length = 100000\n";
    std::fs::write(&file, toml).unwrap();
    let (is_done, text) = run(&["apply", path]);
    assert!(!is_done && text.contains("prompt_usd_per_mtok: 0.5") && text.contains("add --yes"), "{text}");
    let (is_done, text) = run(&["apply", path, "--yes", "--comment", "first prices"]);
    assert!(is_done && text.contains("+ fake/m at fake") && text.contains("Version 1"), "{text}");
    let (is_done, text) = run(&["apply", path, "--yes"]);
    assert!(is_done && text.contains("Nothing changes"), "{text}");
    let (is_done, shown) = run(&["show"]);
    assert!(is_done && shown.starts_with("version = 1\n"), "{shown}");
    std::fs::write(&file, shown.replace("\"0.5\"", "\"0.75\"")).unwrap();
    let (is_done, text) = run(&["apply", path, "--dry-run"]);
    assert!(is_done && text.contains("prompt_usd_per_mtok: 0.5 -> 0.75"), "{text}");
    let (is_done, text) = run(&["apply", path, "--yes"]);
    assert!(is_done && text.contains("Version 2"), "{text}");
    // A file that was made of an older version would undo the change of another.
    std::fs::write(&file, shown.replace("\"0.5\"", "\"0.9\"")).unwrap();
    let (is_done, text) = run(&["apply", path, "--yes"]);
    assert!(!is_done && text.contains("has version 2"), "{text}");
    let (is_done, text) = run(&["show", "--version", "1", "--json"]);
    assert!(is_done && serde_json::from_str::<Value>(&text).unwrap()["models"][0]["prompt_usd_per_mtok"] == "0.5", "{text}");
    let (is_done, text) = run(&["show", "--served"]);
    assert!(is_done && text.contains("fake/m  fake  catalog  catalog-2"), "{text}");
    let (is_done, text) = run(&["history"]);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("version")).collect();
    assert!(is_done && lines.len() == 2 && lines[0].starts_with("version 2") && lines[1].ends_with("first prices"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_model_go_to_the_default_model_of_their_account() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (operator, keys) = (arouter.operator_token(), &arouter.keys);
    let set = async |path: &str, key: &str, model: Value| {
        let (status, body) = arouter.call(Method::PATCH, path, key, Some(json!({"default_model": model}))).await;
        (status, body["data"]["default_model"].clone())
    };
    let own = "/api/v1/account";
    let operators = format!("/api/v1/admin/accounts/{}", keys.account);
    let chat = async |model: Option<Value>| {
        let mut body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        if let Some(model) = model {
            body["model"] = model;
        }
        arouter.chat(body).await.0
    };
    assert_eq!(chat(None).await, StatusCode::BAD_REQUEST);
    assert_eq!(set(own, &keys.management_key, json!("fake/none")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(set(own, &keys.live_key, json!("fake/m")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(set(own, &keys.management_key, json!("fake/m:nitro")).await, (StatusCode::OK, json!("fake/m:nitro")));
    assert_eq!((chat(None).await, chat(Some(Value::Null)).await), (StatusCode::OK, StatusCode::OK));
    let messages = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let (status, body) = arouter.call(Method::POST, "/v1/messages", &keys.live_key, Some(messages)).await;
    assert_eq!((status, &body["model"]), (StatusCode::OK, &json!("fake/m")), "{body}");
    assert_eq!(chat(Some(json!("fake/none"))).await, StatusCode::BAD_REQUEST, "a name that is given is not replaced");
    for standing in ["suspend", "resume"] {
        let (status, body) = arouter.call(Method::POST, &format!("{operators}/{standing}"), &operator, None).await;
        assert_eq!((status, &body["data"]["default_model"]), (StatusCode::OK, &json!("fake/m:nitro")), "{body}");
    }
    assert_eq!(set(&operators, &operator, Value::Null).await, (StatusCode::OK, Value::Null));
    assert_eq!(chat(None).await, StatusCode::BAD_REQUEST);
    let (status, body) = arouter.call(Method::GET, own, &keys.management_key, None).await;
    assert_eq!((status, &body["data"]["default_model"]), (StatusCode::OK, &Value::Null), "{body}");
}

/// Two providers: `fake` serves `x/m` for money with tools, `alt` for free with reasoning and a longer context.
async fn two(more: &str) -> (Scripted, Scripted, Arouter) {
    let (fake, alt) = (Scripted::start().await, Scripted::start().await);
    let config = format!("{more}\n{}{}", fake.config(), alt.config_as("alt", ""));
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    (fake, alt, arouter)
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_stack_in_any_order_and_a_listed_one_is_a_model_of_its_own() {
    let (fake, alt, arouter) = two("[limits]\nfree_requests_per_minute = 9").await;
    let with = |id: &str, provider: &str, more: Value| {
        let mut model = model(id, "1");
        model["provider"] = json!(provider);
        more.as_object().unwrap().iter().for_each(|(name, value)| model[name] = value.clone());
        model
    };
    let models = [
        with("x/m", "fake", json!({"capabilities": ["tools"], "context_length": 10_000})),
        with("x/m", "alt", json!({"capabilities": ["reasoning"], "prompt_usd_per_mtok": "0", "completion_usd_per_mtok": "0"})),
        with("x/own", "alt", json!({"upstream_model": "paid"})),
        with("x/own:free", "fake", json!({"upstream_model": "own", "free": true})),
        with("x/search", "fake", json!({"upstream_model": "searcher", "capabilities": ["web_search"]})),
    ];
    let (status, body) = apply(&arouter, 0, &models).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for (name, provider, upstream) in [
        ("x/m:free", &alt, "m"),
        ("x/m:nitro:Free", &alt, "m"),
        ("x/m:extended:floor", &alt, "m"),
        ("x/m:floor:thinking", &alt, "m"),
        ("x/own:free", &fake, "own"),
        ("x/own:nitro:free", &fake, "own"),
        ("x/own:free:nitro", &fake, "own"),
        ("x/search:online", &fake, "searcher"),
    ] {
        let before = provider.asked().len();
        let answer = ask(&arouter, &json!({"model": name})).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
        let asked = provider.asked().split_off(before);
        assert!(asked.len() == 1 && asked[0].body["model"] == upstream, "{name}: {asked:?}");
        let effort = if name.contains("thinking") { json!("medium") } else { Value::Null };
        assert_eq!(asked[0].body["reasoning_effort"], effort, "{name}");
    }
    for (name, says) in [
        ("x/search:free", "no free instance"),
        ("x/search:thinking", "does not reason"),
        ("x/m:online", "web search is not available"),
        ("x/m:nitro:slow", "no variant ':slow'; the variants are :nitro, :floor, :free, :thinking, :extended, :online"),
    ] {
        let answer = ask(&arouter, &json!({"model": name})).await;
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == StatusCode::BAD_REQUEST && message.contains(says), "{name}: {message}");
    }
    let mut statuses = Vec::new();
    for _ in 0..9 {
        statuses.push(ask(&arouter, &json!({"model": "x/m:free"})).await.status);
    }
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_spreads_requests_by_weight_and_keeps_each_user_and_session() {
    let (_fake, _alt, arouter) = two("").await;
    let split = json!({"name": "acme/chat", "split": [
        {"name": "stable", "model": "fake/m", "weight": 60}, {"name": "canary", "model": "alt/m", "weight": 40},
    ]});
    let (status, body) = apply(&arouter, 0, &[split]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let served = async |fields: Value| {
        let mut fields = fields;
        fields["model"] = json!("acme/chat");
        let answer = ask(&arouter, &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["model"].as_str().unwrap().to_owned()
    };
    let (mut stable, mut count) = (0, 0);
    for number in 0..20 {
        for field in ["user", "session_id"] {
            let first = served(json!({field: format!("u{number}")})).await;
            assert_eq!(served(json!({field: format!("u{number}")})).await, first, "{field}");
            (stable, count) = (stable + usize::from(first == "fake/m"), count + 2);
        }
    }
    assert!((8..36).contains(&stable), "{stable} of 40 users and sessions");
    for only in ["fake", "alt"] {
        assert_eq!(served(json!({"provider": {"only": [only]}})).await, format!("{only}/m"), "the other variant has no endpoint");
        count += 1;
    }
    let charges = charges(&arouter, count).await;
    for data in &charges {
        let variant = if data["model"] == "fake/m" { "stable" } else { "canary" };
        assert_eq!(data["experiment"], json!({"model": "acme/chat", "variant": variant}), "{data}");
    }
    let events = until("the ends", || async {
        let events = arouter.recorded(Stream::Requests).await;
        (events.len() == 2 * count).then_some(events)
    })
    .await;
    assert!(events.iter().all(|event| event["data"]["experiment"]["model"] == "acme/chat"), "{events:#?}");
    // A key that may use only the split may not use the models behind it by their names.
    let body = json!({"name": "k", "allowed_models": ["acme/chat"]});
    let (_, key) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(body)).await;
    let key = key["key"].as_str().unwrap();
    for (name, status) in [("acme/chat", StatusCode::OK), ("fake/m", StatusCode::FORBIDDEN)] {
        let body = json!({"model": name, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(arouter.call(Method::POST, "/v1/chat/completions", key, Some(body)).await.0, status, "{name}");
    }
    let (_, listed) = arouter.call(Method::GET, "/v1/models", key, None).await;
    let ids: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["acme/chat"], "{listed}");
    let (status, details) = arouter.call(Method::GET, listed["data"][0]["links"]["details"].as_str().unwrap(), key, None).await;
    let behind: Vec<&Value> = details["data"]["endpoints"].as_array().unwrap().iter().map(|endpoint| &endpoint["model"]).collect();
    assert!(status == StatusCode::OK && details["data"]["id"] == "acme/chat" && behind == ["fake/m", "alt/m"], "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_by_output_and_parameters() {
    let provider = Scripted::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let with = |id: &str, capabilities: Value| {
        let mut model = model(id, "1");
        model["capabilities"] = capabilities;
        model
    };
    let models = [
        with("fake/eyes", json!(["vision", "tools"])),
        with("fake/painter", json!(["image_output"])),
        with("fake/vectors", json!(["embeddings"])),
    ];
    let (status, body) = apply(&arouter, 0, &models).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for (query, expected) in [
        ("", vec!["fake/eyes", "fake/m", "fake/painter"]),
        ("?output_modalities=image", vec!["fake/painter"]),
        ("?output_modalities=embeddings,image", vec!["fake/painter", "fake/vectors"]),
        ("?output_modalities=audio", vec![]),
        ("?output_modalities=all", vec!["fake/eyes", "fake/m", "fake/painter", "fake/vectors"]),
        ("?supported_parameters=tools,vision", vec!["fake/eyes"]),
    ] {
        let listed = arouter.get(&format!("/v1/models{query}")).await;
        let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    let (status, body) = arouter.call(Method::GET, "/v1/models?output_modalities=smell", &arouter.keys.live_key, None).await;
    assert!(status == StatusCode::BAD_REQUEST && body["error"]["message"].as_str().unwrap().contains("smell"), "{body}");
}
