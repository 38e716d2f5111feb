//! Monthly statements: sums that add up, forms that agree, the same bytes for ever once a month is closed, and a proof that sees one digit.

use std::path::PathBuf;

use events::clock::{SHIFT_VARIABLE, at};
use events::{Clock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::arouter::nanos;
use tests::postgres::Postgres;
use tests::{Arouter, Provider, Storage};

const USD: i64 = 1_000_000_000;
/// More than a month, less than two.
const NEXT_MONTH_SECONDS: i64 = 31 * 86_400;

fn month(shift_seconds: i64) -> String {
    at(SystemClock.now_us() + shift_seconds * 1_000_000).format("%Y-%m").to_string()
}

async fn credit(arouter: &Arouter, kind: &str, amount: &str) {
    let body = json!({"account": arouter.keys.account, "kind": kind, "amount": amount, "description": "a \"quoted\", text"});
    let (status, body) = arouter.call(Method::POST, "/api/v1/admin/credit", &arouter.operator_token(), Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

/// Returns status, content type and bytes of a statement.
async fn statement(arouter: &Arouter, key: &str, path: &str) -> (StatusCode, String, Vec<u8>) {
    let answer = arouter.http.get(format!("{}{path}", arouter.base)).bearer_auth(key).send().await.expect("an answer");
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    (answer.status(), kind, answer.bytes().await.expect("bytes").to_vec())
}

async fn bytes(arouter: &Arouter, path: &str) -> Vec<u8> {
    let (status, _, bytes) = statement(arouter, &arouter.keys.live_key, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&bytes));
    bytes
}

/// Runs `arouter verify --statement` on these bytes, and returns success and output.
fn prove(arouter: &Arouter, bytes: &[u8]) -> (bool, String) {
    let path: PathBuf = arouter.data().join("statement.file");
    std::fs::write(&path, bytes).expect("a file");
    let output = arouter.command("verify").arg("--statement").arg(path).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Hashes transactions as the API lists them, in the canonical form.
fn hash(transactions: &[Value]) -> String {
    let mut hash = Sha256::new();
    let decimals = |amount: &Value| {
        let nanos = nanos(amount);
        format!("{}{}.{:09}", if nanos < 0 { "-" } else { "" }, nanos.abs() / USD, nanos.abs() % USD)
    };
    for row in transactions.iter().rev() {
        let line = json!([
            row["id"],
            row["type"],
            decimals(&row["amount"]),
            row["currency"],
            row["description"],
            row["created_at"],
            decimals(&row["balance_after"]),
            row["generation_id"],
            row["key_hash"]
        ]);
        hash.update(format!("{line}\n"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn movement<'a>(body: &'a Value, kind: &str) -> &'a Value {
    let movements = body["movements"].as_array().expect("movements");
    movements.iter().find(|movement| movement["type"] == kind).expect("a kind")
}

async fn a_month_is_stated_and_closed(storage: Storage) {
    let is_sqlite = matches!(storage, Storage::Sqlite);
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1\n[billing]\nfee_basis_points = 550\n{}", provider.config());
    let mut arouter = Arouter::start(storage, &config).await;
    credit(&arouter, "credit", "20").await;
    credit(&arouter, "adjustment", "-0.25").await;
    for _ in 0..3 {
        let (status, answer) = arouter.chat(json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let usage: i64 = arouter.usage(3).await.iter().map(|row| nanos(&row["amount"])).sum();

    let path = format!("/api/v1/statements/{}", month(0));
    let open = bytes(&arouter, &path).await;
    let body: Value = serde_json::from_slice(&open).expect("JSON");
    assert_eq!((&body["closed"], nanos(&body["opening_balance"])), (&json!(false), 0), "{body}");
    assert_eq!(nanos(&body["closing_balance"]), nanos(&arouter.balance().await["balance"]), "{body}");
    let sum: i64 = body["movements"].as_array().expect("movements").iter().map(|movement| nanos(&movement["amount"])).sum();
    assert_eq!(sum, nanos(&body["closing_balance"]));
    for (kind, count, amount) in [
        ("usage", 3, usage),
        ("credit", 1, 211 * USD / 10),
        ("fee", 1, -11 * USD / 10),
        ("adjustment", 1, -USD / 4),
        ("grant", 1, USD),
        ("refund", 0, 0),
        ("expiry", 0, 0),
    ] {
        let of = movement(&body, kind);
        assert_eq!((&of["count"], nanos(&of["amount"])), (&json!(count), amount), "{body}");
    }
    let list = arouter.get("/api/v1/transactions?limit=1000").await;
    assert_eq!(body["sha256"], json!(hash(list["transactions"].as_array().expect("a list"))), "{body}");
    refusals(&arouter, &path).await;
    let forms = close(&mut arouter, &path, &open).await;
    if is_sqlite {
        make_again(&mut arouter, &forms).await;
    }
}

/// Malformed and impossible months, and the account of somebody else.
async fn refusals(arouter: &Arouter, path: &str) {
    let tenant = arouter.tenant(3).await;
    for key in [&tenant.live_key, &tenant.management_key] {
        let (status, _, other) = statement(arouter, key, path).await;
        let other: Value = serde_json::from_slice(&other).expect("JSON");
        assert_eq!((status, nanos(&other["closing_balance"])), (StatusCode::OK, 3 * USD), "{other}");
        assert_eq!(other["account"], json!(tenant.account));
    }
    for (path, expected, word) in [
        ("/api/v1/statements/2026-13".to_owned(), StatusCode::BAD_REQUEST, "month"),
        ("/v1/statements/january".to_owned(), StatusCode::BAD_REQUEST, "month"),
        (format!("{path}?format=xml"), StatusCode::BAD_REQUEST, "format"),
        (format!("{path}?format=pdf&paper=a3"), StatusCode::BAD_REQUEST, "paper"),
        ("/api/v1/statements/2999-01".to_owned(), StatusCode::NOT_FOUND, "not begun"),
        ("/api/v1/statements/2001-01".to_owned(), StatusCode::NOT_FOUND, "did not exist"),
    ] {
        let (status, _, body) = statement(arouter, &arouter.keys.live_key, &path).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status == expected && body.contains(word), "{path}: {status} {body}");
    }
}

/// Moves the clock into the next month, closes this one by a transaction, and asks for every form before and after a replay.
async fn close(arouter: &mut Arouter, path: &str, open: &[u8]) -> Vec<(String, Vec<u8>)> {
    arouter.stop();
    launch_next_month(arouter).await;
    credit(arouter, "grant", "2").await;
    let forms = ["", "?format=csv", "?format=pdf", "?format=pdf&paper=letter"].map(|query| format!("{path}{query}"));
    let mut closed = Vec::new();
    for form in &forms {
        closed.push(bytes(arouter, form).await);
    }
    let body: Value = serde_json::from_slice(&closed[0]).expect("JSON");
    assert_eq!(body["closed"], json!(true), "{body}");
    let next: Value =
        serde_json::from_slice(&bytes(arouter, &format!("/v1/statements/{}", month(NEXT_MONTH_SECONDS))).await).expect("JSON");
    assert_eq!((&next["opening_balance"], &next["closed"]), (&body["closing_balance"], &json!(false)));
    assert_eq!(nanos(&movement(&next, "grant")["amount"]), 2 * USD, "{next}");
    let csv = String::from_utf8(closed[1].clone()).expect("text");
    assert!(csv.starts_with("field,value\r\n") && csv.contains(body["sha256"].as_str().expect("a hash")), "{csv}");
    assert!(closed[2].starts_with(b"%PDF") && closed[3].starts_with(b"%PDF") && closed[2] != closed[3]);
    for statement in [open, &closed[0], &closed[1]] {
        let (is_proved, text) = prove(arouter, statement);
        assert!(is_proved && text.contains("proved: "), "{text}");
    }
    let wrong = csv.replace("usage.count,3", "usage.count,4");
    let (is_proved, text) = prove(arouter, wrong.as_bytes());
    assert!(!is_proved && text.contains("NOT proved: usage.count is 4"), "{text}");
    let (is_proved, text) = prove(arouter, &closed[2]);
    assert!(!is_proved && text.contains("JSON or the CSV"), "{text}");
    credit(arouter, "grant", "1").await;
    let forms: Vec<_> = forms.into_iter().zip(closed).collect();
    assert_same(arouter, &forms).await;
    forms
}

async fn launch_next_month(arouter: &mut Arouter) {
    let mut command = arouter.command("up");
    command.env(SHIFT_VARIABLE, NEXT_MONTH_SECONDS.to_string());
    arouter.launch_as(command).await;
}

async fn assert_same(arouter: &Arouter, forms: &[(String, Vec<u8>)]) {
    for (form, before) in forms {
        assert!(bytes(arouter, form).await == *before, "{form} changed");
    }
}

/// Rebuilds the books from the log, puts them in the place of the live ones, and asks again.
async fn make_again(arouter: &mut Arouter, forms: &[(String, Vec<u8>)]) {
    let made = arouter.data().join("made");
    let replay = |arouter: &Arouter, more: &[&str]| {
        let output = arouter.command("replay").arg("--into").arg(&made).args(more).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    };
    replay(arouter, &[]);
    arouter.stop();
    replay(arouter, &["--swap"]);
    launch_next_month(arouter).await;
    assert_same(arouter, forms).await;
}

#[tokio::test]
async fn a_month_is_stated_and_closed_on_sqlite() {
    a_month_is_stated_and_closed(Storage::Sqlite).await;
}

#[tokio::test]
async fn a_month_is_stated_and_closed_on_postgresql() {
    a_month_is_stated_and_closed(Storage::Postgres(Postgres::start())).await;
}
