//! Answers of the providers' APIs in each wire format, with counts of every class, and requests of clients in each format.

use serde_json::{Value, json};

use crate::scripted::{Script, frame, reply, sse};

/// The API of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Chat,
    Responses,
    Messages,
    Generate,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Messages, Self::Generate];

    /// Returns the name of the provider that speaks it.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Generate => "generate",
        }
    }

    /// Returns the settings that make a provider speak it.
    #[must_use]
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Chat => "format = \"openai\"",
            Self::Responses => "format = \"openai\"\nresponses = \"always\"",
            Self::Messages => "format = \"anthropic\"",
            Self::Generate => "format = \"gemini\"",
        }
    }

    /// Returns the path at which a client of this API asks for a model.
    #[must_use]
    pub fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
            Self::Generate if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::Generate => format!("/v1beta/models/{model}:generateContent"),
        }
    }

    /// Returns a request with one user's text.
    #[must_use]
    pub fn request(self, model: &str, stream: bool) -> Value {
        let messages = json!([{"role": "user", "content": "x"}]);
        match self {
            Self::Chat | Self::Messages => json!({"model": model, "stream": stream, "max_tokens": 900, "messages": messages}),
            Self::Responses => json!({"model": model, "stream": stream, "max_output_tokens": 900, "input": "x"}),
            Self::Generate => {
                json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 900}})
            }
        }
    }

    /// Returns the usage object by which a provider of this API says these counts.
    #[must_use]
    pub fn usage(self, counts: &Counts) -> Value {
        let Counts { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = *counts;
        let (prompt, completion) = (input + cache_read + cache_write_5m + cache_write_1h, output + reasoning);
        match self {
            Self::Chat => json!({
                "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cache_read, "cache_write_tokens": cache_write_5m + cache_write_1h},
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            }),
            Self::Responses => json!({
                "input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
                "input_tokens_details": {"cached_tokens": cache_read, "cache_write_tokens": cache_write_5m + cache_write_1h},
                "output_tokens_details": {"reasoning_tokens": reasoning},
            }),
            Self::Messages => json!({
                "input_tokens": input, "cache_read_input_tokens": cache_read,
                "cache_creation_input_tokens": cache_write_5m + cache_write_1h,
                "cache_creation": {"ephemeral_5m_input_tokens": cache_write_5m, "ephemeral_1h_input_tokens": cache_write_1h},
                "output_tokens": completion, "output_tokens_details": {"thinking_tokens": reasoning},
            }),
            Self::Generate => json!({
                "promptTokenCount": prompt, "cachedContentTokenCount": cache_read, "candidatesTokenCount": output,
                "thoughtsTokenCount": reasoning, "totalTokenCount": prompt + completion,
            }),
        }
    }

    /// Returns the counts that this API can tell apart: classes that it does not know are counted in another.
    #[must_use]
    pub const fn told(self, counts: &Counts) -> Counts {
        let Counts { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = *counts;
        match self {
            Self::Chat | Self::Responses => {
                Counts { input, cache_read, cache_write_5m: cache_write_5m + cache_write_1h, cache_write_1h: 0, output, reasoning }
            }
            Self::Messages => *counts,
            Self::Generate => Counts {
                input: input + cache_write_5m + cache_write_1h,
                cache_read,
                cache_write_5m: 0,
                cache_write_1h: 0,
                output,
                reasoning,
            },
        }
    }

    /// Returns a whole answer with a text.
    #[must_use]
    pub fn whole(self, text: &str, counts: &Counts) -> Script {
        let usage = self.usage(counts);
        let body = match self {
            Self::Chat => {
                let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
                json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage})
            }
            Self::Responses => response("completed", text, &usage),
            Self::Messages => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn", "stop_sequence": null, "usage": usage,
            }),
            Self::Generate => candidate(text, Some("STOP"), &usage),
        };
        reply("200 OK", "", body.to_string())
    }

    /// Returns the frames that begin a stream with these pieces of text.
    #[must_use]
    pub fn begun(self, pieces: &[&str], counts: &Counts) -> Vec<String> {
        let named = |data: &Value| format!("event: {}\n{}", data["type"].as_str().unwrap_or_default(), frame(data));
        match self {
            Self::Chat => pieces.iter().map(|text| crate::scripted::say(text)).collect(),
            Self::Responses => {
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                let head = [
                    json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress", "", &Value::Null)}),
                    json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}}),
                    json!({"type": "response.content_part.added", "sequence_number": 2, "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part}),
                ];
                let delta = |text: &&str| json!({"type": "response.output_text.delta", "sequence_number": 3, "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
                head.into_iter().chain(pieces.iter().map(delta)).map(|data| named(&data)).collect()
            }
            Self::Messages => {
                let mut usage = self.usage(counts);
                usage["output_tokens"] = json!(1);
                usage["output_tokens_details"] = Value::Null;
                let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
                let head = [
                    json!({"type": "message_start", "message": message}),
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                    json!({"type": "ping"}),
                ];
                let delta = |text: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
                head.into_iter().chain(pieces.iter().map(delta)).map(|data| named(&data)).collect()
            }
            Self::Generate => pieces.iter().map(|text| frame(&candidate(text, None, &self.usage(counts)))).collect(),
        }
    }

    /// Returns the frames that end such a stream with these counts. `text` is the whole text.
    #[must_use]
    pub fn ended(self, text: &str, counts: &Counts) -> Vec<String> {
        let named = |data: Value| format!("event: {}\n{}", data["type"].as_str().unwrap_or_default(), frame(&data));
        let usage = self.usage(counts);
        match self {
            Self::Chat => vec![crate::scripted::stop(), crate::scripted::tail(&usage)],
            Self::Responses => {
                let item = response("completed", text, &usage)["output"][0].clone();
                vec![
                    named(
                        json!({"type": "response.output_text.done", "sequence_number": 7, "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text, "logprobs": []}),
                    ),
                    named(
                        json!({"type": "response.content_part.done", "sequence_number": 8, "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": item["content"][0]}),
                    ),
                    named(json!({"type": "response.output_item.done", "sequence_number": 9, "output_index": 0, "item": item})),
                    named(json!({"type": "response.completed", "sequence_number": 10, "response": response("completed", text, &usage)})),
                ]
            }
            Self::Messages => {
                // The end says the output, and the input without the lifetimes of its caches.
                let mut usage = usage;
                usage.as_object_mut().unwrap().remove("cache_creation");
                vec![
                    named(json!({"type": "content_block_stop", "index": 0})),
                    named(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage})),
                    named(json!({"type": "message_stop"})),
                ]
            }
            Self::Generate => vec![frame(&candidate("", Some("STOP"), &usage))],
        }
    }

    /// Returns a whole stream with a text in pieces.
    #[must_use]
    pub fn stream(self, pieces: &[&str], counts: &Counts) -> Script {
        sse().all(self.begun(pieces, counts)).all(self.ended(&pieces.concat(), counts))
    }

    /// Returns the text of an answer as a client of this API reads it, whole or from frames.
    #[must_use]
    pub fn text(self, body: &Value) -> String {
        let texts = |parts: &Value| -> String { parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect() };
        match self {
            Self::Chat => body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(),
            Self::Responses => {
                let items = body["output"].as_array().into_iter().flatten();
                items.filter(|item| item["type"] == "message").map(|item| texts(&item["content"])).collect()
            }
            Self::Messages => texts(&body["content"]),
            Self::Generate => texts(&body["candidates"][0]["content"]["parts"]),
        }
    }

    /// Returns the text of a frame as a client of this API reads it.
    #[must_use]
    pub fn piece(self, frame: &Value) -> String {
        let text = match self {
            Self::Chat => &frame["choices"][0]["delta"]["content"],
            Self::Responses if frame["type"] == "response.output_text.delta" => &frame["delta"],
            Self::Messages if frame["type"] == "content_block_delta" => &frame["delta"]["text"],
            Self::Responses | Self::Messages => &Value::Null,
            Self::Generate => return self.text(frame),
        };
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Returns the charge that an answer or a last frame says; null if there is none.
    #[must_use]
    pub fn cost(self, body: &Value) -> Value {
        match self {
            Self::Chat => body["usage"]["cost"].clone(),
            Self::Responses if body["response"].is_object() => body["response"]["arouter"]["cost"].clone(),
            Self::Responses | Self::Messages | Self::Generate => body["arouter"]["cost"].clone(),
        }
    }
}

fn response(status: &str, text: &str, usage: &Value) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let item = json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content});
    let output = if text.is_empty() { json!([]) } else { json!([item]) };
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m", "output": output, "usage": usage, "error": null,
        "incomplete_details": null, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
    })
}

fn candidate(text: &str, finish: Option<&str>, usage: &Value) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [{"text": text}]}});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"})
}

/// The counts of an answer by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// The prices of [`Counts`] in nano-USD per thousand tokens, in the order of its fields.
pub const PRICES: [u64; 6] = [3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000, 11_000_000];

impl Counts {
    /// Returns the cost in nano-USD by [`PRICES`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        let Self { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = *self;
        let each = [input, cache_read, cache_write_5m, cache_write_1h, output, reasoning];
        each.iter().zip(PRICES).map(|(tokens, price)| tokens * price / 1_000).sum()
    }

    /// Returns the settings of a model with [`PRICES`].
    #[must_use]
    pub fn prices() -> String {
        let names = ["prompt", "cache_read", "cache_write", "cache_write_1h", "completion", "reasoning"];
        names.iter().zip(PRICES).map(|(name, nanos)| format!("{name}_usd_per_mtok = \"{}\"\n", usd_per_mtok(nanos))).collect()
    }
}

fn usd_per_mtok(nanos_per_thousand: u64) -> String {
    format!("{}.{:06}", nanos_per_thousand / 1_000_000, nanos_per_thousand % 1_000_000)
}
