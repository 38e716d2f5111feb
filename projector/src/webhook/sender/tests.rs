//! The sender against simulated days and a receiver of this process.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use eventlog::{Event, Fold, Record};
use events::envelope::RawEnvelope;
use events::ids::SystemIds;
use events::webhook::{SAMPLING_ALL, WebhookMethod};
use tokio::net::TcpListener;

use super::*;
use crate::MIGRATIONS;
use crate::projections::arrivals::Arrivals;
use crate::webhook::deliveries::{NewDelivery, WithDeliveries, insert};

const HOUR_US: i64 = 3_600_000_000;

struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Bench {
    sender: Sender,
    webhook: Webhook,
    clock: Arc<ManualClock>,
    hits: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

/// Starts a receiver that answers with a status, and a sender with one endpoint and one delivery.
async fn bench(status: u16) -> Bench {
    let _provider = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hits);
    let router = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        StatusCode::from_u16(status).unwrap()
    });
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", folder.path().join("p.db").display()), MIGRATIONS).await.unwrap();
    let clock = Arc::new(ManualClock(AtomicI64::new(1_000 * HOUR_US)));
    let master_keys = Arc::new(MasterKeys::parse("0123456789abcdef0123456789abcdef").unwrap());
    let mut webhook = Webhook {
        id: "wh_1".into(),
        account: "acc".into(),
        name: "n".into(),
        url,
        method: WebhookMethod::Post,
        sealed_headers: None,
        sealed_secret: String::new(),
        previous_secret: None,
        privacy_mode: false,
        sampling_ppm: SAMPLING_ALL,
        api_key_ids: Vec::new(),
        event_types: Vec::new(),
        disabled: false,
        disabled_reason: None,
        created_at_us: 0,
        updated_at_us: None,
        revision: 1,
    };
    webhook.sealed_secret = master_keys.seal(&webhook.secret_place(), "whsec_AAAA", &SystemIds).unwrap();
    let delivery = NewDelivery { webhook: "wh_1", event_id: "e1", event_type: "t", event_time_us: clock.now_us(), body: "{}".into() };
    let mut transaction = store.begin_exclusive().await.unwrap();
    endpoints::put(&mut transaction, &webhook, false).await.unwrap();
    insert(&mut transaction, &[delivery]).await.unwrap();
    transaction.commit().await.unwrap();
    let sender = Sender {
        store,
        clock: Arc::<ManualClock>::clone(&clock),
        ids: Arc::new(SystemIds),
        master_keys,
        client: WebhookClient::try_new(true).unwrap(),
        busy: Mutex::default(),
    };
    Bench { sender, webhook, clock, hits, _folder: folder }
}

impl Bench {
    async fn due(&self) -> usize {
        endpoints::with_due(&self.sender.store.reads, self.clock.now_us()).await.unwrap().len()
    }

    async fn send(&self) {
        self.sender.send_due(&self.webhook, &CancellationToken::new()).await.unwrap();
    }
}

#[tokio::test]
async fn after_three_days_of_failures_an_endpoint_is_given_up_until_it_changes() {
    let bench = bench(500).await;
    let start_us = bench.clock.now_us();
    while bench.due().await > 0 {
        bench.send().await;
        assert_eq!(bench.due().await, 0, "the next attempt is later");
        // The clock steps to the next attempt.
        let row = sqlx::query::<Any>("SELECT next_at_us FROM deliveries WHERE state = 'pending'")
            .fetch_optional(&bench.sender.store.reads)
            .await
            .unwrap();
        bench.clock.0.store(row.map_or(bench.clock.now_us(), |row| row.try_get("next_at_us").unwrap()), Ordering::SeqCst);
    }
    assert_eq!(bench.hits.load(Ordering::SeqCst), 10);
    let hours = (bench.clock.now_us() - start_us) / HOUR_US;
    assert!((75..84).contains(&hours), "{hours} h");
    let failed = endpoints::failed(&bench.sender.store.reads).await.unwrap();
    assert!(failed.len() == 1 && failed[0].revision == 1 && failed[0].reason.contains("500"), "{failed:?}");
    // A newer revision works again.
    let changed = Webhook { revision: 2, ..bench.webhook.clone() };
    let mut transaction = bench.sender.store.begin_exclusive().await.unwrap();
    endpoints::put(&mut transaction, &changed, false).await.unwrap();
    let next = NewDelivery { webhook: "wh_1", event_id: "e2", event_type: "t", event_time_us: 1, body: "{}".into() };
    insert(&mut transaction, &[next]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((bench.due().await, endpoints::failed(&bench.sender.store.reads).await.unwrap().len()), (1, 0));
}

#[tokio::test]
async fn gone_ends_at_once_and_success_ends_for_good() {
    for (status, failures) in [(410, 1), (200, 0), (302, 0)] {
        let bench = bench(status).await;
        bench.send().await;
        assert_eq!(bench.hits.load(Ordering::SeqCst), 1);
        assert_eq!(endpoints::failed(&bench.sender.store.reads).await.unwrap().len(), failures, "{status}");
        bench.clock.0.fetch_add(HOUR_US, Ordering::SeqCst);
        assert_eq!(bench.due().await, usize::from(status == 302), "{status}: a redirect is a failure");
    }
}

#[tokio::test]
async fn a_claimed_delivery_is_not_claimed_twice_until_its_sender_is_dead() {
    let bench = bench(200).await;
    assert_eq!(bench.sender.claim("wh_1").await.unwrap().len(), 1);
    assert!(bench.sender.claim("wh_1").await.unwrap().is_empty());
    bench.clock.0.fetch_add(CLAIM_US, Ordering::SeqCst);
    let again = bench.sender.claim("wh_1").await.unwrap();
    assert_eq!((again.len(), again[0].attempts), (1, 2));
    // The first sender was only slow: its outcome counts no more.
    let mut transaction = bench.sender.store.begin_exclusive().await.unwrap();
    let late = Claimed { id: again[0].id.clone(), event_id: "e1".into(), body: String::new(), attempts: 1 };
    bench.sender.record(&mut transaction, &late, &Outcome::Answered(200)).await.unwrap();
    transaction.commit().await.unwrap();
    bench.clock.0.fetch_add(CLAIM_US, Ordering::SeqCst);
    assert_eq!(bench.due().await, 1);
}

#[tokio::test]
async fn a_rebuild_makes_no_deliveries_of_old_events_and_none_twice() {
    let bench = bench(200).await;
    bench.sender.clean().await.unwrap();
    let event = |id: &str, age_us: i64| {
        let time = events::clock::rfc3339(bench.clock.now_us() - age_us);
        let payload = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"arouter.usage.recorded.v1","subject":"x","time":"{time}",
               "datacontenttype":"","dataschema":"","account":"acc","data":{{"key":"k"}},"sequence":"1"}}"#
        );
        Record { sequence: 1, id: id.to_owned(), payload: payload.into() }
    };
    let records = [event("new", HOUR_US), event("old", 73 * HOUR_US)];
    for _ in 0..2 {
        let events: Vec<Event<'_>> = records
            .iter()
            .map(|record| Event { record, envelope: RawEnvelope::parse(&record.payload).unwrap(), is_repeat: false })
            .collect();
        let mut transaction = bench.sender.store.begin_exclusive().await.unwrap();
        assert!(WithDeliveries(&Arrivals).apply(&mut transaction, &events).await.unwrap().is_empty());
        transaction.commit().await.unwrap();
    }
    let rows = sqlx::query::<Any>("SELECT event_id FROM deliveries ORDER BY event_id").fetch_all(&bench.sender.store.reads).await.unwrap();
    let made: Vec<String> = rows.iter().map(|row| row.try_get("event_id").unwrap()).collect();
    assert_eq!(made, ["e1", "new"]);
}

#[test]
fn privacy_hides_names_of_keys_and_reasons() {
    let key = without_private(r#"{"id":"e","data":{"key":{"hash":"h","name":"secret project","label":"lr_live_abcd...wxyz"}}}"#);
    assert!(key.contains("\"h\"") && !key.contains("secret") && !key.contains("abcd"), "{key}");
    let failed = without_private(r#"{"data":{"status":502,"attempts":[{"provider":"p","error":"timeout"}]}}"#);
    assert!(failed.contains("502") && !failed.contains("timeout"), "{failed}");
    let refused = without_private(r#"{"data":{"status":402,"code":"insufficient_credits"}}"#);
    assert!(refused.contains("402") && !refused.contains("credits"), "{refused}");
}
