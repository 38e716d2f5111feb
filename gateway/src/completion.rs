//! Completion of requests: the account's default model for those that name none, and reasoning for those that ask for `:thinking`.

use axum::body::Bytes;
use wire::additions::{with_model, with_reasoning};
use wire::call::{Call, RequestError};

use crate::auth::KeyEntry;
use crate::request::Stages;
use crate::route::Operation;

impl Stages {
    /// Returns the body with the additions that a request needs; `None` if it needs none. `read` is the request as its body is.
    #[must_use]
    pub fn completed(&self, operation: &Operation, caller: &KeyEntry, body: &[u8], read: &Result<Call<'_>, RequestError>) -> Option<Bytes> {
        let completed = match read {
            Ok(call) => self.reasoning(operation, body, call),
            Err(_) if operation.model.is_some() => None,
            Err(_) => {
                let model = self.auth.default_model(&caller.key.account)?;
                let body = with_model(body, &model)?;
                let reasoning = operation.read(&body).ok().and_then(|call| self.reasoning(operation, &body, &call));
                Some(reasoning.unwrap_or(body))
            }
        };
        completed.map(Bytes::from)
    }

    fn reasoning(&self, operation: &Operation, body: &[u8], call: &Call<'_>) -> Option<Vec<u8>> {
        let names = &call.head.models;
        if !names.iter().any(|name| name.contains(':')) {
            return None;
        }
        let routes = self.routes.now();
        let asks = names.iter().any(|name| routes.asks_for_reasoning(operation.format, name));
        asks.then(|| with_reasoning(operation.format, body, call.head.output_tokens_max)).flatten()
    }
}
