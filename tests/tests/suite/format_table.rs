//! The table of what becomes of each field of a request in each other format. It is made by translating a request with and without the field.

use serde_json::{Map, Value, json};
use wire::call::{self, Addressed, Call, Format, RequestError, Target};
use wire::dialect::Dialect;
use wire::neutral::fate;

const FORMATS: [Format; 4] = [Format::Chat, Format::Responses, Format::Messages, Format::Generate];
/// The model of every request: one that takes sampling parameters and reasons.
const MODEL: &str = "m-1";
/// Fields that are not the translation's business: the target's name, cap and stream take their place.
const OWN: [&str; 8] =
    ["model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "stream_options", "store"];

const fn name(format: Format) -> &'static str {
    match format {
        Format::Chat => "Chat",
        Format::Responses => "Responses",
        Format::Messages => "Messages",
        Format::Generate => "Generate",
        Format::Embeddings(_) => "Embeddings",
    }
}

fn base(format: Format) -> Value {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false, "required": ["a"]});
    match format {
        Format::Chat | Format::Embeddings(_) => json!({
            "model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9_000,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        }),
        Format::Responses => json!({
            "model": MODEL, "input": "x", "max_output_tokens": 9_000,
            "tools": [{"type": "function", "name": "f", "parameters": schema, "strict": false}],
        }),
        Format::Messages => json!({
            "model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9_000,
            "tools": [{"name": "f", "input_schema": schema}],
        }),
        Format::Generate => json!({
            "contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 9_000},
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}],
        }),
    }
}

/// Returns every field of the format's request in the vendor's SDK, each with a value. Source: `openai` 3.57, `anthropic` 2.14 and
/// `google-genai` 3.6 for Python.
fn fields(format: Format) -> Map<String, Value> {
    let text = match format {
        Format::Chat | Format::Embeddings(_) => include_str!("format_table/chat.json"),
        Format::Responses => include_str!("format_table/responses.json"),
        Format::Messages => include_str!("format_table/messages.json"),
        Format::Generate => include_str!("format_table/generate.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// Returns the base request with a field. A name with a dot is a member of an object.
fn with(format: Format, field: &str, value: &Value) -> Value {
    let mut body = base(format);
    match field.split_once('.') {
        Some((outer, inner)) => body[outer][inner] = value.clone(),
        None => body[field] = value.clone(),
    }
    body
}

fn translated(from: Format, to: Format, body: &Value) -> Result<Value, RequestError> {
    let bytes = body.to_string().into_bytes();
    let address = Addressed { model: Some(MODEL), ..Addressed::default() };
    let dialect = Dialect { has_developer_role: true, ..Dialect::default() };
    let target = Target { model: MODEL, cap: Some(9_000), dialect: &dialect };
    let neutral = Call::read(from, &bytes, &address)?.neutral()?;
    Ok(serde_json::from_slice(&call::write(&neutral, to, false, &target)?).unwrap())
}

/// Returns whether a value stands under a name anywhere in an object.
fn has(body: &Value, name: &str, value: &Value) -> bool {
    match body {
        Value::Object(members) => members.iter().any(|(member, inner)| (member == name && inner == value) || has(inner, name, value)),
        Value::Array(items) => items.iter().any(|item| has(item, name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns the entry of the table.
fn fate_of(from: Format, to: Format, field: &str, value: &Value) -> String {
    let inner = field.rsplit('.').next().unwrap_or(field);
    if OWN.contains(&inner) {
        return "by the gateway".to_owned();
    }
    let without = translated(from, to, &base(from)).unwrap();
    match translated(from, to, &with(from, field, value)) {
        Err(_) => "refused".to_owned(),
        Ok(body) if body != without => if has(&body, inner, value) { "kept" } else { "changed" }.to_owned(),
        Ok(_) if field == "user" => "dropped, harmless: the gateway records it".to_owned(),
        Ok(_) => {
            let harmless = fate::harmless(from).iter().find(|(known, _)| *known == field || *known == inner);
            let (_, reason) = harmless.unwrap_or_else(|| panic!("{field} is dropped in silence from {from:?} to {to:?}"));
            format!("dropped, harmless: {reason}")
        }
    }
}

fn table() -> String {
    let mut text = String::from(
        "# What becomes of each field of a request\n\nA request to a provider of its own format passes byte for byte. For the other formats, this table is made by \
         translating a request\nwith and without each field of the vendors' SDKs; a test compares it. *kept*: under the same name with the same value. \
         *changed*: in the\nother format's own way. *refused*: answered with 400 that names the field. *dropped*: with its reason. A `top_k` of 40 or more\nis dropped where a format has none: it cuts off only tokens of negligible probability.\n",
    );
    for from in FORMATS {
        let others: Vec<Format> = FORMATS.into_iter().filter(|to| *to != from).collect();
        text.extend(["\n## ", name(from), "\n\n| field |"]);
        for to in &others {
            text.extend([" ", name(*to), " |"]);
        }
        text.push_str("\n|---|---|---|---|\n");
        for (field, value) in fields(from) {
            text.extend(["| `", &field, "` |"]);
            for to in &others {
                text.extend([" ", &fate_of(from, *to, &field, &value), " |"]);
            }
            text.push('\n');
        }
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "UPDATE_SCHEMAS=1 accepts a change of the table")]
fn the_table_in_the_documents_is_that_of_the_code() {
    let path = tests::arouter::repository().join("schemas/wire/FORMATS.md");
    let table = table();
    if std::env::var("UPDATE_SCHEMAS").is_ok() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), table, "UPDATE_SCHEMAS=1 cargo test -p tests --test suite format_table");
}
