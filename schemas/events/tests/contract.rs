//! The public contract in git: schemas, AsyncAPI document and golden events are what the types say.
#![expect(clippy::unwrap_used, reason = "helpers of a test may stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use events::catalog::{CatalogChanged, CatalogVersion};
use events::control::{
    Account, AccountCreated, AccountUpdated, Key, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated, LimitReset, RateLimit, UserErased,
};
use events::damaged::{KeyDamaged, RequestDamaged, UsageDamaged};
use events::ids::KeyKind;
use events::ledger::{AccountPosted, CreditKind, CreditPosted, GrantTerms, LeaseChanged, LeaseState, LeaseWindow, UsagePosted};
use events::provider_key::{ProviderKey, ProviderKeyChanged};
use events::request::{Attempt, Format, Outcome, RequestFinished, RequestProgress, RequestRefused, RequestStarted, SkippedEndpoint};
use events::usage_recorded::UsageRecorded;
use events::webhook::{PreviousSecret, Webhook, WebhookChanged, WebhookDeleted, WebhookMethod};
use events::{CostStatus, Draft, Nanos, Payload, Provenance, Source, Tokens, UnitPrices, envelope::RawEnvelope, schema};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Compares with the file in git, or writes it when `UPDATE_SCHEMAS` is set.
fn same(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let stored = fs::read_to_string(path).unwrap_or_default();
    assert!(stored == text, "{} differs: a contract change? then run with UPDATE_SCHEMAS=1", path.display());
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn schemas_in_git_are_those_of_the_types() {
    for event in schema::all() {
        same(&folder().join("json").join(event.file), &pretty(&event.schema));
    }
    same(&folder().join("../asyncapi.json"), &pretty(&events::asyncapi::document()));
    assert_eq!(fs::read_dir(folder().join("json")).unwrap().count(), schema::all().len(), "a schema without a type");
}

fn golden<P: Payload + PartialEq + std::fmt::Debug>(payload: &P) {
    let draft = Draft {
        id: uuid::Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        time_us: 1_767_225_600_000_001,
        account: "acc_00000000000000000000000000000001",
        subject: "gen-1767225600-000000000000000000000001",
        traceparent: None,
        payload,
    };
    let mut bytes = Vec::new();
    draft.write(&Source::gateway("node-1", "boot-1"), 7, &mut bytes).unwrap();
    let path = folder().join("golden").join(P::SCHEMA);
    same(&path, &pretty(&serde_json::from_slice(&bytes).unwrap()));
    let stored = fs::read(&path).unwrap();
    let read = RawEnvelope::parse(&stored).unwrap();
    assert_eq!(read.sequence_number().unwrap(), 7);
    assert_eq!(&read.payload::<P>().unwrap(), payload);
}

fn key() -> Key {
    Key {
        hash: "ab".repeat(32).into(),
        account: "acc_00000000000000000000000000000001".into(),
        kind: KeyKind::Regular,
        name: "first".into(),
        label: "lr_live_abcd...wxyz".into(),
        disabled: false,
        limit_nanos: Some(Nanos(100_000_000_000)),
        limit_reset: Some(LimitReset::Monthly),
        allowed_models: Some(vec!["openai/*".into()]),
        allowed_providers: None,
        rate_limit: RateLimit { requests_per_minute: Some(600), requests_per_day: None, tokens_per_minute: Some(100_000) },
        enforce_zdr: true,
        include_byok_in_limit: false,
        created_by: Some("cd".repeat(32).into()),
        creating_call: None,
        expires_at_us: None,
        created_at_us: 1_767_225_600_000_000,
        updated_at_us: None,
        revision: 1,
    }
}

#[test]
fn golden_requests_still_read() {
    golden(&RequestStarted {
        request: "gen-1767225600-000000000000000000000001".into(),
        account: "acc_00000000000000000000000000000001".into(),
        key: key().hash,
        lease: "01920000-0000-7000-8000-000000000002".into(),
        hold_nanos: Nanos(1_000_000),
        model: "openai/gpt-5.4".into(),
        user: None,
        app: Some("demo".into()),
        experiment: None,
        format: Format::Chat,
        streamed: true,
        admitted_at_us: 1_767_225_600_000_000,
    });
    golden(&RequestProgress {
        request: "gen-1767225600-000000000000000000000001".into(),
        model: "openai/gpt-5.4".into(),
        provider: "openai".into(),
        tokens: Tokens { input: 5, output: 12, ..Tokens::default() },
        price_version: "2026-01-01".into(),
        unit_prices: UnitPrices { input: 2_500_000, output: 15_000_000, ..UnitPrices::default() },
        cost_nanos: Nanos(192_500),
        byok: None,
    });
    golden(&RequestFinished {
        request: "gen-1767225600-000000000000000000000001".into(),
        key: key().hash,
        model: "openai/gpt-5.4".into(),
        outcome: Outcome::Finished,
        status: Some(200),
        finish_reason: Some("stop".into()),
        admitted_at_us: 1_767_225_600_000_000,
        latency_us: 120_000,
        ttft_us: Some(40_000),
        attempts: vec![Attempt {
            provider: "openai".into(),
            model: "openai/gpt-5.4".into(),
            status: Some(200),
            error: None,
            duration_us: 119_000,
            why: Some("balanced".into()),
            round: Some(2),
        }],
        skipped: vec![SkippedEndpoint { provider: "deepseek".into(), model: "openai/gpt-5.4".into(), reason: "not_zdr".into() }],
        experiment: None,
    });
    let kept_in = || "boot-1.00000001.4242".to_owned();
    golden(&RequestDamaged { kept_in: kept_in() });
    golden(&UsageDamaged { kept_in: kept_in() });
    golden(&KeyDamaged { kept_in: kept_in() });
    golden(&RequestRefused {
        request: "gen-1767225600-000000000000000000000001".into(),
        key: key().hash,
        model: "openai/gpt-5.4".into(),
        status: 402,
        code: "insufficient_credits".into(),
        guardrail: None,
        refused_at_us: 1_767_225_600_000_000,
        count: None,
    });
}

#[test]
fn golden_usage_still_reads() {
    golden(&UsageRecorded {
        request: "gen-1767225600-000000000000000000000001".into(),
        key: key().hash,
        lease: "01920000-0000-7000-8000-000000000002".into(),
        model: "openai/gpt-5.4".into(),
        provider: "openai".into(),
        user: Some("user-7".into()),
        app: None,
        experiment: None,
        format: Format::Chat,
        streamed: true,
        outcome: Outcome::Finished,
        status: Some(200),
        finish_reason: Some("stop".into()),
        tokens: Tokens { input: 500, cache_read: 100, output: 180, reasoning: 20, ..Tokens::default() },
        provenance: Provenance::Reported,
        price_version: "2026-01-01".into(),
        unit_prices: UnitPrices {
            input: 2_500_000,
            cache_read: 250_000,
            output: 15_000_000,
            reasoning: 15_000_000,
            ..UnitPrices::default()
        },
        cost_status: CostStatus::Priced,
        cost_nanos: Nanos(4_275_000),
        beyond_hold_nanos: Nanos::ZERO,
        is_byok: false,
        byok: None,
        admitted_at_us: 1_767_225_600_000_000,
        latency_us: 120_000,
        ttft_us: Some(40_000),
        attempts: vec![Attempt {
            provider: "openai".into(),
            model: "openai/gpt-5.4".into(),
            status: Some(200),
            error: None,
            duration_us: 119_000,
            why: None,
            round: None,
        }],
        skipped: vec![SkippedEndpoint { provider: "deepseek".into(), model: "openai/gpt-5.4".into(), reason: "not_zdr".into() }],
    });
}

#[test]
fn golden_control_still_reads() {
    golden(&KeyCreated { key: key() });
    golden(&KeyUpdated { key: Key { revision: 2, updated_at_us: Some(1), ..key() } });
    golden(&KeyDisabled { key: Key { revision: 3, disabled: true, ..key() } });
    golden(&KeyDeleted { key: Key { revision: 4, ..key() } });
    let account = Account { id: key().account, name: "main".into(), created_at_us: 1, revision: 1, suspended: false, default_model: None };
    golden(&AccountCreated { account: account.clone() });
    golden(&UserErased::new(account.id.clone(), "alice@example.com"));
    golden(&AccountUpdated { account: Account { revision: 2, suspended: true, default_model: Some("openai/gpt-5.4".into()), ..account } });
    let webhook = Webhook {
        id: "wh_01920000000070008000000000000004".into(),
        account: key().account,
        name: "billing".into(),
        url: "https://example.com/arouter".into(),
        method: WebhookMethod::Put,
        sealed_headers: Some("v1.01234567.c2VhbGVk".into()),
        sealed_secret: "v1.01234567.c2VhbGVk".into(),
        previous_secret: Some(PreviousSecret { sealed: "v1.01234567.c2VhbGVk".into(), valid_until_us: 1_767_312_000_000_000 }),
        privacy_mode: true,
        sampling_ppm: 250_000,
        api_key_ids: vec![key().hash],
        event_types: vec!["usage.recorded".into()],
        disabled: true,
        disabled_reason: Some("it answers 410 Gone".into()),
        created_at_us: 1_767_225_600_000_000,
        updated_at_us: Some(1_767_225_600_000_001),
        revision: 2,
    };
    golden(&WebhookChanged { webhook: webhook.clone() });
    golden(&WebhookDeleted { webhook });
    let model = serde_json::json!({"id": "acme/chat", "provider": "acme", "prompt_usd_per_mtok": "1", "completion_usd_per_mtok": "2", "context_length": 8000});
    golden(&CatalogChanged {
        catalog: CatalogVersion {
            version: 7,
            models: vec![model],
            comment: Some("a new price".into()),
            applied_at_us: 1_767_225_600_000_000,
        },
    });
    golden(&ProviderKeyChanged {
        provider_key: ProviderKey {
            id: "pk_01920000000070008000000000000005".into(),
            account: key().account,
            provider: "openai".into(),
            label: "ours".into(),
            sealed_key: "v1.01234567.c2VhbGVk".into(),
            hint: "sk-a...wxyz".into(),
            disabled: true,
            always_use: true,
            weight: 3,
            rpm_limit: Some(600),
            base_url: Some("https://example.com/v1".into()),
            region: Some("eu".into()),
            models: vec!["openai/*".into()],
            daily_budget_nanos: Some(Nanos(1_000_000_000)),
            monthly_budget_nanos: Some(Nanos(10_000_000_000)),
            created_at_us: 1_767_225_600_000_000,
            updated_at_us: Some(1_767_225_600_000_001),
            revision: 2,
            deleted: false,
        },
    });
}

#[test]
fn golden_ledger_facts_still_read() {
    let (lease, account) = ("01920000-0000-7000-8000-000000000002", key().account);
    golden(&CreditPosted {
        id: "c1".into(),
        account: account.clone(),
        kind: CreditKind::Grant,
        amount_nanos: Nanos(1),
        description: "first".into(),
        content: "acc_00000000000000000000000000000001:grant:1".into(),
        grant: Some(GrantTerms { priority: 100, expires_at_us: None }),
        taken_from: None,
        version: 1,
        posted_at_us: 1_767_225_600_000_001,
    });
    golden(&LeaseChanged {
        lease: lease.into(),
        account: account.clone(),
        holder: "/gateway/node-1/boot-1".into(),
        window: Some(LeaseWindow { key: key().hash, period: "monthly".into(), starts_at_us: 1_767_225_600_000_000 }),
        state: LeaseState::Open,
        granted_nanos: Nanos(3),
        consumed_nanos: Nanos(1),
        returned_nanos: Nanos(0),
        version: 2,
        changed_at_us: 1_767_225_600_000_001,
    });
    let posted = AccountPosted { account, first_version: 3, events: vec!["01920000-0000-7000-8000-000000000003".into()] };
    golden(&UsagePosted { accounts: vec![posted] });
}
