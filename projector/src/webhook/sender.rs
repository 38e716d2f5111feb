//! The sender: one worker for each endpoint with due deliveries, so that a slow receiver delays only itself.
//!
//! A worker claims deliveries by moving their next attempt into the future, in a transaction that excludes other senders. If the process
//! dies, they are due again after 20 seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventlog::{Store, Throttle};
use events::Clock;
use events::ids::Ids;
use events::sealed::{MasterKeys, SealError};
use events::webhook::Webhook;
use futures_util::future::join_all;
use sqlx::{Any, AnyConnection, Row};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{SendError, WebhookClient};
use super::deliveries::set_floor;
use super::schedule::{KEPT_US, WINDOW_US, delay_us};
use super::{endpoints, signature};

/// The pause between two looks for due deliveries.
const POLL: Duration = Duration::from_millis(200);
/// The number of looks after which old deliveries are deleted.
const POLLS_PER_CLEANING: u32 = 300;
/// The number of deliveries that one endpoint gets concurrently.
const CONCURRENT: i64 = 8;
/// The number of endpoints that are sent to concurrently.
const WORKERS_MAX: usize = 64;
/// The time for which a claimed delivery is not claimed again; longer than an attempt takes.
const CLAIM_US: i64 = 20_000_000;
/// The status by which a receiver asks for no more deliveries.
const GONE: u16 = 410;

/// The sender of deliveries.
pub struct Sender {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub master_keys: Arc<MasterKeys>,
    pub client: WebhookClient,
    /// The endpoints that have a worker.
    pub busy: Mutex<BTreeSet<String>>,
}

/// A delivery that this process sends now.
struct Claimed {
    id: String,
    event_id: String,
    body: String,
    /// The number of this attempt, from 1.
    attempts: i64,
}

/// The outcome of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// A response of any status.
    Answered(u16),
    Failed(String),
    /// The process stops.
    Interrupted,
}

/// The secrets of an endpoint in clear.
struct Opened {
    secrets: Vec<String>,
    headers: BTreeMap<String, String>,
}

impl Sender {
    /// Sends due deliveries until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (workers, troubles, mut polls) = (TaskTracker::new(), Throttle::new(), 0_u32);
        while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let cleaned = if polls.is_multiple_of(POLLS_PER_CLEANING) { self.clean().await } else { Ok(()) };
            polls = polls.wrapping_add(1);
            match cleaned.and(endpoints::with_due(&self.store.reads, self.clock.now_us()).await) {
                Ok(webhooks) => webhooks.into_iter().for_each(|webhook| self.start_worker(webhook, &workers, &stop)),
                Err(error) => {
                    if let (_, Some(unsaid)) = troubles.failed() {
                        tracing::error!(%error, unsaid, "webhook deliveries cannot be read, and will be again: {error}");
                    }
                }
            }
        }
        workers.close();
        workers.wait().await;
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_worker(self: &Arc<Self>, webhook: Webhook, workers: &TaskTracker, stop: &CancellationToken) {
        let mut busy = self.busy();
        if busy.len() >= WORKERS_MAX || !busy.insert(webhook.id.clone()) {
            return;
        }
        let (sender, stop) = (Arc::clone(self), stop.clone());
        workers.spawn(async move {
            if let Err(error) = sender.send_due(&webhook, &stop).await {
                tracing::warn!(webhook = webhook.id, %error, "deliveries of a webhook are not recorded, and sent again: {error}");
            }
            sender.busy().remove(&webhook.id);
        });
    }

    /// Sends one batch of due deliveries of an endpoint. The next look starts the next batch, with the endpoint's newest state.
    async fn send_due(&self, webhook: &Webhook, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        let claimed = self.claim(&webhook.id).await?;
        let opened = self.open(webhook).map_err(|error| format!("its secrets cannot be opened: {error}"));
        let outcomes = join_all(claimed.iter().map(|delivery| async {
            match &opened {
                Ok(opened) => self.attempt(webhook, opened, delivery, stop).await,
                Err(reason) => Outcome::Failed(reason.clone()),
            }
        }))
        .await;
        let mut transaction = self.store.begin_exclusive().await?;
        let mut given_up = None;
        for (delivery, outcome) in claimed.iter().zip(&outcomes) {
            given_up = self.record(&mut transaction, delivery, outcome).await?.or(given_up);
        }
        if let Some(reason) = &given_up {
            endpoints::give_up(&mut transaction, webhook, reason).await?;
        }
        transaction.commit().await?;
        if let Some(reason) = given_up {
            let (account, webhook) = (webhook.account.as_str(), webhook.id.as_str());
            tracing::warn!(account, webhook, reason, "a webhook is given up and will be disabled: {reason}");
        }
        Ok(())
    }

    async fn claim(&self, webhook: &str) -> Result<Vec<Claimed>, sqlx::Error> {
        let now_us = self.clock.now_us();
        let mut transaction = self.store.begin_exclusive().await?;
        let rows = sqlx::query::<Any>(
            "SELECT id, event_id, body, attempts FROM deliveries WHERE webhook = $1 AND state = 'pending' AND next_at_us <= $2
             ORDER BY next_at_us, event_time_us, id LIMIT $3",
        )
        .bind(webhook.to_owned())
        .bind(now_us)
        .bind(CONCURRENT)
        .fetch_all(&mut *transaction)
        .await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let delivery = Claimed {
                id: row.try_get("id")?,
                event_id: row.try_get("event_id")?,
                body: row.try_get("body")?,
                attempts: row.try_get::<i64, _>("attempts")? + 1,
            };
            sqlx::query::<Any>("UPDATE deliveries SET attempts = $1, attempted_at_us = $2, next_at_us = $3 WHERE id = $4")
                .bind(delivery.attempts)
                .bind(now_us)
                .bind(now_us + CLAIM_US)
                .bind(delivery.id.clone())
                .execute(&mut *transaction)
                .await?;
            claimed.push(delivery);
        }
        transaction.commit().await?;
        Ok(claimed)
    }

    fn open(&self, webhook: &Webhook) -> Result<Opened, SealError> {
        let place = webhook.secret_place();
        let mut secrets = vec![self.master_keys.open(&place, &webhook.sealed_secret)?];
        if let Some(previous) = webhook.previous_secret.as_ref().filter(|previous| previous.valid_until_us > self.clock.now_us()) {
            secrets.push(self.master_keys.open(&place, &previous.sealed)?);
        }
        let headers = webhook.sealed_headers.as_ref().map(|sealed| self.master_keys.open(&webhook.headers_place(), sealed)).transpose()?;
        let headers = headers.map(|text| serde_json::from_str(&text).map_err(|_| SealError::Damaged)).transpose()?;
        Ok(Opened { secrets, headers: headers.unwrap_or_default() })
    }

    async fn attempt(&self, webhook: &Webhook, opened: &Opened, delivery: &Claimed, stop: &CancellationToken) -> Outcome {
        let body = if webhook.privacy_mode { without_private(&delivery.body) } else { delivery.body.clone() };
        let timestamp = self.clock.now_us() / 1_000_000;
        let secrets = opened.secrets.iter().map(String::as_str);
        let Some(signature) = signature::sign(secrets, &delivery.event_id, timestamp, body.as_bytes()) else {
            return Outcome::Failed("its secret is malformed".to_owned());
        };
        let (id, timestamp) = (&delivery.event_id, timestamp.to_string());
        // Receivers of Svix know the same headers by other names.
        let signed = [
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.clone()),
            ("webhook-signature", signature.clone()),
            ("svix-id", id.clone()),
            ("svix-timestamp", timestamp),
            ("svix-signature", signature),
        ];
        let sending = self.client.send((webhook.method, &webhook.url), &opened.headers, &signed, body);
        match stop.run_until_cancelled(sending).await {
            Some(sent) => sent.map_or_else(|error: SendError| Outcome::Failed(error.to_string()), Outcome::Answered),
            None => Outcome::Interrupted,
        }
    }

    /// Records an attempt. Returns the reason why the endpoint is given up, if it is.
    async fn record(&self, connection: &mut AnyConnection, delivery: &Claimed, outcome: &Outcome) -> Result<Option<String>, sqlx::Error> {
        let now_us = self.clock.now_us();
        let (status, error) = match outcome {
            Outcome::Answered(status @ 200..300) => (Some(*status), None),
            Outcome::Answered(status) => (Some(*status), Some(format!("it answers with status {status}"))),
            Outcome::Failed(reason) => (None, Some(reason.clone())),
            Outcome::Interrupted => {
                // The attempt does not count: it is made again after the restart.
                sqlx::query::<Any>("UPDATE deliveries SET attempts = attempts - 1, next_at_us = $1 WHERE id = $2 AND attempts = $3")
                    .bind(now_us)
                    .bind(delivery.id.clone())
                    .bind(delivery.attempts)
                    .execute(connection)
                    .await?;
                return Ok(None);
            }
        };
        let next = if status == Some(GONE) { None } else { delay_us(delivery.attempts, &*self.ids) };
        let state = match (&error, next) {
            (None, _) => "delivered",
            (Some(_), Some(_)) => "pending",
            (Some(_), None) => "failed",
        };
        // A replay, or another process after this one took too long, may have begun anew.
        sqlx::query::<Any>(
            "UPDATE deliveries SET state = $1, next_at_us = $2, status = $3, error = $4 WHERE id = $5 AND attempts = $6 AND state = 'pending'",
        )
        .bind(state)
        .bind(now_us + next.unwrap_or_default())
        .bind(status.map(i64::from))
        .bind(error.clone())
        .bind(delivery.id.clone())
        .bind(delivery.attempts)
        .execute(connection)
        .await?;
        let attempts = delivery.attempts;
        Ok(error.filter(|_| state == "failed").map(|error| format!("attempt {attempts} of a delivery failed and was the last: {error}")))
    }

    /// Deletes old deliveries and moves the time from which on events make deliveries.
    async fn clean(&self) -> Result<(), sqlx::Error> {
        let now_us = self.clock.now_us();
        let mut transaction = self.store.begin_exclusive().await?;
        set_floor(&mut transaction, now_us - WINDOW_US).await?;
        sqlx::query::<Any>("DELETE FROM deliveries WHERE event_time_us < $1").bind(now_us - KEPT_US).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

/// Returns an event without names of keys and without reasons of failures.
fn without_private(body: &str) -> String {
    let Ok(mut event) = serde_json::from_str::<serde_json::Value>(body) else { return "{}".to_owned() };
    for (pointer, fields) in [("/data", &["code"][..]), ("/data/key", &["name", "label"])] {
        let object = event.pointer_mut(pointer).and_then(serde_json::Value::as_object_mut);
        for field in object.into_iter().flat_map(|object| object.iter_mut()).filter(|(name, _)| fields.contains(&name.as_str())) {
            *field.1 = "".into();
        }
    }
    let attempts = event.pointer_mut("/data/attempts").and_then(serde_json::Value::as_array_mut);
    for attempt in attempts.into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
        attempt.remove("error");
    }
    event.to_string()
}

#[cfg(test)]
mod tests;
