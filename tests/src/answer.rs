//! A response as a client reads it, complete or streamed.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::Arouter;
use crate::arouter::nanos;

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Sends a chat request with the first key.
    pub async fn of(arouter: &Arouter, body: &Value) -> Self {
        let url = format!("{}/v1/chat/completions", arouter.base);
        let request = arouter.http.post(url).bearer_auth(&arouter.keys.live_key).header("content-type", "application/json");
        Self::read(request.body(body.to_string()).send().await.expect("an answer")).await
    }

    /// Reads the rest of a response, which must be UTF-8.
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = String::from_utf8(response.bytes().await.expect("a whole body").to_vec()).expect("UTF-8");
        Self { status, headers, text }
    }

    /// Returns the value of a header; empty if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Returns the frames of a stream, parsed by the SSE standard. Each must be JSON; the end mark is left out.
    #[must_use]
    pub fn frames(&self) -> Vec<Value> {
        let data = |event: &str| -> Option<String> {
            let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
            (!lines.is_empty() && lines != ["[DONE]"]).then(|| lines.join("\n"))
        };
        let frames = self.text.split("\n\n").filter_map(data);
        frames.map(|data| serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
    }

    /// Returns the text of all frames' deltas.
    #[must_use]
    pub fn content(&self) -> String {
        self.frames().iter().filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str()).collect()
    }

    /// Returns the error object of a frame, or that of the body; null if there is none.
    #[must_use]
    pub fn error(&self) -> Value {
        let of_body = self.json()["error"].clone();
        if of_body.is_null() && self.text.contains("data:") {
            return self.frames().iter().map(|frame| frame["error"].clone()).find(|error| !error.is_null()).unwrap_or_default();
        }
        of_body
    }

    /// Returns the last usage object of the frames, or that of the body; null if there is none.
    #[must_use]
    pub fn usage(&self) -> Value {
        if self.text.contains("data:") {
            return self.frames().iter().rev().map(|frame| frame["usage"].clone()).find(|usage| !usage.is_null()).unwrap_or_default();
        }
        self.json()["usage"].clone()
    }

    /// Returns the charge in nano-USD.
    #[must_use]
    pub fn cost(&self) -> i64 {
        let usage = self.usage();
        assert!(usage["cost"].is_number(), "no charge: {}", self.text);
        nanos(&usage["cost"])
    }

    /// Returns whether a stream is complete: it has the end mark and no error.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status == StatusCode::OK && self.text.ends_with("data: [DONE]\n\n") && self.error().is_null()
    }
}
