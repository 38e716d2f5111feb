//! Calls of the gateway about webhooks: probe, test, replay.

use std::sync::Arc;

use eventlog::Store;
use events::Clock;
use events::clock::rfc3339;
use events::ids::Ids;
use events::rpc::webhook::{ProbeAddress, ProbeReply, ReplayPart, ReplayWebhook, TestWebhook};
use events::webhook::TEST_TYPE;
use serde_json::json;
use sqlx::Any;

use super::client::WebhookClient;
use super::deliveries::{NewDelivery, insert};
use super::endpoints;

/// The parts that the calls need.
#[derive(Clone)]
pub struct Calls {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub client: WebhookClient,
}

impl Calls {
    /// Sends an unsigned test event to an address.
    pub async fn probe(&self, probe: &ProbeAddress) -> ProbeReply {
        let id = self.ids.uuid(&*self.clock).to_string();
        let body = self.test_event(&id, probe.account.as_str(), "connection");
        match self.client.send((probe.method, &probe.url), &probe.headers, &[], body).await {
            Ok(status) => ProbeReply { reachable: true, status_code: Some(status), error: None },
            Err(error) => ProbeReply { reachable: false, status_code: None, error: Some(error.to_string()) },
        }
    }

    fn test_event(&self, id: &str, account: &str, subject: &str) -> String {
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": "/projector/webhooks",
            "type": TEST_TYPE,
            "subject": subject,
            "time": rfc3339(self.clock.now_us()),
            "datacontenttype": "application/json",
            "account": account,
            "data": {"message": "This is a test."},
        });
        event.to_string()
    }

    /// Makes a delivery of a test event. Returns its id, or `None` if the endpoint is unknown.
    pub async fn test(&self, test: &TestWebhook) -> Result<Option<String>, sqlx::Error> {
        let Some(webhook) = endpoints::find(&self.store.reads, test.account.as_str(), &test.webhook).await? else { return Ok(None) };
        let body = self.test_event(&test.event_id, test.account.as_str(), &webhook.id);
        let delivery = NewDelivery {
            webhook: &webhook.id,
            event_id: &test.event_id,
            event_type: TEST_TYPE,
            event_time_us: self.clock.now_us(),
            body: body.into(),
        };
        let id = delivery.id();
        let mut transaction = self.store.begin_exclusive().await?;
        insert(&mut transaction, &[delivery]).await?;
        transaction.commit().await?;
        Ok(Some(id))
    }

    /// Makes ended deliveries due again, with all their attempts. Returns their number.
    pub async fn replay(&self, replay: &ReplayWebhook) -> Result<u64, sqlx::Error> {
        let Some(webhook) = endpoints::find(&self.store.reads, replay.account.as_str(), &replay.webhook).await? else { return Ok(0) };
        let again = "UPDATE deliveries SET state = 'pending', attempts = 0, next_at_us = event_time_us WHERE webhook = $1
             AND state <> 'pending'";
        let (sql, since_us, id) = match &replay.part {
            ReplayPart::Since(since_us) => (" AND event_time_us >= $2", Some(*since_us), None),
            ReplayPart::Delivery(id) => (" AND id = $2", None, Some(id.clone())),
        };
        let sql = sqlx::AssertSqlSafe(format!("{again}{sql}"));
        let query = sqlx::query::<Any>(sql).bind(webhook.id);
        let query = match (since_us, id) {
            (Some(since_us), _) => query.bind(since_us),
            (None, id) => query.bind(id.unwrap_or_default()),
        };
        let mut transaction = self.store.begin_exclusive().await?;
        let changed = query.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(changed)
    }
}
