//! The folds give the same rows for the same set of events, whatever their order, their batches and their repeats.

use std::collections::BTreeMap;

use eventlog::digest::digest;
use eventlog::{Event, Fold, Record, Store};
use events::control::UserErased;
use events::envelope::RawEnvelope;
use events::request::{Format, Outcome};
use events::usage_recorded::UsageRecorded;
use events::webhook::Webhook;
use events::{Clock, CostStatus, Draft, Nanos, Payload, Provenance, Source, SystemClock, Tokens, UnitPrices};
use serde_json::json;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};

use super::arrivals::Arrivals;
use super::erasures::Erasures;
use super::generations::{Generations, KEPT_US};
use super::usage::sums::Sums;
use super::usage::width::{DAY_US, HOUR_US};
use super::usage::{Dimension, Usage};
use super::{ALL, Projection};
use crate::exports::activity::rows::{ActivityRow, Rows};
use crate::exports::activity::selection::Selection;
use crate::exports::period::Period;
use crate::webhook::deliveries::WithDeliveries;
use crate::webhook::endpoints;

const ACCOUNT: &str = "acc_1";

/// A database in a folder of its own.
struct Place {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", folder.path().join("x.db").display()), crate::MIGRATIONS).await.unwrap();
        Self { store, _folder: folder }
    }

    async fn apply(&self, fold: &dyn Fold, records: &[Record], is_repeat: bool) {
        let event = |record| Event { record, envelope: parse(record), is_repeat };
        let events: Vec<Event<'_>> = records.iter().map(event).collect();
        let mut transaction = self.store.begin_exclusive().await.unwrap();
        let rejected = fold.apply(&mut transaction, &events).await.unwrap();
        assert!(rejected.is_empty(), "{rejected:?}");
        transaction.commit().await.unwrap();
    }

    async fn digests(&self) -> Vec<(&'static str, eventlog::digest::Held)> {
        let mut all = Vec::new();
        for table in ALL.iter().flat_map(|projection: &Projection| projection.tables) {
            all.push((table.name, digest(&mut self.store.snapshot().await.unwrap(), *table).await.unwrap()));
        }
        all
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query::<Any>(sql).fetch_one(&self.store.reads).await.unwrap().get(0)
    }
}

fn parse(record: &Record) -> RawEnvelope<'_> {
    RawEnvelope::parse(&record.payload).unwrap()
}

fn record<P: Payload>(source: &str, sequence: u64, payload: &P) -> Record {
    of_account(ACCOUNT, sequence, payload, source)
}

fn of_account<P: Payload>(account: &str, sequence: u64, payload: &P, source: &str) -> Record {
    let id = uuid::Uuid::from_u128(u128::from(sequence));
    let draft = Draft { id, time_us: 0, account, subject: "s", traceparent: None, payload };
    let mut bytes = Vec::new();
    draft.write(&Source(source.to_owned()), sequence, &mut bytes).unwrap();
    Record { sequence, id: id.to_string(), payload: bytes.into() }
}

fn usage(number: u64, admitted_at_us: i64) -> UsageRecorded {
    UsageRecorded {
        request: format!("gen-{number}").as_str().into(),
        key: format!("key-{}", number % 5).as_str().into(),
        lease: "lease".into(),
        model: format!("model-{}", number % 3),
        provider: format!("provider-{}", number % 2),
        user: Some(format!("user-{}", number % 7)),
        app: (!number.is_multiple_of(4)).then(|| format!("app-{}", number % 4)),
        experiment: None,
        format: Format::Chat,
        streamed: false,
        outcome: Outcome::Finished,
        status: Some(200),
        finish_reason: None,
        // A count that no provider can mean does not break a sum.
        tokens: Tokens { input: if number % 50 == 3 { u64::MAX } else { 10 }, output: number, ..Tokens::default() },
        provenance: Provenance::Reported,
        price_version: String::new(),
        unit_prices: UnitPrices::default(),
        cost_status: CostStatus::Priced,
        cost_nanos: Nanos(1_000 + i64::try_from(number).unwrap()),
        beyond_hold_nanos: Nanos::ZERO,
        is_byok: false,
        byok: None,
        admitted_at_us,
        latency_us: 1,
        ttft_us: None,
        attempts: Vec::new(),
        skipped: Vec::new(),
    }
}

/// Returns the usage of 200 days, the last of it now; each fifth is late by ten days.
fn usages() -> Vec<UsageRecorded> {
    let now_us = SystemClock.now_us();
    let admitted = |number: i64| now_us - (399 - number) * 12 * HOUR_US - if number % 5 == 0 { 10 * DAY_US } else { 0 };
    (0..400).map(|number| usage(number, admitted(number.cast_signed()))).collect()
}

fn recorded(usages: &[UsageRecorded]) -> Vec<Record> {
    (1..).zip(usages).map(|(sequence, usage)| record("/gateway/n/b", sequence, usage)).collect()
}

#[tokio::test]
async fn batches_order_and_erasures_change_no_row() {
    let (records, clock) = (recorded(&usages()), &SystemClock);
    let erased = [record("/gateway/n/b", 1, &UserErased::new(ACCOUNT.into(), "user-2"))];
    let (one, other) = (Place::new().await, Place::new().await);
    for fold in [&Usage { clock } as &dyn Fold, &Generations { clock }] {
        one.apply(fold, &records, false).await;
        for (number, batch) in records.chunks(7).enumerate() {
            if number == 20 {
                other.apply(&Erasures, &erased, false).await;
            }
            other.apply(fold, batch, false).await;
        }
    }
    one.apply(&Erasures, &erased, false).await;
    assert_eq!(one.digests().await, other.digests().await);
    let spent: i64 = (0..400).map(|number| 1_000 + number).sum();
    for sql in [
        "SELECT CAST(SUM(spend_nanos) AS BIGINT) FROM usage_sums WHERE width = 3 AND dimension = 0",
        "SELECT CAST(SUM(spend_nanos) AS BIGINT) FROM usage_sums WHERE width = 2 AND dimension = 4",
        "SELECT CAST(SUM(spend_nanos) AS BIGINT) FROM usage_mixes WHERE width = 2",
        "SELECT CAST(SUM(spend_nanos) AS BIGINT) FROM usage_pairs WHERE width = 3 AND pair = 53",
        "SELECT CAST(SUM(spend_nanos) AS BIGINT) FROM usage_details WHERE width = 1",
    ] {
        assert_eq!(one.number(sql).await, spent, "{sql}");
    }
    assert_eq!(one.number("SELECT COUNT(*) FROM usage_details WHERE end_user = 'user-2'").await, 0);
    assert_eq!(one.number("SELECT COUNT(*) FROM generations WHERE end_user = 'user-2'").await, 0);
    let kept = KEPT_US / (12 * HOUR_US);
    let requests = one.number("SELECT COUNT(*) FROM generations").await;
    assert!((kept - 10..=kept + 1).contains(&requests), "{requests} requests of {kept} half days");
    assert!((5..=7).contains(&one.number("SELECT COUNT(*) FROM usage_details WHERE width = 0").await));
    // Tables from before the days of users get them from the hours.
    let before = one.digests().await;
    let days = one.number("SELECT COUNT(*) FROM usage_details WHERE width = 2").await;
    let mut transaction = one.store.begin_exclusive().await.unwrap();
    let deleted = sqlx::query::<Any>("DELETE FROM usage_details WHERE width = 2").execute(&mut *transaction).await.unwrap();
    assert_eq!((deleted.rows_affected().cast_signed(), days > 200), (days, true));
    sqlx::raw_sql(include_str!("../../migrations/2044_user_days.sql")).execute(&mut *transaction).await.unwrap();
    // Those from before the pairs get them from the mixes.
    sqlx::query::<Any>("DROP TABLE usage_pairs").execute(&mut *transaction).await.unwrap();
    let pairs = include_str!("../../migrations/2046_pairs.sql").replace("COLLATE BYTES", "");
    sqlx::raw_sql(AssertSqlSafe(pairs)).execute(&mut *transaction).await.unwrap();
    let mixes = include_str!("../../migrations/2047_mixes_by_key.sql").replace("COLLATE BYTES", "");
    sqlx::raw_sql(AssertSqlSafe(mixes)).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(one.digests().await, before);
}

const DIMENSIONS: [Dimension; 5] = [Dimension::Model, Dimension::Provider, Dimension::Key, Dimension::User, Dimension::App];

fn value(usage: &UsageRecorded, dimension: Dimension) -> String {
    match dimension {
        Dimension::All => String::new(),
        Dimension::Model => usage.model.clone(),
        Dimension::Provider => usage.provider.clone(),
        Dimension::Key => usage.key.to_string(),
        Dimension::User => usage.user.clone().unwrap_or_default(),
        Dimension::App => usage.app.clone().unwrap_or_default(),
    }
}

/// Compares a report with sums over the events themselves, and its pages with the whole.
async fn assert_report(reads: &AnyPool, usages: &[UsageRecorded], selection: &Selection, period: &Period, limits: &[usize]) {
    let mut expected: BTreeMap<(i64, Vec<String>), Sums> = BTreeMap::new();
    for usage in usages.iter().filter(|usage| selection.filters.iter().all(|(dimension, of)| value(usage, *dimension) == *of)) {
        if (period.bounds().0..period.bounds().1).contains(&usage.admitted_at_us) {
            let (start_us, _) = period.bucket(period.index(usage.admitted_at_us)).unwrap();
            let values = selection.groups.iter().map(|group| value(usage, *group)).collect();
            expected.entry((start_us, values)).or_default().add(&Sums::of(usage));
        }
    }
    let rows = Rows { reads, selection, period };
    let whole = rows.page(None, 10_000).await.unwrap();
    let found = whole.iter().filter(|row| row.sums.requests > 0).map(|row| ((row.start_us, row.values.clone()), row.sums));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{selection:?} {period:?}");
    assert!(period.buckets().all(|(start_us, _)| whole.iter().any(|row| row.start_us == start_us)), "an empty bucket has a row");
    for limit in limits {
        let mut pages: Vec<ActivityRow> = Vec::new();
        loop {
            let page = rows.page(pages.last().map(ActivityRow::place).as_ref(), *limit).await.unwrap();
            assert!(page.len() <= *limit);
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages, whole, "{selection:?} {period:?} by {limit}");
    }
}

fn up_to_now(name: &str) -> Period {
    Period::try_new(Some(name), None, None, SystemClock.now_us()).unwrap()
}

fn selection(groups: &[Dimension], filters: &[(Dimension, &str)]) -> Selection {
    let filters = filters.iter().map(|(dimension, value)| (*dimension, (*value).to_owned())).collect();
    Selection { account: ACCOUNT.to_owned(), groups: groups.to_vec(), filters }
}

#[tokio::test]
async fn a_report_has_the_sums_of_its_requests_in_pages_of_any_size() {
    let (place, usages) = (Place::new().await, usages());
    place.apply(&Usage { clock: &SystemClock }, &recorded(&usages), false).await;
    let (model, user) = (Dimension::Model, Dimension::User);
    for (groups, filters, name) in [
        (vec![model, user], vec![], "1y"),
        (vec![user], vec![(model, "model-1")], "1mo"),
        (vec![model], vec![(user, "user-3")], "1y"),
        (vec![model], vec![(user, "user-3")], "1mo"),
        (vec![Dimension::App], vec![(model, "model-2")], "1y"),
        (vec![model], vec![], "1mo"),
        (vec![user], vec![(user, "user-5")], "1mo"),
        (Vec::new(), vec![(user, "user-5")], "1y"),
        (vec![model, Dimension::Key], vec![(Dimension::App, "app-1")], "1mo"),
    ] {
        assert_report(&place.store.reads, &usages, &selection(&groups, &filters), &up_to_now(name), &[1, 2, 7, 50]).await;
    }
}

#[tokio::test]
async fn every_group_can_have_every_filter() {
    let (place, usages) = (Place::new().await, usages());
    place.apply(&Usage { clock: &SystemClock }, &recorded(&usages), false).await;
    let reads = &place.store.reads;
    // The newest usage has these values, so each filter finds requests.
    let newest = usages.last().unwrap();
    let filter = |dimension| (dimension, value(newest, dimension));
    // The last one begins and ends within a day.
    let now_us = SystemClock.now_us();
    let cut = Period::between(now_us - 20 * DAY_US - 5 * HOUR_US, now_us - 3 * HOUR_US, None).unwrap();
    let periods = [up_to_now("1mo"), up_to_now("1y"), up_to_now("1d"), cut];
    for group in DIMENSIONS {
        for one in DIMENSIONS {
            for other in DIMENSIONS {
                let filters = BTreeMap::from([filter(one), filter(other)]);
                let selection = Selection { account: ACCOUNT.to_owned(), groups: vec![group], filters };
                for period in &periods {
                    assert_report(reads, &usages, &selection, period, &[20]).await;
                }
            }
        }
        let two = DIMENSIONS.iter().filter(|other| **other != group).map(|other| selection(&[group, *other], &[]));
        for selection in two {
            assert_report(reads, &usages, &selection, &periods[0], &[20]).await;
        }
    }
}

#[tokio::test]
async fn an_erased_user_is_a_token_in_the_deliveries_of_its_account() {
    let (place, now_us) = (Place::new().await, SystemClock.now_us());
    for (webhook, account) in [("wh_1", ACCOUNT), ("wh_2", "acc_2")] {
        let content = json!({
            "id": webhook, "account": account, "name": "n", "url": "https://example.com/", "method": "POST", "sealed_secret": "s",
            "privacy_mode": false, "sampling_ppm": 1_000_000, "created_at_us": 0, "revision": 1,
        });
        let webhook: Webhook = serde_json::from_value(content).unwrap();
        let mut transaction = place.store.begin_exclusive().await.unwrap();
        endpoints::put(&mut transaction, &webhook, false).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let fold = WithDeliveries(&Arrivals);
    let of = |number, account| of_account(account, number, &usage(2, now_us), "/gateway/n/b");
    let bodies = async |webhook: &str| -> Vec<String> {
        let sql = "SELECT body FROM deliveries WHERE webhook = $1 ORDER BY body";
        let rows = sqlx::query::<Any>(sql).bind(webhook.to_owned()).fetch_all(&place.store.reads).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    place.apply(&fold, &[of(1, ACCOUNT), of(2, "acc_2")], false).await;
    assert!(bodies("wh_1").await.iter().chain(&bodies("wh_2").await).all(|body| body.contains("user-2")));
    let erased = UserErased::new(ACCOUNT.into(), "user-2");
    place.apply(&Erasures, &[record("/gateway/n/b", 3, &erased)], false).await;
    place.apply(&fold, &[of(4, ACCOUNT), of(5, "acc_2")], false).await;
    let (own, foreign) = (bodies("wh_1").await, bodies("wh_2").await);
    assert_eq!((own.len(), foreign.len()), (2, 2));
    assert!(own.iter().all(|body| body.contains(&erased.token) && !body.contains("user-2")), "{own:?}");
    assert!(foreign.iter().all(|body| body.contains("user-2")), "{foreign:?}");
}

#[tokio::test]
async fn a_request_is_counted_once_whoever_charges_it_and_however_often_it_is_read() {
    let place = Place::new().await;
    let clock = &SystemClock;
    let (fold, now_us) = (Usage { clock }, SystemClock.now_us());
    let old = record("/ledger/n/lease", 1, &usage(1, now_us - 100 * DAY_US));
    let recent = record("/gateway/n/b", 1, &usage(2, now_us));
    place.apply(&fold, &[old, recent.clone()], false).await;
    // The gateway comes back after months and records its own charge.
    place.apply(&fold, &[record("/gateway/n/b", 2, &usage(1, now_us - 100 * DAY_US))], false).await;
    place.apply(&fold, &[record("/ledger/n/lease", 2, &usage(2, now_us))], false).await;
    place.apply(&fold, &[recent], true).await;
    assert_eq!(place.number("SELECT requests FROM usage_sums WHERE width = 3 AND dimension = 0 ORDER BY start_us LIMIT 1").await, 1);
    assert_eq!(place.number("SELECT CAST(SUM(requests) AS BIGINT) FROM usage_sums WHERE width = 2 AND dimension = 1").await, 2);
}
