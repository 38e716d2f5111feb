//! Exports have the bytes of the report that the HTTP API gives: those of `arouter export`, and those that are written by themselves.

use std::path::Path;
use std::process::Output;

use events::clock::{SHIFT_VARIABLE, rfc3339};
use events::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::json;
use tests::arouter::{JsonValue, program};
use tests::wait::until;
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
    until("the request in the report", || async {
        let report = arouter.http.get(format!("{}/api/v1/activity?period=1d", arouter.base)).bearer_auth(&key).send().await.ok()?;
        (report.json_value().await?["totals"]["requests"] == json!(1)).then_some(())
    })
    .await;
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

fn scheduled(name: &str, account: &str, url: &Path, rest: &str) -> String {
    format!("\n[[exports]]\nname = \"{name}\"\naccount = \"{account}\"\nurl = \"{}\"\n{rest}\n", url.display())
}

/// Starts again, so many days later.
async fn launch_later(arouter: &mut Arouter, days: u32) {
    let mut command = arouter.command("up");
    command.env(SHIFT_VARIABLE, (days * 86_400).to_string());
    arouter.launch_as(command).await;
}

#[tokio::test]
async fn reports_of_ended_periods_are_written_once_and_a_store_that_fails_is_reported() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (status, answer) = arouter.chat(json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    arouter.usage(1).await;
    let (account, key) = (arouter.keys.account.clone(), arouter.keys.management_key.clone());
    let folder = arouter.data().join("exports");
    let is_a_file = arouter.data().join("operator.token");
    arouter.configure(&scheduled("broken", &account, &is_a_file, "report = \"activity\"\nevery = \"day\"\nformat = \"csv\""));
    arouter.configure(&scheduled("nobody", "acc_1", &folder, "report = \"activity\"\nevery = \"day\"\nformat = \"csv\""));
    let daily = "report = \"activity\"\nevery = \"day\"\nformat = \"csv\"\ngroup_by = \"api_key,model\"";
    arouter.configure(&scheduled("daily", &account, &folder, daily));
    arouter.configure(&scheduled("rows", &account, &folder, "report = \"requests\"\nevery = \"day\"\nformat = \"csv\""));
    arouter.configure(&scheduled("lake", &account, &folder, "report = \"requests\"\nevery = \"day\"\nformat = \"parquet\""));
    arouter.configure(&scheduled("paper", &account, &folder, "report = \"activity\"\nevery = \"month\"\nformat = \"pdf\""));
    arouter.configure(&scheduled("books", &account, &folder, "report = \"statement\"\nevery = \"month\"\nformat = \"csv\""));
    let today = rfc3339(SystemClock.now_us())[..10].to_owned();
    let tomorrow = rfc3339(SystemClock.now_us() + 86_400_000_000)[..10].to_owned();
    arouter.stop();
    launch_later(&mut arouter, 35).await;
    let month = &today[..7];
    let day = format!("from={today}T00:00:00Z&to={tomorrow}T00:00:00Z");
    let files = [
        (format!("daily/{today}.csv"), format!("/api/v1/activity?{day}&format=csv&group_by=api_key,model")),
        (format!("rows/{today}.csv"), format!("/api/v1/activity?{day}&format=csv&detail=true")),
        (format!("lake/{today}.parquet"), format!("/api/v1/activity?{day}&format=parquet&detail=true")),
        (format!("books/{month}.csv"), format!("/api/v1/statements/{month}?format=csv")),
    ];
    // The last days alone are written after the fact: the day of the request is too long ago.
    until("the monthly files", || async {
        (folder.join(&files[3].0).exists() && folder.join(format!("paper/{month}.pdf")).exists()).then_some(())
    })
    .await;
    assert!(!folder.join(&files[0].0).exists(), "35 days are further back than 31");
    arouter.stop();
    launch_later(&mut arouter, 2).await;
    for (file, path) in &files {
        until("a file", || async { folder.join(file).exists().then_some(()) }).await;
        let served = arouter.http.get(format!("{}{path}", arouter.base)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(served.status(), StatusCode::OK, "{path}");
        let written = std::fs::read(folder.join(file)).unwrap();
        assert!(written == served.bytes().await.unwrap(), "{file}: {}", String::from_utf8_lossy(&written));
    }
    let rows = std::fs::read_to_string(folder.join(&files[1].0)).unwrap();
    assert!(rows.contains("test/ok") && rows.lines().count() == 2, "{rows}");
    assert!(std::fs::read(folder.join(format!("paper/{month}.pdf"))).unwrap().starts_with(b"%PDF"));
    assert!(!folder.join("nobody").exists());
    let log = arouter.log();
    assert!(log.contains("broken/") && log.contains("is not written and will be tried again"), "{log}");
    assert!(log.contains("export nobody: there is no account acc_1"), "{log}");

    // A file that is there is not written again, even if it was changed.
    std::fs::write(folder.join(&files[0].0), "kept").unwrap();
    arouter.stop();
    launch_later(&mut arouter, 3).await;
    // One export is written after the other, so those of `daily` have all been looked at.
    until("the next day", || async { folder.join(format!("rows/{tomorrow}.csv")).exists().then_some(()) }).await;
    assert_eq!(std::fs::read_to_string(folder.join(&files[0].0)).unwrap(), "kept");
}

#[tokio::test]
async fn an_export_that_cannot_be_is_refused_at_the_start() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    arouter.stop();
    for (name, rest, words) in [
        ("a/b", "report = \"activity\"\nevery = \"day\"\nformat = \"csv\"", "is a folder too"),
        ("a", "report = \"statement\"\nevery = \"day\"\nformat = \"csv\"", "a statement is monthly"),
        ("a", "report = \"requests\"\nevery = \"day\"\nformat = \"pdf\"", "requests are a table"),
    ] {
        let file = arouter.data().join("bad.toml");
        std::fs::write(&file, scheduled(name, "acc_1", Path::new("x"), rest)).unwrap();
        let mut command = std::process::Command::new(program());
        let output = command.arg("up").arg("--config").arg(file).arg("--data").arg(arouter.data()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(words), "{error}");
    }
}
