//! `arouter export` writes the bytes of the report that the HTTP API gives, and nothing else.

use std::process::Output;

use events::clock::rfc3339;
use events::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::json;
use tests::arouter::program;
use tests::{Arouter, Provider, Storage};

fn export(arouter: &Arouter, key: &str, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(program());
    command.arg("export").args(arguments).arg("--data").arg(arouter.data()).env("AROUTER_MANAGEMENT_KEY", key);
    command.output().unwrap()
}

#[tokio::test]
async fn reports_are_those_of_the_api_and_refusals_say_what_to_do() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (status, answer) = arouter.chat(json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    arouter.usage(1).await;
    let key = arouter.keys.management_key.clone();
    // Whole years in the past and the future, so that the answer does not change between the two.
    let (from, to) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let now = rfc3339(SystemClock.now_us());
    let month = &now[..7];
    for (arguments, path) in [
        (vec!["activity", "--from", from, "--to", to], format!("/api/v1/activity?from={from}&to={to}&format=csv&group_by=model")),
        (
            vec!["activity", "--from", from, "--to", to, "--group-by", "api_key,model"],
            format!("/api/v1/activity?from={from}&to={to}&format=csv&group_by=api_key,model"),
        ),
        (vec!["statement", month, "--format", "csv"], format!("/api/v1/statements/{month}?format=csv")),
    ] {
        let served = arouter.http.get(format!("{}{path}", arouter.base)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(served.status(), StatusCode::OK, "{path}");
        let served = served.bytes().await.unwrap();
        let output = export(&arouter, &key, &arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!served.is_empty() && output.stdout == served, "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
    for (key, arguments, words) in [
        ("lr_mgmt_unknown", vec!["statement", "2020-01"], "key"),
        ("", vec!["statement", "2020-01"], "AROUTER_MANAGEMENT_KEY"),
        (key.as_str(), vec!["activity", "--from", to, "--to", from], "later than from"),
    ] {
        let output = export(&arouter, key, &arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && error.contains(words), "{error}");
    }
    arouter.settle_and_verify().await;
}
