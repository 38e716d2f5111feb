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
