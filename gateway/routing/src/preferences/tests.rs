//! Every field of the object `provider`, its types, and its errors.

use super::*;

fn patterns(names: &[&str]) -> Vec<ProviderPattern> {
    names.iter().map(|name| ProviderPattern::new(name)).collect()
}

#[test]
fn every_field_is_read() {
    let read = Preferences::parse(
        r#"{"order":["OpenAI","azure"],"allow_fallbacks":false,"require_parameters":true,"data_collection":"deny","zdr":true,
        "enforce_distillable_text":true,"only":["openai"],"ignore":["deepinfra/fp8"],"quantizations":["fp8","BF16"],
        "sort":{"by":"latency","partition":"none"},"preferred_min_throughput":{"p50":50,"p90":12.5},"preferred_max_latency":1.5,
        "max_price":{"prompt":1,"completion":"2.5","request":0.01,"image":"0"}}"#,
    )
    .unwrap();
    let expected = Preferences {
        order: patterns(&["OpenAI", "azure"]),
        fallbacks: Fallbacks::Off,
        require_parameters: true,
        data_collection: DataCollection::Deny,
        zdr: true,
        enforce_distillable_text: true,
        only: Some(patterns(&["openai"])),
        ignore: patterns(&["deepinfra/fp8"]),
        quantizations: Some(vec![Quantization::Fp8, Quantization::Bf16]),
        sort: Some(SortBy::Latency),
        partition: Partition::None,
        preferred_min_throughput_milli: Cutoffs { p50: Some(50_000), p90: Some(12_500), ..Cutoffs::default() },
        preferred_max_latency_us: Cutoffs { p50: Some(1_500_000), ..Cutoffs::default() },
        max_price: MaxPrice {
            prompt_picos: Some(1_000_000),
            completion_picos: Some(2_500_000),
            request_picos: Some(10_000_000_000),
            image_picos: Some(0),
        },
        allowed: Vec::new(),
    };
    assert_eq!(read, expected);
}

#[test]
fn nulls_are_absent() {
    let nulls = r#"{"order":null,"allow_fallbacks":null,"require_parameters":null,"data_collection":null,"zdr":null,"only":null,
        "ignore":null,"quantizations":null,"sort":{"by":null,"partition":null},"preferred_min_throughput":null,
        "preferred_max_latency":{"p50":null},"max_price":{"prompt":null}}"#;
    assert_eq!(Preferences::parse(nulls).unwrap(), Preferences::default());
    assert_eq!(Preferences::parse("{}").unwrap(), Preferences::default());
    assert_eq!(Preferences::parse(r#"{"sort":null,"max_price":null}"#).unwrap(), Preferences::default());
}

#[test]
fn prices_are_exact_and_floats_are_rounded() {
    let prompt =
        |text: &str| Preferences::parse(&format!(r#"{{"max_price":{{"prompt":{text}}}}}"#)).map(|read| read.max_price.prompt_picos);
    for (text, picos) in [("0.3", 300_000), ("0.30000000000000004", 300_000), ("\"0.79999999999\"", 800_000), ("1e-6", 1), ("0", 0)] {
        assert_eq!(prompt(text).unwrap(), Some(picos), "{text}");
    }
    for text in ["-1", "true", "\"free\"", "[]", "1e40", "\"\"", "-0.0000001"] {
        assert_eq!(prompt(text).unwrap_err().field, "provider.max_price.prompt", "{text}");
    }
}

#[test]
fn errors_name_the_field() {
    for (json, field) in [
        ("[]", "provider"),
        (r#"{"foo":1}"#, "provider.foo"),
        (r#"{"a.zdr":true}"#, "provider.a.zdr"),
        (r#"{"order":"openai"}"#, "provider.order"),
        (r#"{"order":[1]}"#, "provider.order"),
        (r#"{"only":{}}"#, "provider.only"),
        (r#"{"ignore":[null]}"#, "provider.ignore"),
        (r#"{"allow_fallbacks":"no"}"#, "provider.allow_fallbacks"),
        (r#"{"require_parameters":1}"#, "provider.require_parameters"),
        (r#"{"zdr":"true"}"#, "provider.zdr"),
        (r#"{"data_collection":"maybe"}"#, "provider.data_collection"),
        (r#"{"quantizations":["int3"]}"#, "provider.quantizations"),
        (r#"{"sort":"speed"}"#, "provider.sort"),
        (r#"{"sort":{"by":"speed"}}"#, "provider.sort.by"),
        (r#"{"sort":{"partition":1}}"#, "provider.sort.partition"),
        (r#"{"sort":{"order":"asc"}}"#, "provider.sort.order"),
        (r#"{"preferred_min_throughput":-1}"#, "provider.preferred_min_throughput"),
        (r#"{"preferred_max_latency":{"p95":1}}"#, "provider.preferred_max_latency.p95"),
        (r#"{"max_price":5}"#, "provider.max_price"),
        (r#"{"max_price":{"audio":5}}"#, "provider.max_price.audio"),
    ] {
        let error = Preferences::parse(json).unwrap_err();
        assert_eq!(error.field, field, "{json}");
        assert!(error.to_string().starts_with(&format!("'{field}' ")), "{error}");
    }
}

#[test]
fn variants_sort_unless_the_caller_does() {
    let nitro = Variants::default().with(Variant::Nitro);
    let floor = Variants::default().with(Variant::Floor);
    let sorted = |json: &str, variants| Preferences::parse(json).unwrap().with_variants(variants).sort;
    assert_eq!(sorted("{}", nitro), Some(SortBy::Throughput));
    assert_eq!(sorted("{}", floor), Some(SortBy::Price));
    assert_eq!(sorted("{}", floor.with(Variant::Nitro)), Some(SortBy::Throughput));
    assert_eq!(sorted(r#"{"sort":"latency"}"#, nitro), Some(SortBy::Latency));
    assert_eq!(sorted("{}", Variants::default().with(Variant::Free)), None);
}

#[test]
fn the_strictest_restriction_wins() {
    let account = Restrictions { allowed_providers: Some(vec!["openai".to_owned()]), ..Restrictions::default() };
    let key = Restrictions { allowed_providers: Some(Vec::new()), enforce_zdr: true, data_collection: DataCollection::Deny };
    let asked = Preferences::parse(r#"{"zdr":false,"data_collection":"allow"}"#).unwrap();
    let merged = asked.clone().restricted_by(&account).restricted_by(&key);
    assert!(merged.zdr && merged.data_collection == DataCollection::Deny);
    assert_eq!(merged.allowed, [patterns(&["openai"]), Vec::new()]);
    assert_eq!(asked.clone().restricted_by(&Restrictions::default()), asked);
    let strict = Preferences::parse(r#"{"zdr":true,"data_collection":"deny"}"#).unwrap();
    assert_eq!(strict.clone().restricted_by(&Restrictions::default()), strict, "a restriction never loosens");
}
