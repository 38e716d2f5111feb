//! Rate limits: of accounts, of keys, of free models; the headers that tell of them, and the time after which a retry passes.

use std::time::Duration;

use events::{Clock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Arouter, Provider, Storage};

const FREE: &str =
    "[[models]]\nid = \"test/gift:free\"\nprovider = \"test\"\nupstream_model = \"ok\"\nfree = true\ncontext_length = 100000\n";

fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]})
}

async fn key(arouter: &Arouter, rate_limit: Value) -> String {
    let body = json!({"name": "limited", "rate_limit": rate_limit});
    let (status, body) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body["key"].as_str().expect("a secret").to_owned()
}

async fn send(arouter: &Arouter, key: &str, model: &str) -> Answer {
    let url = format!("{}/v1/chat/completions", arouter.base);
    Answer::read(arouter.http.post(url).bearer_auth(key).body(ask(model).to_string()).send().await.expect("an answer")).await
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap_or_else(|_| panic!("{header} of {answer:?}"))
}

fn now_ms() -> u64 {
    u64::try_from(SystemClock.now_us() / 1_000).expect("in range")
}

#[tokio::test]
async fn a_key_passes_its_limit_and_not_one_request_more_until_the_promised_time() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let limited = key(&arouter, json!({"requests_per_minute": 5})).await;
    let answers = futures_util::future::join_all((0..20).map(|_| send(&arouter, &limited, "test/ok"))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!((passed.len(), refused.len(), provider.asked().len()), (5, 15, 5));
    let mut remaining: Vec<u64> = passed.iter().map(|answer| number(answer, "x-ratelimit-remaining")).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, [0, 1, 2, 3, 4]);
    for answer in &refused {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
        let error = answer.error();
        assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("rate limit exceeded")), "{error}");
        assert_eq!((number(answer, "x-ratelimit-limit"), number(answer, "x-ratelimit-remaining")), (5, 0));
        let resets_in_ms = number(answer, "x-ratelimit-reset").saturating_sub(now_ms());
        assert!((50_000..=60_200).contains(&resets_in_ms), "{resets_in_ms}");
    }
    // Other routes and other keys of the account are free; its own limit is the default.
    let other = send(&arouter, &arouter.keys.live_key, "test/ok").await;
    assert_eq!((other.status, number(&other, "x-ratelimit-limit")), (StatusCode::OK, 100_000));
    assert_eq!(number(&other, "x-ratelimit-remaining"), 100_000 - 6, "refused requests are not counted");
    let refused = send(&arouter, &limited, "test/ok").await;
    let wait_s = number(&refused, "retry-after");
    assert!((50..=61).contains(&wait_s), "{wait_s}");
    // The test measures this very time.
    tokio::time::sleep(Duration::from_secs(wait_s)).await;
    assert_eq!(send(&arouter, &limited, "test/ok").await.status, StatusCode::OK, "the promised time is true");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn tokens_are_reserved_and_returned() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let limited = key(&arouter, json!({"tokens_per_minute": 400})).await;
    // The model's longest answer of 1,000 tokens is no reason to refuse what has a bound of 5.
    let mut passed = 0;
    let refused = loop {
        let answer = send(&arouter, &limited, "test/ok").await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        passed += answer.usage()["total_tokens"].as_u64().expect("tokens");
        assert!(passed <= 400, "{passed}");
    };
    assert_eq!(refused.error()["code"], json!("rate_limit_exceeded"));
    assert!(refused.error()["message"].as_str().is_some_and(|text| text.contains("tokens a minute")), "{:?}", refused.error());
    assert!(passed >= 200, "what was reserved and not used came back: {passed}");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn free_models_have_their_own_limits_and_the_account_its_configured_one() {
    let provider = Provider::start().await;
    let limits = "[limits]\nrequests_per_minute = 40\nfree_requests_per_minute = 4\nfree_requests_per_day = 3\n";
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("{limits}{}{FREE}", provider.config())).await;
    let live = arouter.keys.live_key.clone();
    let statuses = async |count: usize, model: &str| {
        let answers = futures_util::future::join_all((0..count).map(|_| send(&arouter, &live, model))).await;
        answers.iter().filter(|answer| answer.status == StatusCode::OK).count()
    };
    assert_eq!(statuses(6, "test/gift:free").await, 3, "three a day");
    let refused = send(&arouter, &live, "test/gift:free").await;
    assert!(refused.error()["message"].as_str().is_some_and(|text| text.contains("a day for free models")), "{:?}", refused.error());
    assert!(number(&refused, "retry-after") > 80_000);
    // Credit that is bought raises the limit of a day to 1,000, and the limit of a minute is next.
    let token = std::fs::read_to_string(arouter.data().join("operator.token")).expect("a token");
    let bought = json!({"account": arouter.keys.account, "kind": "credit", "amount": "5"});
    let (status, body) = arouter.call(Method::POST, "/api/v1/admin/credit", token.trim(), Some(bought)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(statuses(6, "test/gift:free").await, 1, "four a minute");
    let (_, own) = arouter.call(Method::GET, "/api/v1/key", &live, None).await;
    assert_eq!(own["data"]["is_free_tier"], json!(false));
    assert_eq!(statuses(50, "test/ok").await, 40 - 4, "refused requests for free models were counted nowhere");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn without_limits_there_are_no_headers() {
    let provider = Provider::start().await;
    let config = format!("[limits]\nrequests_per_minute = \"none\"\n{}", provider.config());
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let answer = send(&arouter, &arouter.keys.live_key, "test/ok").await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (StatusCode::OK, ""));
    let limited = key(&arouter, json!({"requests_per_day": 2})).await;
    for (status, remaining) in [(StatusCode::OK, 1), (StatusCode::BAD_REQUEST, 0), (StatusCode::TOO_MANY_REQUESTS, 0)] {
        let model = if status == StatusCode::BAD_REQUEST { "test/nothing" } else { "test/ok" };
        let answer = send(&arouter, &limited, model).await;
        assert_eq!((answer.status, number(&answer, "x-ratelimit-remaining")), (status, remaining), "{answer:?}");
    }
}
