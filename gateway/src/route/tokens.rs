//! Tokenizers: they count a prompt in tokens if the credit does not cover the bound by its bytes.

use serde::{Deserialize, Serialize};

use super::operation::Operation;

/// A tokenizer with a public vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Tokenizer {
    /// The tokenizer of GPT-3.5 and GPT-4.
    #[serde(rename = "cl100k_base")]
    Cl100k,
    /// The tokenizer of GPT-4o and later models.
    #[serde(rename = "o200k_base")]
    O200k,
}

/// Prefixes of OpenAI's model names, longer ones before shorter ones. Source: OpenAI's tiktoken, `model.py`.
const OPENAI: [(&str, Tokenizer); 12] = [
    ("gpt-4o", Tokenizer::O200k),
    ("gpt-4.1", Tokenizer::O200k),
    ("gpt-4.5", Tokenizer::O200k),
    ("gpt-4", Tokenizer::Cl100k),
    ("gpt-3.5", Tokenizer::Cl100k),
    ("gpt-5", Tokenizer::O200k),
    ("gpt-oss", Tokenizer::O200k),
    ("chatgpt-4o", Tokenizer::O200k),
    ("o1", Tokenizer::O200k),
    ("o3", Tokenizer::O200k),
    ("o4-mini", Tokenizer::O200k),
    ("ft:gpt-4o", Tokenizer::O200k),
];

impl Tokenizer {
    /// Returns the tokenizer of a model of OpenAI's own service.
    #[must_use]
    pub fn of_openai(model: &str) -> Option<Self> {
        OPENAI.iter().find(|(begin, _)| model.starts_with(begin)).map(|(_, tokenizer)| *tokenizer)
    }

    /// Counts the tokens of a text, in time linear in its length for any text.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        let tokenizer = match self {
            Self::Cl100k => bpe_openai::cl100k_base(),
            Self::O200k => bpe_openai::o200k_base(),
        };
        u64::try_from(tokenizer.count(text)).unwrap_or(u64::MAX)
    }
}

/// Counts a request's prompt with each tokenizer. Each result is an upper bound: the provider never counts more. A large body takes
/// milliseconds, so this must not run on a thread that serves requests.
#[must_use]
pub fn count(operation: &Operation, body: &[u8], tokenizers: Vec<Tokenizer>) -> Vec<(Tokenizer, u64)> {
    let Ok(call) = operation.read(body) else { return Vec::new() };
    let bound = |tokenizer: Tokenizer| call.prompt_tokens_counted(|text| tokenizer.count(text));
    tokenizers.into_iter().filter_map(|tokenizer| Some((tokenizer, bound(tokenizer)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_published_vocabularies() {
        // The test vectors come from tiktoken's own tests and its README.
        assert_eq!(Tokenizer::Cl100k.count("hello world"), 2);
        assert_eq!(Tokenizer::Cl100k.count("rer"), 1);
        assert_eq!(Tokenizer::Cl100k.count("today\n \n"), 2);
        assert_eq!(Tokenizer::O200k.count("hello world"), 2);
        assert_eq!(Tokenizer::O200k.count("<|endoftext|>"), 7, "a text, no control token");
    }

    #[test]
    fn a_text_that_would_take_others_quadratic_time_does_not_here() {
        assert!(Tokenizer::O200k.count(&"a".repeat(1_000_000)) > 1_000);
    }

    #[test]
    fn models_have_the_tokenizer_of_their_family() {
        for (model, tokenizer) in [
            ("gpt-4-turbo", Some(Tokenizer::Cl100k)),
            ("gpt-4o-mini", Some(Tokenizer::O200k)),
            ("gpt-5.4", Some(Tokenizer::O200k)),
            ("o3-pro", Some(Tokenizer::O200k)),
            ("whisper-1", None),
        ] {
            assert_eq!(Tokenizer::of_openai(model), tokenizer, "{model}");
        }
    }
}
