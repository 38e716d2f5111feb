//! Embeddings of the built-in provider: vectors that depend on the text alone.

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// The length of a vector, if the caller asks for none.
const DIMENSIONS: usize = 16;
/// The maximum length of a vector.
const DIMENSIONS_MAX: usize = 4_096;

#[derive(Debug, Deserialize)]
pub struct EmbeddingsBody {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u64>),
    TokenLists(Vec<Vec<u64>>),
}

/// Serves `POST /v1/embeddings`.
pub async fn embeddings(Json(body): Json<EmbeddingsBody>) -> Response {
    let joined = |tokens: Vec<u64>| tokens.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let texts = match body.input {
        Input::Text(text) => vec![text],
        Input::Texts(texts) => texts,
        Input::Tokens(tokens) => vec![joined(tokens)],
        Input::TokenLists(lists) => lists.into_iter().map(joined).collect(),
    };
    let dimensions = body.dimensions.unwrap_or(DIMENSIONS).clamp(1, DIMENSIONS_MAX);
    let is_base64 = body.encoding_format.as_deref() == Some("base64");
    let tokens: usize = texts.iter().map(|text| text.len().div_ceil(4)).sum();
    let object = |(index, text): (usize, &String)| {
        let vector = vector(text, dimensions);
        let embedding = if is_base64 {
            json!(STANDARD.encode(vector.iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(object).collect();
    Json(json!({"object": "list", "data": data, "model": body.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}))
        .into_response()
}

/// Returns a unit vector that the bytes of a text determine.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state: u64 = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [first, second, ..] = state.to_be_bytes();
        f32::from(i16::from_be_bytes([first, second])) / f32::from(i16::MAX)
    };
    let vector: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = vector.iter().map(|part| part * part).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.into_iter().map(|part| part / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_depend_on_the_text_alone() {
        assert_eq!(vector("a", 16), vector("a", 16));
        assert_ne!(vector("a", 16), vector("b", 16));
        let length: f32 = vector("a", 16).iter().map(|part| part * part).sum();
        assert!((length - 1.0).abs() < 1e-4);
    }
}
