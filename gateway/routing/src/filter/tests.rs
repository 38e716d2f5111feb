//! Every constraint alone, with an endpoint that meets it and one that does not.

use super::*;
use crate::facts::{Modality, Price, Quantization};
use crate::preferences::Restrictions;

fn facts() -> EndpointFacts {
    EndpointFacts {
        provider: "openai".to_owned(),
        provider_name: "OpenAI".to_owned(),
        price: Price { prompt_picos: 1_000_000, completion_picos: 2_000_000, request_picos: 10, image_picos: 20 },
        context_length: Some(1_000),
        max_output_tokens: Some(500),
        quantization: Quantization::Fp8,
        input_modalities: Some(vec![Modality::Text]),
        supported_parameters: Some(vec!["seed".to_owned()]),
        collects_data: true,
        ..EndpointFacts::default()
    }
}

fn wish(json: &str) -> Option<Skip> {
    skip(&facts(), &Preferences::parse(json).unwrap(), &Needs::default())
}

fn need(needs: &Needs) -> Option<Skip> {
    skip(&facts(), &Preferences::default(), needs)
}

#[test]
fn wishes() {
    for (json, skipped) in [
        ("{}", None),
        (r#"{"only":["OPENAI"]}"#, None),
        (r#"{"only":["openai/fp8"]}"#, None),
        (r#"{"only":["azure"]}"#, Some(Skip::NotInOnly)),
        (r#"{"only":[]}"#, Some(Skip::NotInOnly)),
        (r#"{"ignore":["azure"]}"#, None),
        (r#"{"ignore":["OpenAI"]}"#, Some(Skip::Ignored)),
        (r#"{"order":["azure"]}"#, None),
        (r#"{"order":["azure"],"allow_fallbacks":false}"#, Some(Skip::NotInOrder)),
        (r#"{"order":["azure","openai"],"allow_fallbacks":false}"#, None),
        (r#"{"zdr":true}"#, Some(Skip::NotZdr)),
        (r#"{"data_collection":"deny"}"#, Some(Skip::CollectsData)),
        (r#"{"enforce_distillable_text":true}"#, Some(Skip::NotDistillable)),
        (r#"{"quantizations":["fp8"]}"#, None),
        (r#"{"quantizations":["int4"]}"#, Some(Skip::Quantization)),
        (r#"{"max_price":{"prompt":1,"completion":2,"request":1e-11,"image":2e-11}}"#, None),
        (r#"{"max_price":{"prompt":0.999999}}"#, Some(Skip::MaxPrice)),
        (r#"{"max_price":{"completion":1.999999}}"#, Some(Skip::MaxPrice)),
        (r#"{"max_price":{"request":0.9e-11}}"#, Some(Skip::MaxPrice)),
        (r#"{"max_price":{"image":1.9e-11}}"#, Some(Skip::MaxPrice)),
    ] {
        assert_eq!(wish(json), skipped, "{json}");
    }
    let good = EndpointFacts { is_zdr: true, collects_data: false, allows_distillation: true, ..facts() };
    let strict = Preferences::parse(r#"{"zdr":true,"data_collection":"deny","enforce_distillable_text":true}"#).unwrap();
    assert_eq!(skip(&good, &strict, &Needs::default()), None);
}

#[test]
fn rights_of_key_and_account() {
    let only = |names: &[&str]| Restrictions {
        allowed_providers: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..Restrictions::default()
    };
    let of = |preferences: &Preferences| skip(&facts(), preferences, &Needs::default());
    let free = Preferences::default();
    assert_eq!(of(&free.clone().restricted_by(&only(&["OpenAI"]))), None);
    assert_eq!(of(&free.clone().restricted_by(&only(&["OpenAI"])).restricted_by(&only(&["azure"]))), Some(Skip::NotAllowed));
    assert_eq!(of(&free.clone().restricted_by(&only(&[]))), Some(Skip::NotAllowed));
    assert_eq!(of(&free.restricted_by(&Restrictions { enforce_zdr: true, ..Restrictions::default() })), Some(Skip::NotZdr));
}

#[test]
fn abilities() {
    let tokens = |prompt_tokens, output_tokens| Needs { prompt_tokens, output_tokens, ..Needs::default() };
    assert_eq!(need(&tokens(600, Some(400))), None);
    assert_eq!(need(&tokens(601, Some(400))), Some(Skip::Context));
    assert_eq!(need(&tokens(1_001, None)), Some(Skip::Context));
    assert_eq!(need(&tokens(u64::MAX, Some(u64::MAX))), Some(Skip::Context));
    assert_eq!(need(&tokens(1, Some(501))), Some(Skip::OutputCap));
    assert_eq!(need(&Needs { modalities: vec![Modality::Text], ..Needs::default() }), None);
    assert_eq!(need(&Needs { modalities: vec![Modality::Text, Modality::Image], ..Needs::default() }), Some(Skip::Modality));
    assert_eq!(need(&Needs { has_tools: true, ..Needs::default() }), Some(Skip::Tools));
    assert_eq!(need(&Needs { has_structured_output: true, ..Needs::default() }), Some(Skip::StructuredOutput));
}

#[test]
fn parameters_are_required_only_on_demand() {
    let required = Preferences { require_parameters: true, ..Preferences::default() };
    let needs = |name: &str| Needs { parameters: vec![name.to_owned()], ..Needs::default() };
    assert_eq!(need(&needs("top_k")), None);
    assert_eq!(skip(&facts(), &required, &needs("top_k")), Some(Skip::Parameters));
    assert_eq!(skip(&facts(), &required, &needs("seed")), None);
}

#[test]
fn an_endpoint_of_which_nothing_is_known_is_able_but_promises_nothing() {
    let unknown = EndpointFacts::default();
    let needs = Needs {
        prompt_tokens: 1_000_000,
        output_tokens: Some(1_000_000),
        parameters: vec!["seed".to_owned()],
        modalities: vec![Modality::Video],
        has_tools: true,
        has_structured_output: true,
        has_reasoning: true,
    };
    assert_eq!(skip(&unknown, &Preferences::default(), &needs), None);
    let required = Preferences { require_parameters: true, ..Preferences::default() };
    assert_eq!(skip(&unknown, &required, &needs), Some(Skip::Parameters));
    assert_eq!(skip(&unknown, &Preferences { zdr: true, ..Preferences::default() }, &needs), Some(Skip::NotZdr));
}
