//! `GET /v1/models` and `/v1/models/{id}`: the models that the caller's key may use.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use events::control::Key;
use routing::Modality;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;
use wire::call::Format;

use crate::endpoints;
use crate::error::{ErrorForm, GatewayError};
use crate::openapi::refusals::Models;
use crate::openapi::{AnyModelBody, ModelsBody};
use crate::request::Stages;
use crate::route::choice::{check_allowed, check_allowed_by};
use crate::route::split::Split;
use crate::route::{Endpoint, Model, facts};

/// The kinds of output of models.
const OUTPUTS: [&str; 4] = ["text", "image", "audio", "embeddings"];

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct ModelsQuery {
    /// Kinds of output, separated by commas: `text`, `image`, `audio`, `embeddings` or `all`; default: `text`.
    output_modalities: Option<String>,
    /// Parameters that the models must accept, separated by commas.
    supported_parameters: Option<String>,
}

/// The vendor in whose shape a caller expects models.
fn shape(request: &Request) -> Format {
    let (headers, uri) = (request.headers(), request.uri());
    let has_google_key =
        headers.contains_key("x-goog-api-key") || uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    if uri.path().starts_with("/v1beta/") || has_google_key {
        Format::Generate
    } else if headers.contains_key("anthropic-version") {
        Format::Messages
    } else {
        Format::Chat
    }
}

/// Lists the models that the caller's key may use, in the shape of the caller's SDK: `{object: "list", data: [model]}`, the union of
/// OpenAI's and OpenRouter's formats; Anthropic's if `anthropic-version` is sent; Google's on its routes or with its key header. Answers
/// 401 for the wrong credential, 400 for a bad query.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "list_models",
    tag = "Models",
    summary = "The models that the key may use",
    params(ModelsQuery),
    responses((status = 200, description = "The models, in the shape of the SDK that asks.", body = ModelsBody), Models)
)]
pub async fn list(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    let format = shape(&request);
    let form = ErrorForm::at(request.uri().path(), format);
    listed(&stages, format, &request).unwrap_or_else(|error| error.into_response_of(form, None))
}

fn listed(stages: &Stages, format: Format, request: &Request) -> Result<Response, GatewayError> {
    let caller = stages.auth.identify(request.headers(), request.uri().query(), stages.clock.now_us())?;
    let Query(query) = Query::<ModelsQuery>::try_from_uri(request.uri())
        .map_err(|error| GatewayError::BadRequest { message: error.body_text(), param: None })?;
    let outputs_wanted = outputs_wanted(&query)?;
    let wanted: Vec<&str> = query.supported_parameters.as_deref().map(|list| list.split(',').collect()).unwrap_or_default();
    let able = |endpoint: &Endpoint| {
        let parameters = parameters(endpoint);
        let has_parameters = wanted.iter().all(|word| parameters.iter().any(|parameter| parameter == word.trim()));
        has_parameters && outputs(endpoint).iter().any(|output| outputs_wanted.contains(output))
    };
    let routes = stages.routes.now();
    let fits = |split: Option<&Split>, model: &Model| {
        let endpoints = model.endpoints.iter().find(|endpoint| check_allowed_by(&caller.key, split, endpoint).is_ok() && able(endpoint));
        endpoints.map(|endpoint| object(format, endpoint))
    };
    let split = |split: &Arc<Split>| {
        let mut models = split.variants.iter().filter_map(|variant| routes.find(&variant.model));
        models.find_map(|model| fits(Some(split), model)).map(|object| renamed(format, object, &split.name.id))
    };
    let data: Vec<Value> = routes.all().filter_map(|model| fits(None, model)).chain(routes.splits().filter_map(split)).collect();
    Ok(Json(match format {
        Format::Generate => json!({"models": data}),
        Format::Messages => {
            let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
            json!({"first_id": id(data.first()), "last_id": id(data.last()), "has_more": false, "data": data})
        }
        Format::Chat | Format::Responses | Format::Embeddings(_) => json!({"object": "list", "data": data}),
    })
    .into_response())
}

/// Returns one model in the same shape. Answers 401 for the wrong credential, 404 for a model that does not exist or that the key may not
/// use.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    operation_id = "retrieve_model",
    tag = "Models",
    summary = "One model",
    params(("id" = String, Path, description = "The model's name, with slashes.", example = "openai/gpt-5.4")),
    responses((status = 200, description = "The model, in the shape of the SDK that asks.", body = AnyModelBody), Models)
)]
pub async fn retrieve(State(stages): State<Arc<Stages>>, Path(id): Path<String>, request: Request) -> Response {
    let format = shape(&request);
    let form = ErrorForm::at(request.uri().path(), format);
    retrieved(&stages, format, &id, &request).unwrap_or_else(|error| error.into_response_of(form, None))
}

fn retrieved(stages: &Stages, format: Format, id: &str, request: &Request) -> Result<Response, GatewayError> {
    let caller = stages.auth.identify(request.headers(), request.uri().query(), stages.clock.now_us())?;
    let routes = stages.routes.now();
    if let Some(id) = id.strip_suffix("/endpoints") {
        let split = routes.split_for(format, id).map(|split| &**split);
        let models: Vec<_> = match split {
            Some(split) => split.variants.iter().filter_map(|variant| routes.find(&variant.model)).collect(),
            None => routes.find_for(format, id).into_iter().collect(),
        };
        return endpoints::of_model(stages, &caller.key, (split, &models), id);
    }
    if let Some(split) = routes.split_for(format, id) {
        let mut endpoints = split.variants.iter().filter_map(|variant| routes.find(&variant.model)).flat_map(|model| &model.endpoints);
        if let Some(endpoint) = endpoints.find(|endpoint| check_allowed_by(&caller.key, Some(split), endpoint).is_ok()) {
            return Ok(Json(renamed(format, object(format, endpoint), &split.name.id)).into_response());
        }
    }
    let endpoint = routes.find_for(format, id).and_then(|model| usable(&caller.key, model));
    let endpoint =
        endpoint.ok_or_else(|| GatewayError::NotFound(format!("The model '{id}' does not exist; GET /v1/models lists those that do.")))?;
    Ok(Json(object(format, endpoint)).into_response())
}

/// Returns the kinds of output that a query asks for.
fn outputs_wanted(query: &ModelsQuery) -> Result<Vec<&str>, GatewayError> {
    let words: Vec<&str> = query.output_modalities.as_deref().unwrap_or("text").split(',').map(str::trim).collect();
    if let Some(word) = words.iter().find(|word| !OUTPUTS.contains(word) && **word != "all") {
        let message = format!("Invalid 'output_modalities': '{word}' is none of {}, all.", OUTPUTS.join(", "));
        return Err(GatewayError::BadRequest { message, param: Some("output_modalities".into()) });
    }
    Ok(if words.contains(&"all") { OUTPUTS.to_vec() } else { words })
}

/// Returns the object of a model under the name of a split.
#[must_use]
pub fn renamed(format: Format, mut object: Value, id: &str) -> Value {
    let names: &[&str] = match format {
        Format::Chat | Format::Responses | Format::Embeddings(_) => &["id", "canonical_slug", "name"],
        Format::Messages => &["id", "display_name"],
        Format::Generate => &["displayName"],
    };
    for name in names {
        object[*name] = id.into();
    }
    match format {
        Format::Chat | Format::Responses | Format::Embeddings(_) => {
            let author = id.split('/').next().unwrap_or_default();
            object["owned_by"] = author.into();
            object["links"] = json!({"details": format!("/api/v1/models/{id}/endpoints")});
        }
        Format::Messages => {}
        Format::Generate => object["name"] = format!("models/{id}").into(),
    }
    object
}

/// Returns the first provider of a model that a key may use.
fn usable<'a>(key: &Key, model: &'a Model) -> Option<&'a Endpoint> {
    model.endpoints.iter().map(|endpoint| &**endpoint).find(|endpoint| check_allowed(key, endpoint).is_ok())
}

fn object(format: Format, endpoint: &Endpoint) -> Value {
    match format {
        Format::Chat | Format::Responses | Format::Embeddings(_) => openai(endpoint),
        Format::Messages => json!({
            "type": "model",
            "id": endpoint.model.id,
            "display_name": endpoint.display_name,
            "created_at": "1970-01-01T00:00:00Z",
            "max_input_tokens": endpoint.context_length,
            "max_tokens": endpoint.max_output_tokens,
            "lifecycle": "active",
            "capabilities": null,
        }),
        Format::Generate => json!({
            "name": format!("models/{}", endpoint.model.id),
            "version": "1",
            "displayName": endpoint.display_name,
            "description": "",
            "inputTokenLimit": endpoint.context_length,
            "outputTokenLimit": endpoint.max_output_tokens,
            "supportedGenerationMethods": if outputs(endpoint) == ["embeddings"] {
                ["embedContent", "countTokens"]
            } else {
                ["generateContent", "countTokens"]
            },
        }),
    }
}

/// Returns the parameters that an endpoint supports; those of its API if no more is known.
#[must_use]
pub fn parameters(endpoint: &Endpoint) -> Vec<String> {
    let known = endpoint.facts.supported_parameters.clone();
    known.unwrap_or_else(|| facts::parameters(endpoint.provider.format, &[]))
}

/// Returns the kinds of input that an endpoint is known to accept.
#[must_use]
pub fn inputs(endpoint: &Endpoint) -> Vec<&'static str> {
    let known = endpoint.facts.input_modalities.as_deref().unwrap_or(&[Modality::Text]);
    let name = |modality: &Modality| match modality {
        Modality::Text => "text",
        Modality::Image => "image",
        Modality::Audio => "audio",
        Modality::Video => "video",
        Modality::File => "file",
    };
    known.iter().map(name).collect()
}

/// Returns the kinds of output of an endpoint, by its capabilities.
#[must_use]
pub fn outputs(endpoint: &Endpoint) -> Vec<&'static str> {
    let has = |capability: &str| endpoint.facts.supports(capability) == Some(true);
    if has("embeddings") {
        return vec!["embeddings"];
    }
    let more = [("image_output", "image"), ("audio_output", "audio")];
    std::iter::once("text").chain(more.into_iter().filter(|(capability, _)| has(capability)).map(|(_, output)| output)).collect()
}

/// Returns a model with OpenAI's and OpenRouter's fields.
#[must_use]
pub fn openai(endpoint: &Endpoint) -> Value {
    let (inputs, outputs) = (inputs(endpoint), outputs(endpoint));
    let prices = &endpoint.shown_prices;
    let named = [
        ("prompt", Some(&prices.prompt)),
        ("completion", Some(&prices.completion)),
        ("input_cache_read", prices.cache_read.as_ref()),
        ("input_cache_write", prices.cache_write_5m.as_ref()),
    ];
    let pricing: Map<String, Value> =
        named.into_iter().filter_map(|(name, price)| Some((name.to_owned(), price?.as_str().into()))).collect();
    json!({
        "id": endpoint.model.id,
        "object": "model",
        "created": 0,
        "owned_by": endpoint.provider.slug,
        "canonical_slug": endpoint.model.id,
        "name": endpoint.display_name,
        "description": "",
        "context_length": endpoint.context_length,
        "architecture": {
            "modality": format!("{}->{}", inputs.join("+"), outputs.join("+")),
            "input_modalities": inputs,
            "output_modalities": outputs,
            "tokenizer": "Other",
            "instruct_type": null,
        },
        "pricing": pricing,
        "top_provider": {"context_length": endpoint.context_length, "max_completion_tokens": endpoint.max_output_tokens, "is_moderated": false},
        "per_request_limits": null,
        "supported_parameters": parameters(endpoint),
        "supported_voices": null,
        "default_parameters": {},
        "links": {"details": format!("/api/v1/models/{}/endpoints", endpoint.model.id)},
    })
}
