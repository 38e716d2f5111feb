//! The probabilities of tokens: `logprobsResult` and the shape of Chat's `logprobs.content`.

use serde::{Deserialize, Serialize};

use crate::neutral::Json;

/// A token in Chat's shape.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    token: String,
    #[serde(default)]
    logprob: f64,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Token>>,
}

/// `logprobsResult`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogprobsBody {
    chosen_candidates: Vec<CandidateBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_candidates: Vec<TopBody>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct TopBody {
    candidates: Vec<CandidateBody>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CandidateBody {
    token: String,
    log_probability: f64,
}

impl CandidateBody {
    fn chat(self, top_logprobs: Option<Vec<Token>>) -> Token {
        let bytes = Some(self.token.as_bytes().to_vec());
        Token { token: self.token, logprob: self.log_probability, bytes, top_logprobs }
    }

    fn of(token: &Token) -> Self {
        Self { token: token.token.clone(), log_probability: token.logprob }
    }
}

/// Reads `logprobsResult`; `None` if it names no tokens.
pub fn read(result: &Json<'_>) -> Option<Json<'static>> {
    let LogprobsBody { chosen_candidates, top_candidates } = result.read()?;
    if chosen_candidates.is_empty() {
        return None;
    }
    let mut tops = top_candidates.into_iter();
    let tokens = chosen_candidates.into_iter().map(|chosen| {
        let top = tops.next().map(|top| top.candidates).unwrap_or_default();
        chosen.chat(Some(top.into_iter().map(|candidate| candidate.chat(None)).collect()))
    });
    Some(Json::of(&tokens.collect::<Vec<_>>()))
}

impl LogprobsBody {
    /// Adds tokens in Chat's shape; others are passed over.
    pub fn add(&mut self, tokens: &Json<'_>) {
        for token in tokens.read::<Vec<Token>>().unwrap_or_default() {
            self.chosen_candidates.push(CandidateBody::of(&token));
            let top = token.top_logprobs.unwrap_or_default();
            self.top_candidates.push(TopBody { candidates: top.iter().map(CandidateBody::of).collect() });
        }
    }

    /// Returns the probabilities; `None` if there are none.
    pub fn into_some(self) -> Option<Self> {
        (!self.chosen_candidates.is_empty()).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_survive() {
        let result = r#"{"chosenCandidates":[{"token":"é","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"é","logProbability":-0.5},{"token":"b","logProbability":-2.0}]}]}"#;
        let tokens = read(&Json::parse(result).unwrap()).unwrap();
        assert_eq!(
            tokens.get(),
            r#"[{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169]},{"token":"b","logprob":-2.0,"bytes":[98]}]}]"#
        );
        let mut body = LogprobsBody::default();
        body.add(&tokens);
        body.add(&Json::parse("7").unwrap());
        assert_eq!(serde_json::to_string(&body.into_some()).unwrap(), result);
        assert!(read(&Json::parse("{}").unwrap()).is_none());
    }
}
