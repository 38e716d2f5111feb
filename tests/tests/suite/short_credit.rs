//! Small credit goes far: a prompt is counted in tokens if the bound by its bytes exceeds the remaining credit.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::{Arouter, Provider, Storage};

/// A copy of model `test/ok` with a known tokenizer.
const COUNTED: &str = "[[models]]\nid = \"test/counted\"\nprovider = \"test\"\nupstream_model = \"ok\"\nprompt_usd_per_mtok = \"1\"
completion_usd_per_mtok = \"2\"\ncontext_length = 100000\nmax_output_tokens = 1000\ntokenizer = \"o200k_base\"\n";

/// Creates a key with a limit.
async fn key(arouter: &Arouter, usd: f64) -> String {
    let (_, made) =
        arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "k", "limit": usd}))).await;
    made["key"].as_str().expect("a key").to_owned()
}

/// Returns the response to a prompt of 800 words and 4,000 bytes.
async fn ask(arouter: &Arouter, model: &str, key: &str, more: Value) -> (StatusCode, Value) {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "word ".repeat(800)}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    arouter.call(Method::POST, "/v1/chat/completions", key, Some(body)).await
}

#[tokio::test]
async fn a_prompt_is_counted_where_credit_is_short_and_its_tokenizer_is_known() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &(provider.config() + COUNTED)).await;
    // The prompt has about 900 tokens at 1 USD per million, or 4,100 bytes.
    let capped = json!({"max_tokens": 100});
    let small = key(&arouter, 0.002).await;
    let (status, answer) = ask(&arouter, "test/ok", &small, capped.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("key_limit")), "{answer}");
    let (status, answer) = ask(&arouter, "test/counted", &small, capped.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let smaller = key(&arouter, 0.000_9).await;
    let (status, answer) = ask(&arouter, "test/counted", &smaller, capped).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("key_limit")), "{answer}");
    let needed = nanos(&answer["error"]["metadata"]["needed_usd"]);
    assert!((1_000_000..1_300_000).contains(&needed), "800 words and 100 tokens of answer need {needed} nano-USD");

    // The caller sets no cap. The remaining credit pays for the prompt by its bytes and a short response, or by its tokens and a long
    // one.
    let asked = provider.asked().len();
    for (model, caps) in [("test/ok", 100..600), ("test/counted", 1_000..1_001)] {
        let key = key(&arouter, 0.005).await;
        let (status, answer) = ask(&arouter, model, &key, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let cap = provider.asked().last().expect("a request").body["max_tokens"].as_u64().unwrap_or(1_000);
        assert!(caps.contains(&cap), "{model} may answer with {cap} tokens");
    }
    assert_eq!(provider.asked().len(), asked + 2);
    assert!(nanos(&arouter.balance().await["balance"]) > 0);
}
