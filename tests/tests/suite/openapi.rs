//! The OpenAPI document: it has every route, it is the one in git, and the gateway serves it with a page that shows it.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;
use serde_json::{Map, Value};
use tests::arouter::repository;
use tests::{Arouter, Provider, Storage};

/// Addresses that stand in the document under other names, and the names.
const ALIASES: [(&str, &str); 4] = [
    ("/api/v1/auth/key", "/api/v1/key"),
    ("/api/webhooks/endpoints", "/api/v1/webhooks"),
    ("/api/v1/billing/transactions", "/api/v1/transactions"),
    // Google's operations stand behind a colon in the last segment.
    ("/v1beta/models/{id} POST", "/v1beta/models/{model}:generateContent POST"),
];
/// The answer to a WebSocket, and Google's operations on routes of models, which no client calls at these addresses.
const NOT_FOR_CLIENTS: [&str; 2] = ["/v1/responses GET", "/v1/models/{id} POST"];

/// Operations that a route with a wildcard serves.
const BEHIND_WILDCARDS: [&str; 2] = ["/v1beta/models/{model}:", "/api/v1/models/{author}/{slug}/endpoints "];

fn document() -> Value {
    gateway::openapi::document([ledger::router::document(), projector::router::document()])
}

/// Returns `path METHOD` for every operation of the document.
fn documented() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths").iter();
    let of = |(path, item): (&String, &Value)| {
        item.as_object().into_iter().flat_map(Map::keys).map(|verb| format!("{path} {}", verb.to_uppercase())).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

/// Reads `path METHOD` of every route from the text that axum prints of its routers.
fn routed() -> BTreeSet<String> {
    let text = format!("{:?}", gateway::router::routes());
    let mut found = BTreeSet::new();
    for router in text.split(" path_router: PathRouter {").skip(1) {
        let router = router.split("fallback_router:").next().unwrap_or_default();
        let (endpoints, paths) = router.split_once("node: Node {").expect("routes and their paths");
        let methods: Vec<(&str, BTreeSet<&str>)> = endpoints
            .split("RouteId(")
            .skip(1)
            .map(|route| {
                let allowed = route.split_once("allow_header: ").map_or("", |(_, header)| header);
                let allowed =
                    allowed.strip_prefix("Bytes(b\"").and_then(|rest| rest.split('"').next()).unwrap_or("GET,POST,PUT,PATCH,DELETE");
                (route.split(')').next().unwrap_or_default(), allowed.split(',').filter(|method| *method != "HEAD").collect())
            })
            .collect();
        for route in paths.split("RouteId(").skip(1) {
            let Some((id, rest)) = route.split_once("): \"") else { continue };
            let path = rest.split('"').next().unwrap_or_default().replace("{*", "{");
            let allowed = methods.iter().find(|(known, _)| *known == id).expect("the methods of a path");
            found.extend(allowed.1.iter().map(|method| format!("{path} {method}")));
        }
    }
    found
}

/// Returns the names under which a route may stand in the document.
fn names(route: &str) -> Vec<String> {
    let mut names = vec![route.to_owned(), format!("/api{route}")];
    names.extend(route.strip_prefix("/api").map(str::to_owned));
    for (alias, name) in ALIASES {
        names.extend(names.clone().iter().filter(|known| known.contains(alias)).map(|known| known.replace(alias, name)));
    }
    names
}

#[test]
fn every_route_stands_in_the_document() {
    let (documented, routed) = (documented(), routed());
    assert!(routed.len() > 60, "the routes cannot be read from what axum prints: {routed:?}");
    let is_for_clients = |route: &&String| !NOT_FOR_CLIENTS.iter().any(|other| names(route).iter().any(|name| name == other));
    for route in routed.iter().filter(is_for_clients) {
        assert!(
            names(route).iter().any(|name| documented.contains(name)),
            "{route} is not in the OpenAPI document: give its handler #[utoipa::path(…)], and name it in gateway/src/openapi/mod.rs \
             (or in the router.rs of ledger or projector)"
        );
    }
    let answered: BTreeSet<String> = routed.iter().flat_map(|route| names(route)).collect();
    let other = |operation: &&String| !answered.contains(*operation) && !BEHIND_WILDCARDS.iter().any(|start| operation.starts_with(start));
    let extra: Vec<&String> = documented.iter().filter(other).collect();
    assert!(extra.is_empty(), "the document has operations without a route: {extra:?}");
}

#[test]
fn the_document_in_git_is_that_of_the_code() {
    let path = repository().join("schemas/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&document()).expect("JSON"));
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &text).expect("a file");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "schemas/openapi.json differs: a contract change? then run make schemas");
}

#[test]
fn references_lead_to_parts_of_the_document() {
    fn visit(value: &Value, document: &Value) {
        if let Some(target) = value["$ref"].as_str() {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} is missing");
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| visit(member, document)),
            Value::Array(members) => members.iter().for_each(|member| visit(member, document)),
            _ => {}
        }
    }
    let document = document();
    visit(&document, &document);
    let ids: Vec<&Value> = document["paths"]
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .flat_map(|item| item.as_object().into_iter().flat_map(Map::values))
        .map(|operation| &operation["operationId"])
        .collect();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), ids.len(), "an operationId stands twice: {ids:?}");
}

#[tokio::test]
async fn anybody_reads_the_document_and_the_page() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (status, served) = arouter.call(Method::GET, "/openapi.json", "", None).await;
    assert_eq!((status.as_u16(), &served["openapi"], &served["paths"]), (200, &"3.1.0".into(), &document()["paths"]));
    let (status, asyncapi) = arouter.call(Method::GET, "/asyncapi.json", "", None).await;
    assert_eq!((status.as_u16(), &asyncapi), (200, &events::asyncapi::document()));
    for event in events::schema::all() {
        let (status, schema) = arouter.call(Method::GET, &format!("/schemas/{}", event.file), "", None).await;
        assert_eq!((status.as_u16(), schema), (200, event.schema));
    }
    let (status, refusal) = arouter.call(Method::GET, "/schemas/other.json", "", None).await;
    assert_eq!((status.as_u16(), &refusal["error"]["type"]), (404, &"not_found_error".into()));
    let page = arouter.http.get(format!("{}/docs", arouter.base)).send().await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    let text = page.text().await.expect("text");
    assert!(text.contains("/openapi.json") && !text.contains("http://") && !text.contains("https://"), "the page asks another host");
    arouter.settle_and_verify().await;
}
