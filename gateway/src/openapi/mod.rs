//! The OpenAPI document of the public API: the operations of the handlers in one document, with parts that all of them share.
//!
//! The route `GET /openapi.json` serves it, and `GET /docs` shows it.

mod bodies;
mod management;
mod operator;
mod elsewhere;
pub mod refusals;
pub mod page;

pub use bodies::*;
pub use management::*;
pub use operator::*;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::admin::{account, catalog, credit, endpoint, key, provider_key, quarantine, user, webhook};
use crate::{endpoints, health, inference, models};

/// Title, tags, credentials, headers and errors.
const FRAME: &str = include_str!("frame.json");

#[derive(OpenApi)]
#[openapi(
    paths(
        inference::chat,
        inference::responses,
        inference::count_responses,
        inference::messages,
        inference::count_messages,
        inference::embeddings,
        models::list,
        models::retrieve,
        elsewhere::model_endpoints,
        endpoints::count,
        endpoints::zdr,
        endpoints::providers,
        elsewhere::generate_content,
        elsewhere::stream_generate_content,
        elsewhere::count_tokens,
        elsewhere::embed_content,
        elsewhere::batch_embed_contents,
        elsewhere::google_models,
        elsewhere::google_model,
        elsewhere::proxy_get,
        elsewhere::proxy_post,
        elsewhere::proxy_put,
        elsewhere::proxy_patch,
        elsewhere::proxy_delete,
        elsewhere::healthz,
        elsewhere::openapi_json,
        elsewhere::asyncapi_json,
        elsewhere::event_schema,
        elsewhere::docs,
        health::ready,
        key::current::own,
        key::create::create,
        key::list::list,
        key::get::get,
        key::update::update,
        key::delete::delete,
        key::rotate::rotate,
        user::erase::erase,
        webhook::create::create,
        webhook::list::list,
        webhook::get::get,
        webhook::update::update,
        webhook::delete::delete,
        webhook::rotate::rotate,
        webhook::test::test,
        webhook::test::test_event,
        webhook::replay::replay,
        webhook::probe::probe,
        provider_key::create::create,
        provider_key::list::list,
        provider_key::get::get,
        provider_key::update::update,
        provider_key::delete::delete,
        provider_key::test::test,
        key::revoke::revoke,
        account::create::create,
        account::management_key::management_key,
        account::suspend::suspend,
        account::update::update,
        account::own::get,
        account::own::update,
        credit::post::post,
        catalog::apply::apply,
        catalog::get::get,
        catalog::history::history,
        quarantine::list::list,
        quarantine::show::show,
        quarantine::decide::decide,
        endpoint::list::list,
        endpoint::reset::reset
    ),
    security(("bearer" = []), ("x_api_key" = []), ("x_goog_api_key" = []), ("key_query" = []))
)]
struct Document;

/// Returns the document of the gateway's own routes and of the reads that other processes answer.
#[must_use]
pub fn document(reads: impl IntoIterator<Item = utoipa::openapi::OpenApi>) -> Value {
    let all = reads.into_iter().fold(Document::openapi(), utoipa::openapi::OpenApi::merge_from);
    let mut document = serde_json::to_value(all).unwrap_or_default();
    merge(&mut document, serde_json::from_str(FRAME).unwrap_or_default());
    merge(&mut document, json!({"components": {"responses": refusals::components()}}));
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::iter_mut).for_each(|(verb, operation)| complete(verb, operation));
    }
    document
}

/// Adds `X-Request-Id` to the responses that an operation describes itself, and the headers of rate limits if it counts as a request. The
/// heading `# Errors` of a handler's text is for readers of the code.
fn complete(verb: &str, operation: &mut Value) {
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
    if let Some(Value::String(description)) = operation.get_mut("description") {
        *description = description.replace("# Errors\n", "");
    }
    let tag = operation.pointer("/tags/0").and_then(Value::as_str);
    if tag == Some("Provider") || (tag == Some("Models") && verb == "post") {
        merge(&mut headers, refusals::rate_headers());
    }
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(Map::values_mut).filter(|response| response.get("$ref").is_none()) {
        merge(response, json!({"headers": headers}));
    }
}

/// Adds the members of objects, in depth; other values are replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
