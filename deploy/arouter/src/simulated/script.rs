//! The content of a simulated answer: an echo, reasoning, calls of tools, or JSON.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The maximum depth of a schema that is filled in.
const DEPTH_MAX: usize = 16;
/// The maximum number of tools that one answer calls.
const CALLS_MAX: usize = 2;

/// A chat request as far as the built-in provider reads it.
#[derive(Debug, Deserialize)]
pub struct ChatBody {
    pub model: String,
    messages: Vec<Value>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    response_format: Value,
}

/// A piece of an answer.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Reasoning(String),
    Text(String),
    /// A whole call of a tool, with its arguments as JSON text.
    Call {
        index: usize,
        id: String,
        name: String,
        arguments: String,
    },
}

/// A whole answer.
#[derive(Debug)]
pub struct Script {
    pub pieces: Vec<Piece>,
    pub finish_reason: &'static str,
    pub usage: Value,
}

impl ChatBody {
    /// Returns the answer that the model's name asks for.
    pub fn script(&self) -> Script {
        let most = self.max_completion_tokens.or(self.max_tokens).unwrap_or(usize::MAX);
        let mut pieces = match self.model.as_str() {
            "reasoner" => words("Let me think about that.").map(Piece::Reasoning).collect(),
            "tools" if self.calls_tools() => return self.finished(self.calls(), "tool_calls"),
            _ => Vec::new(),
        };
        let text = self.text();
        pieces.extend(words(&text).map(Piece::Text));
        let finish_reason = if pieces.len() > most { "length" } else { "stop" };
        pieces.truncate(most);
        self.finished(pieces, finish_reason)
    }

    fn finished(&self, pieces: Vec<Piece>, finish_reason: &'static str) -> Script {
        let prompt_bytes: usize = self.messages.iter().map(|message| content_text(message).len()).sum();
        let prompt = prompt_bytes.div_ceil(4);
        let reasoning = pieces.iter().filter(|piece| matches!(piece, Piece::Reasoning(_))).count();
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": pieces.len(),
            "total_tokens": prompt + pieces.len(),
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        });
        Script { pieces, finish_reason, usage }
    }

    fn calls_tools(&self) -> bool {
        !self.tools.is_empty() && self.messages.last().is_some_and(|message| message["role"] == "user")
    }

    fn calls(&self) -> Vec<Piece> {
        let functions = self.tools.iter().map(|tool| &tool["function"]).take(CALLS_MAX).enumerate();
        functions
            .map(|(index, function)| Piece::Call {
                index,
                id: format!("call_{index}"),
                name: function["name"].as_str().unwrap_or_default().to_owned(),
                arguments: example(&function["parameters"], DEPTH_MAX).to_string(),
            })
            .collect()
    }

    /// Returns the last user's text; after results of tools, the results; if JSON is asked for, JSON.
    fn text(&self) -> String {
        match self.response_format["type"].as_str() {
            Some("json_schema") => return example(&self.response_format["json_schema"]["schema"], DEPTH_MAX).to_string(),
            Some("json_object") => return json!({"echo": last_text(&self.messages, "user")}).to_string(),
            Some(_) | None => {}
        }
        let results: Vec<String> = self.messages.iter().rev().take_while(|message| message["role"] == "tool").map(content_text).collect();
        if results.is_empty() {
            return last_text(&self.messages, "user");
        }
        format!("The tools say: {}", results.into_iter().rev().collect::<Vec<_>>().join("; "))
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_inclusive(' ').map(str::to_owned)
}

/// Returns a value that fits a JSON Schema, as far as types, properties, items and enums say.
fn example(schema: &Value, depth: usize) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array()?.first()?.as_str());
    match kind {
        Some("string") => json!("Rome"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") if depth > 0 => json!([example(&schema["items"], depth - 1)]),
        Some("null") => Value::Null,
        Some(_) | None => {
            let properties = schema["properties"].as_object().filter(|_| depth > 0);
            let filled = |(name, inner): (&String, &Value)| (name.clone(), example(inner, depth - 1));
            Value::Object(properties.map(|all| all.iter().map(filled).collect::<Map<_, _>>()).unwrap_or_default())
        }
    }
}

fn last_text(messages: &[Value], role: &str) -> String {
    messages.iter().rev().find(|message| message["role"] == role).map(content_text).unwrap_or_default()
}

fn content_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(body: Value) -> Script {
        serde_json::from_value::<ChatBody>(body).unwrap().script()
    }

    #[test]
    fn the_models_name_says_what_is_answered() {
        let user = json!({"role": "user", "content": "one two"});
        let echo = script(json!({"model": "echo", "messages": [user], "max_tokens": 1}));
        assert_eq!((echo.pieces, echo.finish_reason), (vec![Piece::Text("one ".into())], "length"));
        let reasoner = script(json!({"model": "reasoner", "messages": [user]}));
        assert_eq!(reasoner.usage["completion_tokens_details"]["reasoning_tokens"], 5);
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
        let called = script(json!({"model": "tools", "messages": [user], "tools": tools}));
        let arguments = r#"{"city":"Rome","days":1}"#.to_owned();
        assert_eq!(called.pieces, [Piece::Call { index: 0, id: "call_0".into(), name: "weather".into(), arguments }]);
        let result = json!({"role": "tool", "tool_call_id": "call_0", "content": "sunny"});
        let said = script(json!({"model": "tools", "messages": [user, {"role": "assistant"}, result], "tools": tools}));
        assert_eq!(said.pieces.len(), 4);
        let format = json!({"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"a": {"type": "array", "items": {"enum": ["x"]}}}}}});
        let json = script(json!({"model": "echo", "messages": [user], "response_format": format}));
        assert_eq!(json.pieces, [Piece::Text(r#"{"a":["x"]}"#.into())]);
    }
}
