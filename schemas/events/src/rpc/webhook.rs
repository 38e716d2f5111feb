//! Requests about webhooks: tests, replays, and endpoints that are given up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Request;
use crate::ids::AccountId;
use crate::webhook::WebhookMethod;

/// A request to send one unsigned test event to an address that is no endpoint yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAddress {
    pub account: AccountId,
    pub url: String,
    pub method: WebhookMethod,
    pub headers: BTreeMap<String, String>,
}

/// The answer of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// Whether there was an HTTP response of any status.
    pub reachable: bool,
    pub status_code: Option<u16>,
    pub error: Option<String>,
}

impl Request for ProbeAddress {
    const NAME: &'static str = "probe_address";
    type Reply = ProbeReply;
}

/// A request to deliver a test event to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestWebhook {
    pub account: AccountId,
    pub webhook: String,
    /// The id of the test event, made by the gateway.
    pub event_id: String,
}

impl Request for TestWebhook {
    const NAME: &'static str = "test_webhook";
    /// The id of the delivery; `None` if the endpoint is not known yet.
    type Reply = Option<String>;
}

/// A request to deliver again what an endpoint was sent, or failed to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayWebhook {
    pub account: AccountId,
    pub webhook: String,
    pub part: ReplayPart,
}

/// The deliveries of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPart {
    /// The deliveries of events from this time on, microseconds since 1970.
    Since(i64),
    /// One delivery.
    Delivery(String),
}

impl Request for ReplayWebhook {
    const NAME: &'static str = "replay_webhook";
    /// The number of deliveries that are sent again.
    type Reply = u64;
}

/// A request for the endpoints that the projector has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFailedWebhooks {}

/// An endpoint that the projector has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedWebhook {
    pub account: AccountId,
    pub webhook: String,
    /// The revision that failed; a newer one may work.
    pub revision: u64,
    /// The reason as one sentence.
    pub reason: String,
}

impl Request for ListFailedWebhooks {
    const NAME: &'static str = "failed_webhooks";
    type Reply = Vec<FailedWebhook>;
}
